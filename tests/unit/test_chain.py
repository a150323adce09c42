"""The chain's helpers, and that a spent key is gone from memory."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from capsule import chain
from capsule._chain import Appender, check_opened
from capsule._keys import WipedKey
from tests import independent_verifier

PR_SET_PTRACER = 0x59616D61
PR_SET_PTRACER_ANY = ctypes.c_ulong(-1)


def test_a_line_is_closed_with_its_own_hash() -> None:
    line, digest = chain.close_line(b'{"seq":0,"type":"start","x":1', chain.GENESIS)
    assert line == (
        b'{"seq":0,"type":"start","x":1,"prev":"' + b"0" * 64 + b'","hash":"' + digest + b'"}\n'
    )
    assert digest == blake3(line[: -len(b',"hash":"') - 64 - 3]).hexdigest().encode()
    assert line[-1 - chain.SUFFIX_LEN : -1].startswith(b',"prev":"')


def test_what_a_signature_covers() -> None:
    seal = chain.Seal("checkpoint", "run", 7, b"a" * 64, b"b" * 64)
    digest = blake3(b"opened").hexdigest()
    assert seal.message(b"opened") == (
        f"capsule-log-v1\ncheckpoint\nrun\n7\n{'a' * 64}\n{'b' * 64}\n{digest}\n".encode()
    )


def test_a_signature_holds_for_its_key_and_message_only() -> None:
    key, other = WipedKey(), WipedKey()
    signature = key.sign(b"message")
    assert chain.signature_holds(key.public, signature, b"message")
    assert not chain.signature_holds(key.public, signature, b"massage")
    assert not chain.signature_holds(other.public, signature, b"message")
    assert not chain.signature_holds(key.public, signature[:-1], b"message")
    assert not chain.signature_holds(key.public[:-1], signature, b"message")


def test_keys_differ_and_an_erased_one_does_not_sign() -> None:
    assert WipedKey().public != WipedKey().public
    key = WipedKey()
    key.erase()
    key.erase()
    with pytest.raises(ValueError, match="erased"):
        key.sign(b"x")


def test_the_appender_agrees_with_the_plain_helpers() -> None:
    bodies = [b'{"kind":"a.b","count":%d,"x":"\xc3\xa9"}' % n for n in range(30)]
    appender = Appender(998, chain.GENESIS)
    lines, pos, records = appender.wrap(b"\n".join(bodies) + b"\n", 0, 20)
    assert records == 20
    assert pos == sum(len(body) + 1 for body in bodies[:20])
    prev, expected = chain.GENESIS, b""
    for seq, body in enumerate(bodies[:20], 998):
        line, prev = chain.close_line(b'{"seq":%d,"type":"action",%b' % (seq, body[1:-1]), prev)
        expected += line
    assert lines == expected
    assert appender.head == prev
    assert appender.seq == 1018
    assert appender.count_sum == sum(range(20))


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(max_codepoint=126, min_codepoint=35,
                                            exclude_characters="\\"), min_size=1, max_size=5),
                      inner, max_size=4),
    max_leaves=12,
))  # fmt: skip
def test_whatever_json_writers_write_is_taken(value: object) -> None:
    import orjson

    assert check_opened(b'{"x":' + orjson.dumps(value)) is None


@given(st.binary(max_size=40))
def test_bytes_are_taken_only_if_a_json_reader_takes_them_too(data: bytes) -> None:
    import json

    if check_opened(b'{"x":' + data) is None:
        json.loads(b'{"x":' + data + b"}")


PIECES = (
    b"{", b"}", b"[", b"]", b",", b":", b'"', b'"a"', b'"a":', b'"b":', b"0", b"-1", b"1.5e3",
    b"01", b"true", b"null", b" ", b"\\u00e9", b"\\ud800", b"\\udc00", b"\\n", b"\\q", b"\xc3\xa9",
    b"\xff", b"\x01", b"9" * 40, b"x",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=9))
def test_both_verifiers_hold_the_same_grammar(pieces: list[bytes]) -> None:
    opened = b'{"x":' + b"".join(pieces)
    try:
        found = independent_verifier.parse(opened + b"}")
    except independent_verifier.BadRecord:
        found = None
    own = found is not None and not {"prev", "hash"} & set(found)
    assert (check_opened(opened) is None) == own


SEARCH = """
import sys
# Searches another process's writable memory; says how often the bytes on stdin occur.
pid, count, needle = int(sys.argv[1]), 0, None
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
def regions():
    with open(f"/proc/{pid}/smaps") as smaps:
        begin = end = None
        for line in smaps:
            first = line.split()[0]
            if "-" in first and not first.endswith(":"):
                begin, end = (int(part, 16) for part in first.split("-"))
                writable = "w" in line.split()[1]
            # More than a GiB at once is a sanitizer's shadow: it holds nobody's bytes.
            elif first == "VmFlags:" and writable and end - begin <= 1 << 30:
                yield begin, end, "dd" in line.split()
public = bytes.fromhex(sys.argv[2])
with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
    for begin, end, undumped in regions():
        if undumped:  # the key's own page is left out of core dumps: so a thief finds it
            for page in range(begin, end, 4096):
                memory.seek(page)
                seed = memory.read(32)
                key = Ed25519PrivateKey.from_private_bytes(seed)
                if key.public_key().public_bytes_raw() == public:
                    needle = seed
    print("found" if needle else "not found", flush=True)
    sys.stdin.readline()
    for begin, end, _ in regions():
        try:
            memory.seek(begin)
            data = memory.read(end - begin)
        except OSError:
            continue
        count += data.count(needle or b"no key was found")
    print(count)
"""


def test_no_copy_of_an_erased_key_is_left_in_memory() -> None:
    """A thief with the run of our memory sees the key before, and not after."""
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)
    key = WipedKey()
    key.sign(b"one")
    command = [sys.executable, "-c", SEARCH, str(os.getpid()), key.public.hex()]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as thief:
        assert thief.stdin is not None
        assert thief.stdout is not None
        assert thief.stdout.readline() == "found\n"
        key.sign(b"two")
        key.erase()
        thief.stdin.write("\n")
        thief.stdin.flush()
        assert thief.stdout.readline() == "0\n"


def test_a_child_does_not_inherit_the_key() -> None:
    """MADV_WIPEONFORK: after fork(2) the page is zero, so the child signs as someone else."""
    key = WipedKey()
    pid = os.fork()
    if pid == 0:
        signature = key.sign(b"x")
        os._exit(int(chain.signature_holds(key.public, signature, b"x")))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    zero = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    assert key.public != zero
