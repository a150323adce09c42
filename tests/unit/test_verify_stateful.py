"""Writer operations x crash points x mutations x pins, in any order Hypothesis likes.

A model keeps what an honest reader may conclude: how many records there are, which of them are
signed, and what was pinned when. Both verifiers are asked each time and have to agree.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from capsule.log import Logger
from capsule.verify import Bad, Pins, Report, Verdict, Verifier
from tests import independent_verifier
from tests.unit.chainlogs import Keys, action
from tests.unit.forge import edited, rechained, resealed, type_of

KINDS = st.sampled_from(["file.read", "file.read", "file.read", "proc.exec", "cred.change"])
PLACE = st.floats(0, 1, exclude_max=True)
SIGNED = (b"checkpoint", b"end")


def judged(data: bytes, pins: Pins | None = None) -> Report:
    """What both verifiers say."""
    pins = Pins() if pins is None else pins
    verifier = Verifier(pins)
    verifier.feed(data)
    report = verifier.finish()
    heads = {seq: head for seq, head in pins.heads if seq is not None}
    last = next((head for seq, head in pins.heads if seq is None), None)
    found = independent_verifier.verify(
        [data], head=last, heads=heads, key=pins.key, size=pins.records
    )
    bad = (report.bad.seq, report.bad.offset) if report.bad else None
    said = (report.verdict.name.lower(), bad, report.authenticated_through)
    assert said == (found["verdict"], found["bad"], found["through"])
    return report


class LogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.where = Path(tempfile.mkdtemp())
        self.path = self.where / "run.jsonl"
        self.now_ns = 10**18
        self.keys = Keys(5)
        self.anchored: dict[int, str] = {}
        self.log = Logger(
            self.path,
            {"run": "run"},
            clock_ns=lambda: self.now_ns,
            cadence_records=6,
            cadence_ns=10**9,
            fsync="never",
            new_key=self.keys,
            on_checkpoint=self.anchor,
        )
        self.sealed = False

    def anchor(self, line: bytes) -> None:
        seq = int(line[7 : line.index(b",")])
        self.anchored[seq] = line[-67:-3].decode()

    @property
    def data(self) -> bytes:
        return self.path.read_bytes()

    @property
    def lines(self) -> list[bytes]:
        return self.data.splitlines(True)

    def signed(self, lines: list[bytes]) -> int | None:
        found = [seq for seq, line in enumerate(lines) if type_of(line) in SIGNED]
        return found[-1] if found else None

    def teardown(self) -> None:
        self.log.abandon()
        shutil.rmtree(self.where)

    # -- the writer -----------------------------------------------------------------------

    @precondition(lambda self: not self.sealed)
    @rule(kinds=st.lists(KINDS, max_size=9))
    def feed(self, kinds: list[str]) -> None:
        self.log.feed(b"".join(action(n, kind) for n, kind in enumerate(kinds)))

    @precondition(lambda self: not self.sealed)
    @rule(count=st.none() | st.integers(0, 5))
    def gap(self, count: int | None) -> None:
        self.log.gap(count, "why not")

    @precondition(lambda self: not self.sealed)
    @rule(passed_ns=st.sampled_from([0, 5_000_000, 20_000_000, 10**9, -(10**9)]))
    def tick(self, passed_ns: int) -> None:
        self.now_ns += passed_ns
        self.log.tick()

    @precondition(lambda self: not self.sealed)
    @rule()
    def checkpoint(self) -> None:
        self.log.checkpoint()

    @precondition(lambda self: not self.sealed)
    @rule()
    def seal(self) -> None:
        end = self.log.close({"exit": 0})
        self.sealed = True
        assert end.head == self.anchored[end.seq]

    # -- what an honest reader concludes --------------------------------------------------

    @invariant()
    def the_file_is_good_and_every_anchor_fits(self) -> None:
        data = self.data
        pins = Pins(heads=tuple(self.anchored.items()), key=self.keys.made[0].public.hex())
        report = judged(data, pins)
        assert report.verdict is (Verdict.INTACT if self.sealed else Verdict.INCOMPLETE)
        assert report.authenticated_through == self.signed(data.splitlines(True))
        assert report.authenticated_through == max(self.anchored, default=None)

    # -- crashes --------------------------------------------------------------------------

    @rule(place=PLACE)
    def crash(self, place: float) -> None:
        """What is left is a prefix: incomplete, and a pin beyond it says so."""
        data = self.data
        cut = data[: int(place * len(data))]
        report = judged(cut)
        assert (report.verdict, report.bad) == (Verdict.INCOMPLETE, None)
        assert report.authenticated_through == self.signed(cut.splitlines(True)[: report.records])
        for seq, head in self.anchored.items():
            pinned = judged(cut, Pins(heads=((seq, head),)))
            lost = seq >= report.records
            assert pinned.verdict is (Verdict.TAMPERED if lost else Verdict.INCOMPLETE)

    # -- mutations ------------------------------------------------------------------------

    @rule(place=PLACE, bit=st.integers(0, 7))
    def flip(self, place: float, bit: int) -> None:
        data = bytearray(self.data)
        data[int(place * len(data))] ^= 1 << bit
        assert judged(bytes(data)).verdict is Verdict.TAMPERED

    @rule(place=PLACE, other=PLACE)
    def move(self, place: float, other: float) -> None:
        """A record taken from one place and put in another."""
        lines = self.lines
        moved = list(lines)
        moved.insert(int(other * len(lines)), moved.pop(int(place * len(lines))))
        if moved != lines:
            assert judged(b"".join(moved)).verdict is Verdict.TAMPERED

    @rule(place=PLACE)
    def double(self, place: float) -> None:
        lines = self.lines
        at = int(place * len(lines))
        report = judged(b"".join([*lines[: at + 1], *lines[at:]]))
        assert report.verdict is Verdict.TAMPERED
        assert isinstance(report.bad, Bad)
        assert report.bad.seq == at + 1

    @rule(place=PLACE)
    def drop(self, place: float) -> None:
        lines = self.lines
        at = int(place * len(lines))
        report = judged(b"".join(lines[:at] + lines[at + 1 :]))
        last = at == len(lines) - 1
        assert report.verdict is (Verdict.INCOMPLETE if last else Verdict.TAMPERED)
        if self.sealed or not last:
            head = lines[-1][-67:-3].decode()
            pinned = judged(b"".join(lines[:at] + lines[at + 1 :]), Pins(heads=((None, head),)))
            assert pinned.verdict is Verdict.TAMPERED

    @rule(place=PLACE)
    def edit_and_chain(self, place: float) -> None:
        """Without a key, only what no signature covers yet can be forged."""
        lines = self.lines
        at = int(place * len(lines))
        forged = b"".join(rechained(edited(lines, at, lambda o: o + b',"forged":1'), at))
        report = judged(forged)
        signed = self.signed(lines)
        caught = at <= (-1 if signed is None else signed) or type_of(lines[at]) in SIGNED
        assert report.verdict is (Verdict.TAMPERED if caught else Verdict.INCOMPLETE)
        if not caught:
            assert (report.authenticated_through or -1) < at

    @rule(place=PLACE, stolen=PLACE)
    def edit_and_seal_with_a_stolen_key(self, place: float, stolen: float) -> None:
        """The key of an epoch forges that epoch and what comes after, nothing before."""
        lines = self.lines
        at = int(place * len(lines))
        epochs = [seq for seq, line in enumerate(lines) if type_of(line) in SIGNED]
        if not epochs or type_of(lines[at]) in SIGNED:
            return
        epoch = int(stolen * len(epochs))
        mine = [*self.keys.made[epoch : epoch + 1]] * (len(epochs) + 1)
        forged = resealed(edited(lines, at, lambda o: o + b',"forged":1'), mine, at, Keys(6))
        needed = sum(seq < at for seq in epochs)  # the epoch that signs record `at`
        report = judged(b"".join(forged))
        if needed >= len(epochs) or needed == epoch:
            expected = Verdict.INTACT if self.sealed else Verdict.INCOMPLETE
            assert report.verdict is expected
        else:
            assert report.verdict is Verdict.TAMPERED
        if needed < len(epochs):
            seq = epochs[needed]
            pinned = judged(b"".join(forged), Pins(heads=((seq, self.anchored[seq]),)))
            assert pinned.verdict is Verdict.TAMPERED


LogMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestLogMachine = LogMachine.TestCase
