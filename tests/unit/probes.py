# ruff: noqa: E501
"""The probes of test_verify_matrix: how a log is changed, and what has to be said of it.

The log has 50 records: signatures at 8, 17, 26, 35, 44 and the seal at 49; a gap at 6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from capsule.chain import GENESIS
from capsule.verify import Pins
from tests.unit.chainlogs import Keys, KnownKey, action
from tests.unit.forge import Lines, edited, rechained, resealed, swapped, type_of

INTACT, TAMPERED, INCOMPLETE, UNREADABLE = "intact", "tampered", "incomplete", "unreadable"


@dataclass
class World:
    """Two real logs as lines, and every key that was ever used."""

    log: Lines
    other: Lines
    keys: list[KnownKey]
    other_keys: list[KnownKey]

    def head(self, seq: int = 49) -> str:
        return self.log[seq][-67:-3].decode()

    @property
    def key(self) -> str:
        return self.keys[0].public.hex()


@dataclass(frozen=True)
class Probe:
    """`make` gives the changed log; `first_bad` and `through` are seqs."""

    name: str
    make: Callable[[World], Lines]
    verdict: str
    first_bad: int | None = None
    through: int | None = None
    pins: Callable[[World], Pins] = field(default=lambda _: Pins())


def pin_head(world: World) -> Pins:
    return Pins(heads=((None, world.head()),))


def pin_key(world: World) -> Pins:
    return Pins(key=world.key)


def thief(world: World, forged: Lines, first: int, epoch: int) -> Lines:
    """Sign from record `first` on with nothing but the key of `epoch`."""
    keys: list[KnownKey] = [world.keys[epoch]] * (epoch + 1)
    return resealed(forged, keys, first, fresh=Keys(9))


def rewrite(world: World) -> Lines:
    """Another history under keys of the attacker's own, in the first one's name."""
    forged = edited(world.log, 20, swapped(b"/srv/data/", b"/srv/fake/"))
    mine = Keys(8)
    first = mine()
    old_key = world.key.encode()
    forged = edited(forged, 0, swapped(old_key, first.public.hex().encode()))
    return resealed(forged, [first], fresh=mine)


def cut_with_end(world: World) -> Lines:
    """Thirty records and an end whose totals are right."""
    old = b'"records":50,"actions":42,"gaps":1,"checkpoints":5,"count":84'
    new = b'"records":31,"actions":25,"gaps":1,"checkpoints":3,"count":49'
    return edited([*world.log[:30], world.log[49]], 30, swapped(old, new))


CHANGE = swapped(b"/srv/data/", b"/srv/fake/")
STRIP = lambda lines: [line for line in lines if type_of(line) != b"checkpoint"]  # noqa: E731

# fmt: off
PROBES = [
    # As it is, and cut at a line.
    Probe("untouched", lambda w: w.log, INTACT, None, 49),
    Probe("empty", lambda w: [], INCOMPLETE),
    Probe("only the start", lambda w: w.log[:1], INCOMPLETE),
    Probe("cut before the first signature", lambda w: w.log[:8], INCOMPLETE, None, None),
    Probe("cut after a checkpoint", lambda w: w.log[:27], INCOMPLETE, None, 26),
    Probe("cut between checkpoints", lambda w: w.log[:31], INCOMPLETE, None, 26),
    Probe("without its end", lambda w: w.log[:-1], INCOMPLETE, None, 44),
    Probe("end without its newline", lambda w: [*w.log[:-1], w.log[-1][:-1]], INCOMPLETE, None, 44),
    # Dropped, doubled, moved, put in: chain left as it is.
    Probe("start dropped", lambda w: w.log[1:], TAMPERED, 0, None),
    Probe("record dropped", lambda w: w.log[:20] + w.log[21:], TAMPERED, 20, 17),
    Probe("checkpoint dropped", lambda w: w.log[:26] + w.log[27:], TAMPERED, 26, 17),
    Probe("gap dropped", lambda w: w.log[:6] + w.log[7:], TAMPERED, 6, None),
    Probe("hundred bytes dropped", lambda w: [b"".join(w.log)[:9000] + b"".join(w.log)[9100:]],
          TAMPERED, 27, 26),
    Probe("start doubled", lambda w: w.log[:1] + w.log, TAMPERED, 1, None),
    Probe("record doubled", lambda w: w.log[:21] + w.log[20:], TAMPERED, 21, 17),
    Probe("checkpoint doubled", lambda w: w.log[:27] + w.log[26:], TAMPERED, 27, 26),
    Probe("end doubled", lambda w: w.log + w.log[-1:], TAMPERED, 50, 49),
    Probe("neighbours swapped", lambda w: [*w.log[:20], w.log[21], w.log[20], *w.log[22:]],
          TAMPERED, 20, 17),
    Probe("checkpoints swapped", lambda w: [*w.log[:26], w.log[35], *w.log[27:35], w.log[26], *w.log[36:]],
          TAMPERED, 26, 17),
    Probe("reversed", lambda w: w.log[::-1], TAMPERED, 0, None),
    Probe("record put in", lambda w: [*w.log[:20], b'{"seq":20,"type":"action",' + action(3)[1:], *w.log[20:]],
          TAMPERED, 20, 17),
    Probe("bare body put in", lambda w: [*w.log[:20], action(3), *w.log[20:]], TAMPERED, 20, 17),
    # From another run.
    Probe("record of another run", lambda w: [*w.log[:20], w.other[20], *w.log[21:]], TAMPERED, 20, 17),
    Probe("tail of another run", lambda w: w.log[:18] + w.other[18:], TAMPERED, 18, 17),
    Probe("tail of another run, chained", lambda w: rechained(w.log[:18] + w.other[18:], 18),
          TAMPERED, 26, 17),
    Probe("other start, chained", lambda w: rechained(w.other[:1] + w.log[1:], 1), TAMPERED, 8, None),
    Probe("two runs, one after the other", lambda w: w.log + w.other, TAMPERED, 50, 49),
    Probe("twice, one after the other", lambda w: w.log + w.log, TAMPERED, 50, 49),
    Probe("cut run, then another", lambda w: w.log[:27] + w.other, TAMPERED, 27, 26),
    Probe("cut run, then another, chained", lambda w: rechained(w.log[:27] + w.other, 27), TAMPERED, 27, 26),
    # Edited, then the chain recomputed.
    Probe("edited", lambda w: edited(w.log, 20, CHANGE), TAMPERED, 20, 17),
    Probe("edited, its own hash set right", lambda w: [
        *rechained(edited(w.log, 20, CHANGE), 20)[:21], *w.log[21:]], TAMPERED, 21, 17),
    Probe("edited, chained", lambda w: rechained(edited(w.log, 20, CHANGE), 20), TAMPERED, 26, 17),
    Probe("first action edited, chained", lambda w: rechained(edited(w.log, 1, CHANGE), 1), TAMPERED, 8, None),
    Probe("last action edited, chained", lambda w: rechained(edited(w.log, 48, CHANGE), 48), TAMPERED, 49, 44),
    Probe("start edited, chained", lambda w: rechained(edited(w.log, 0, swapped(b'"cat"', b'"dog"'))),
          TAMPERED, 8, None),
    Probe("run renamed, chained", lambda w: rechained(edited(w.log, 0, swapped(b"20251124", b"20251125"))),
          TAMPERED, 8, None),
    Probe("gap emptied, chained", lambda w: rechained(edited(w.log, 6, swapped(b'"count":2', b'"count":0')), 6),
          TAMPERED, 8, None),
    Probe("dropped, chained", lambda w: rechained(w.log[:20] + w.log[21:], 20), TAMPERED, 25, 17),
    Probe("gap dropped, chained", lambda w: rechained(w.log[:6] + w.log[7:], 6), TAMPERED, 7, None),
    Probe("put in, chained", lambda w: rechained(w.log[:21] + w.log[20:], 20), TAMPERED, 26, 17),
    Probe("exit edited, chained", lambda w: rechained(edited(w.log, 49, swapped(b'"status":0', b'"status":1')), 49),
          TAMPERED, 49, 44),
    Probe("checkpoint's time edited, chained", lambda w: rechained(edited(w.log, 26, swapped(b'"time_ns":1', b'"time_ns":2')), 26),
          TAMPERED, 26, 17),
    # Signatures taken out, moved, replayed.
    Probe("one checkpoint taken out, chained", lambda w: rechained(w.log[:26] + w.log[27:], 26), TAMPERED, 26, 17),
    Probe("all checkpoints taken out, chained", lambda w: rechained(STRIP(w.log)), TAMPERED, 8, None),
    Probe("all signatures taken out, chained", lambda w: rechained(STRIP(w.log)[:-1]), TAMPERED, 8, None),
    Probe("short and without signatures, chained", lambda w: rechained(STRIP(w.log)[:8]), INCOMPLETE),
    Probe("sig member taken out, chained", lambda w: rechained(
        [*w.log[:26], w.log[26].replace(b'"sig"', b'"six"'), *w.log[27:]], 26), TAMPERED, 26, 17),
    Probe("old checkpoint replayed", lambda w: [*w.log[:26], w.log[17], *w.log[27:]], TAMPERED, 26, 17),
    Probe("old checkpoint replayed, chained", lambda w: rechained([*w.log[:26], w.log[17], *w.log[27:]], 26),
          TAMPERED, 26, 17),
    Probe("cut and an old checkpoint put at the end, chained", lambda w: rechained([*w.log[:21], w.log[17]], 21),
          TAMPERED, 21, 17),
    Probe("end put at a cut, chained", lambda w: rechained([*w.log[:27], w.log[49]], 27), TAMPERED, 27, 26),
    Probe("checkpoint as the end, chained", lambda w: rechained(
        [*w.log[:44], w.log[44].replace(b'"type":"checkpoint"', b'"type":"end"')], 44), TAMPERED, 44, 35),
    Probe("key of the start swapped, chained", lambda w: rechained(
        edited(w.log, 0, swapped(w.key.encode(), w.other_keys[0].public.hex().encode()))), TAMPERED, 8, None),
    Probe("next key swapped, chained", lambda w: rechained(
        edited(w.log, 26, swapped(w.keys[3].public.hex().encode(), w.other_keys[3].public.hex().encode())), 26),
          TAMPERED, 26, 17),
    # A stolen key: of epoch 3, which was to sign record 35.
    Probe("stolen key, later record", lambda w: thief(w, edited(w.log, 28, CHANGE), 27, 3), INTACT, None, 49),
    Probe("stolen key, later record, head pinned", lambda w: thief(w, edited(w.log, 28, CHANGE), 27, 3),
          TAMPERED, 49, 44, pin_head),
    Probe("stolen key, later record, earlier head pinned", lambda w: thief(w, edited(w.log, 28, CHANGE), 27, 3),
          INTACT, None, 49, lambda w: Pins(heads=((26, w.head(26)),))),
    Probe("stolen key, earlier record", lambda w: thief(w, edited(w.log, 20, CHANGE), 18, 3), TAMPERED, 26, 17),
    Probe("stolen key, first record", lambda w: thief(w, edited(w.log, 1, CHANGE), 1, 3), TAMPERED, 8, None),
    Probe("stolen key, cut and sealed", lambda w: thief(w, cut_with_end(w), 27, 3), INTACT, None, 30),
    Probe("stolen key, cut and sealed, head pinned", lambda w: thief(w, cut_with_end(w), 27, 3),
          TAMPERED, 30, 26, pin_head),
    Probe("stolen key, cut and sealed, totals left", lambda w: thief(w, [*w.log[:30], w.log[49]], 27, 3),
          TAMPERED, 30, 26),
    Probe("all keys stolen", lambda w: resealed(edited(w.log, 1, CHANGE), w.keys, 1), INTACT, None, 49),
    Probe("all keys stolen, head pinned", lambda w: resealed(edited(w.log, 1, CHANGE), w.keys, 1),
          TAMPERED, 49, 44, pin_head),
    # The whole written anew with fresh keys.
    Probe("whole rewrite, unpinned", rewrite, INTACT, None, 49),
    Probe("whole rewrite, head pinned", rewrite, TAMPERED, 49, 44, pin_head),
    Probe("whole rewrite, key pinned", rewrite, TAMPERED, 0, None, pin_key),
    Probe("whole rewrite, size pinned", rewrite, INTACT, None, 49, lambda w: Pins(records=50)),
    # Pins.
    Probe("head fits", lambda w: w.log, INTACT, None, 49, pin_head),
    Probe("key fits", lambda w: w.log, INTACT, None, 49, pin_key),
    Probe("head of another run", lambda w: w.log, TAMPERED, 49, 44,
          lambda w: Pins(heads=((None, w.other[49][-67:-3].decode()),))),
    Probe("head of a record", lambda w: w.log, INTACT, None, 49, lambda w: Pins(heads=((30, w.head(30)),))),
    Probe("heads of many records", lambda w: w.log, INTACT, None, 49,
          lambda w: Pins(heads=tuple((n, w.head(n)) for n in (49, 0, 8, 9, 30)))),
    Probe("wrong head of a record", lambda w: w.log, TAMPERED, 30, 26, lambda w: Pins(heads=((30, w.head(31)),))),
    Probe("wrong head of record 0", lambda w: w.log, TAMPERED, 0, None, lambda w: Pins(heads=((0, w.head(1)),))),
    Probe("head of a record that is not there", lambda w: w.log[:31], TAMPERED, 31, 26,
          lambda w: Pins(heads=((40, w.head(40)),))),
    Probe("cut, head pinned", lambda w: w.log[:27], TAMPERED, 26, 17, pin_head),
    Probe("cut, key pinned", lambda w: w.log[:27], INCOMPLETE, None, 26, pin_key),
    Probe("cut, its own head pinned", lambda w: w.log[:31], INCOMPLETE, None, 30,
          lambda w: Pins(heads=((None, w.head(30)),))),
    Probe("empty, head pinned", lambda w: [], TAMPERED, 0, None, pin_head),
    Probe("size fits", lambda w: w.log, INTACT, None, 49, lambda w: Pins(records=50)),
    Probe("cut, size pinned", lambda w: w.log[:31], TAMPERED, 31, 26, lambda w: Pins(records=50)),
    Probe("longer than the size", lambda w: w.log, TAMPERED, 40, 35, lambda w: Pins(records=40)),
]


def with_body(at: int, change: Callable[[bytes], bytes]) -> Callable[[World], Lines]:
    """The forger has every key: only the rules of the format are left to stop them."""
    return lambda w: resealed(edited(w.log, at, change), w.keys, at)


def member(text: bytes, at: int = 20) -> Callable[[World], Lines]:
    return with_body(at, lambda opened: opened + b"," + text)


def of_length(size: int) -> Callable[[World], Lines]:
    def make(world: World) -> Lines:
        filler = size - len(world.log[20]) - len(b',"x":""')
        return member(b'"x":"' + b"x" * filler + b'"')(world)

    return make


def nested(depth: int) -> bytes:
    """A member that makes the record `depth` deep."""
    return b'"x":' + b"[" * (depth - 1) + b"]" * (depth - 1)


def objects(depth: int) -> bytes:
    return b'"x":' + b'{"a":' * (depth - 2) + b"{}" + b"}" * (depth - 2)


def many(members: int) -> bytes:
    return b'"x":{' + b",".join(b'"%d":0' % n for n in range(members)) + b"}"


FORMAT_PROBES = [
    Probe("unknown member", member(b'"x":[1,-2.5e+3,true,false,null,"\\u00e9\\ud83d\\ude00",{}]'),
          INTACT, None, 49),
    Probe("DEL in a name and a string", member(b'"\x7f":"\x7f"'), INTACT, None, 49),
    Probe("member twice", member(b'"count":1'), TAMPERED, 20, 17),
    Probe("member twice in an object", member(b'"x":{"a":1,"b":2,"a":1}'), TAMPERED, 20, 17),
    Probe("same name in two objects", member(b'"x":[{"a":1},{"a":{"a":1}}]'), INTACT, None, 49),
    Probe("seq twice", member(b'"seq":20'), TAMPERED, 20, 17),
    Probe("prev twice", member(b'"prev":"' + GENESIS + b'"'), TAMPERED, 20, 17),
    Probe("hash twice", member(b'"hash":"' + GENESIS + b'"'), TAMPERED, 20, 17),
    Probe("sig twice", with_body(26, lambda o: o + b',"sig":"x"'), TAMPERED, 26, 17),
    Probe("name with an escape", member(b'"co\\u0075nt":1'), TAMPERED, 20, 17),
    Probe("name not ASCII", member('"é":1'.encode()), TAMPERED, 20, 17),
    Probe("empty name", member(b'"":1'), TAMPERED, 20, 17),
    Probe("16 deep", member(nested(16)), INTACT, None, 49),
    Probe("17 deep", member(nested(17)), TAMPERED, 20, 17),
    Probe("objects 16 deep", member(objects(16)), INTACT, None, 49),
    Probe("objects 17 deep", member(objects(17)), TAMPERED, 20, 17),
    Probe("100000 deep", member(b'"x":' + b"[" * 100_000), TAMPERED, 20, 17),
    Probe("256 members", member(many(256)), INTACT, None, 49),
    Probe("257 members", member(many(257)), TAMPERED, 20, 17),
    Probe("number of 40 characters", member(b'"x":' + b"9" * 40), INTACT, None, 49),
    Probe("number of 41 characters", member(b'"x":-' + b"9" * 40), TAMPERED, 20, 17),
    Probe("number of 5000 digits in a gap", member(b'"x":' + b"9" * 5000, 6), TAMPERED, 6, None),
    *(
        Probe(f"value {text.decode()}", member(b'"x":' + text), TAMPERED, 20, 17)
        for text in (
            b"", b"01", b"+1", b"1.", b".5", b"1e", b"0x1", b"NaN", b"Infinity", b"-Infinity",
            b"-", b"True", b"nul", b"'a'", b"[1,]", b"[,1]", b'{"a":1,}', b'{"a"}', b"{a:1}",
            b"[1 ]", b" 1", b'{"a": 1}', b"1,", b'"a', b'"\\x41"', b'"\\u00g0"', b'"\\u12"',
            b"[", b"{", b"1}", b"1]",
        )
    ),
    Probe("blank after the brace", lambda w: [b"{ " + line[1:] if n == 20 else line
          for n, line in enumerate(w.log)], TAMPERED, 20, 17),
    Probe("half a surrogate pair", member(b'"x":"\\ud800"'), TAMPERED, 20, 17),
    Probe("other half of a surrogate pair", member(b'"x":"\\udc00"'), TAMPERED, 20, 17),
    Probe("surrogates the wrong way round", member(b'"x":"\\udc00\\ud800"'), TAMPERED, 20, 17),
    Probe("two lower halves of surrogates", member(b'"x":"\\udc00\\udc00"'), TAMPERED, 20, 17),
    Probe("surrogate and a letter", member(b'"x":"\\ud800\\u0041"'), TAMPERED, 20, 17),
    *(
        Probe(f"bytes {text.hex()}", member(b'"x":"' + text + b'"'), TAMPERED, 20, 17)
        for text in (
            b"\xff", b"\x80", b"\xc3", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80",
            b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xc3\xc3",
            b"\0", b"\x01", b"\t", b"\r", b"\x1f", b"\x1b[31m",
        )
    ),
    Probe("highest and lowest of each length of UTF-8", member(
        '"x":"\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"'.encode()), INTACT, None, 49),
    Probe("newline in a string", member(b'"x":"\n"'), TAMPERED, 20, 17),
    Probe("CRLF", lambda w: [line[:-1] + b"\r\n" for line in w.log], TAMPERED, 0, None),
    Probe("CR", lambda w: [b"".join(w.log).replace(b"\n", b"\r")], TAMPERED, 0, None),
    Probe("one CRLF", lambda w: [*w.log[:20], w.log[20][:-1] + b"\r\n", *w.log[21:]], TAMPERED, 20, 17),
    Probe("byte order mark", lambda w: [b"\xef\xbb\xbf", *w.log], TAMPERED, 0, None),
    Probe("UTF-16", lambda w: [b"".join(w.log).decode().encode("utf-16-le")], TAMPERED, 0, None),
    Probe("blank line first", lambda w: [b"\n", *w.log], TAMPERED, 0, None),
    Probe("blank line inside", lambda w: [*w.log[:20], b"\n", *w.log[20:]], TAMPERED, 20, 17),
    Probe("blank line last", lambda w: [*w.log, b"\n"], TAMPERED, 50, 49),
    Probe("NUL last", lambda w: [*w.log, b"\0"], TAMPERED, 50, 49),
    Probe("a word after the end", lambda w: [*w.log, b"x"], TAMPERED, 50, 49),
    Probe("NUL first", lambda w: [b"\0", *w.log], TAMPERED, 0, None),
    Probe("NUL between lines", lambda w: [*w.log[:20], b"\0", *w.log[20:]], TAMPERED, 20, 17),
    Probe("capitals in a hash", lambda w: [*w.log[:20], w.log[20][:-67] + w.log[20][-67:-3].upper() + b'"}\n',
          *w.log[21:]], TAMPERED, 20, 17),
    Probe("not a log", lambda w: [b"root:x:0:0:root:/root:/bin/bash\n"], TAMPERED, 0, None),
    Probe("another JSON lines file", lambda w: [b'{"a":1}\n'], TAMPERED, 0, None),
    Probe("line of 16 MiB", of_length(16777216), INTACT, None, 49),
    Probe("line of 16 MiB and a byte", of_length(16777217), TAMPERED, 20, 17),
    Probe("16 MiB and no newline", lambda w: [*w.log[:20], b'{"seq":20,"type":"action"' + b"x" * 16777216],
          TAMPERED, 20, 17),
    # Torn tails.
    Probe("torn at one byte", lambda w: [*w.log[:20], b"{"], INCOMPLETE, None, 17),
    Probe("torn, zeros after it", lambda w: [*w.log[:20], w.log[20][:90] + b"\0" * 4096], INCOMPLETE, None, 17),
    Probe("zeros only", lambda w: [*w.log[:20], b"\0" * 4096], INCOMPLETE, None, 17),
    Probe("torn, zeros inside", lambda w: [*w.log[:20], w.log[20][:90] + b"\0\0" + w.log[20][92:120]], TAMPERED, 20, 17),
    Probe("torn at another seq", lambda w: [*w.log[:20], w.log[21][:90]], TAMPERED, 20, 17),
    Probe("torn, and no record", lambda w: [*w.log[:20], b"garbage"], TAMPERED, 20, 17),
    Probe("whole but for its newline", lambda w: [*w.log[:20], w.log[20][:-1]], INCOMPLETE, None, 17),
    Probe("whole but for its newline, edited", lambda w: [*w.log[:20], CHANGE(w.log[20][:-1])], TAMPERED, 20, 17),
    Probe("whole, and more in the line", lambda w: [*w.log[:20], w.log[20][:-1] + b"x"], TAMPERED, 20, 17),
    # What the records say.
    Probe("seq with a leading zero", lambda w: resealed(
        [*w.log[:20], w.log[20].replace(b'"seq":20', b'"seq":020'), *w.log[21:]], w.keys, 21), TAMPERED, 20, 17),
    Probe("unknown type", with_body(20, swapped(b'"type":"action"', b'"type":"akshun"')), TAMPERED, 20, 17),
    Probe("type with a longer name", with_body(20, swapped(b'"type":"action"', b'"type":"actions"')), TAMPERED, 20, 17),
    Probe("action without kind", with_body(20, swapped(b'"kind"', b'"kine"')), TAMPERED, 20, 17),
    Probe("kind is a number", with_body(20, swapped(b'"kind":"file.read"', b'"kind":7')), TAMPERED, 20, 17),
    Probe("kind is not the third", with_body(20, swapped(b'"kind"', b'"a":0,"kind"')), TAMPERED, 20, 17),
    *(
        Probe(f"count is {text.decode()}", with_body(20, swapped(b'"count":2', b'"count":' + text)),
              TAMPERED, 20, 17)
        for text in (b"-1", b"null", b'"2"', b"2.0", b"2e0", b"true", b"[]", b"9" * 19)
    ),
    Probe("no count", with_body(20, swapped(b'"count"', b'"counf"')), TAMPERED, 20, 17),
    Probe("count of an inner object", with_body(20, swapped(b'"count":2', b'"x":{"count":2}')), TAMPERED, 20, 17),
    Probe("count changed, totals not", with_body(20, swapped(b'"count":2', b'"count":3')), TAMPERED, 49, 44),
    Probe("gap of unknown size", with_body(6, swapped(b'"count":2', b'"count":null')), INTACT, None, 49),
    Probe("gap without count", with_body(6, swapped(b'"count"', b'"counf"')), TAMPERED, 6, None),
    Probe("gap of minus one", with_body(6, swapped(b'"count":2', b'"count":-1')), TAMPERED, 6, None),
    Probe("gap without why", with_body(6, swapped(b'"why"', b'"wry"')), TAMPERED, 6, None),
    Probe("checkpoint without next key", with_body(26, swapped(b'"next_key"', b'"text_key"')), TAMPERED, 26, 17),
    Probe("checkpoint with half a next key", with_body(26, lambda o: o[:-33] + b'"'), TAMPERED, 26, 17),
    Probe("end not complete", with_body(49, swapped(b'"complete":true', b'"complete":false')), TAMPERED, 49, 44),
    Probe("end without complete", with_body(49, swapped(b'"complete"', b'"compleat"')), TAMPERED, 49, 44),
    Probe("end without totals", with_body(49, swapped(b'"totals"', b'"totalz"')), TAMPERED, 49, 44),
    *(
        Probe(f"wrong total of {name}", with_body(49, swapped(b'"%b":%d' % (name.encode(), right), b'"%b":%d' % (name.encode(), wrong))),
              TAMPERED, 49, 44)
        for name, right, wrong in (
            ("records", 50, 51), ("actions", 42, 43), ("gaps", 1, 0), ("checkpoints", 5, 6),
            ("count", 84, 83),
        )
    ),
    Probe("total is a fraction", with_body(49, swapped(b'"gaps":1', b'"gaps":1.0')), TAMPERED, 49, 44),
    Probe("total is true", with_body(49, swapped(b'"gaps":1', b'"gaps":true')), TAMPERED, 49, 44),
    Probe("format 2", with_body(0, swapped(b'"format":1', b'"format":2')), UNREADABLE),
    Probe("format 2, not hashed anew", lambda w: edited(w.log, 0, swapped(b'"format":1', b'"format":2')), TAMPERED, 0),
    Probe("format is a text", with_body(0, swapped(b'"format":1', b'"format":"1"')), TAMPERED, 0),
    Probe("no format", with_body(0, swapped(b'"format"', b'"fromat"')), TAMPERED, 0),
    Probe("no run", with_body(0, swapped(b'"run"', b'"ran"')), TAMPERED, 0),
    Probe("run with a newline", with_body(0, swapped(b'"run":"2', b'"run":"2\\n')), TAMPERED, 0),
    Probe("empty run", with_body(0, lambda o: o.replace(b"20251124T160000Z-0123456789ab", b"")), TAMPERED, 0),
    Probe("no key", with_body(0, swapped(b'"key"', b'"kee"')), TAMPERED, 0),
    Probe("no cadence", with_body(0, swapped(b'"checkpoint"', b'"checkpaint"')), TAMPERED, 0),
    Probe("cadence 0", with_body(0, swapped(b'"records":8', b'"records":0')), TAMPERED, 0),
    Probe("cadence 7", with_body(0, swapped(b'"records":8', b'"records":7')), TAMPERED, 7),
    Probe("cadence 65536", with_body(0, swapped(b'"records":8', b'"records":65536')), INTACT, None, 49),
    Probe("cadence 65537", with_body(0, swapped(b'"records":8', b'"records":65537')), TAMPERED, 0),
    Probe("cadence is a text", with_body(0, swapped(b'"records":8', b'"records":"8"')), TAMPERED, 0),
    Probe("an action first", lambda w: resealed(w.log[1:2] + w.log[1:], w.keys), TAMPERED, 0),
    Probe("a second start", lambda w: resealed([*w.log[:20], w.log[0], *w.log[20:]], w.keys, 20), TAMPERED, 20, 17),
    Probe("a later start, but not after a checkpoint", lambda w: resealed([
        *w.log[:20],
        edited(w.log, 0, swapped(w.key.encode(), w.keys[2].public.hex().encode()))[0],
        *w.log[20:]], w.keys, 20), TAMPERED, 20, 17),
    Probe("a later start with another cadence", lambda w: resealed([
        *w.log[:18],
        edited(edited(w.log, 0, swapped(w.key.encode(), w.keys[2].public.hex().encode())), 0,
               swapped(b'"records":8', b'"records":9'))[0],
        *w.log[18:]], w.keys, 18), TAMPERED, 18, 17),
    Probe("a later start of another run", lambda w: resealed([
        *w.log[:18],
        edited(edited(w.log, 0, swapped(w.key.encode(), w.keys[2].public.hex().encode())), 0,
               swapped(b"20251124", b"20251125"))[0],
        *w.log[18:]], w.keys, 18), TAMPERED, 18, 17),
    Probe("sealed, then going on", lambda w: resealed([*w.log, *w.log[18:20]], [*w.keys, w.keys[5]], 50), TAMPERED, 50, 49),
]
# fmt: on
