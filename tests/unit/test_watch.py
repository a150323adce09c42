"""`capsule watch` without a terminal: the model, the filter, the lines, the target's terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from capsule.verify import Bad, Report, Verdict
from capsule.watch.emulator import APPLICATION_CURSOR, BRACKETED_PASTE, Emulator
from capsule.watch.heading import Moment, heading
from capsule.watch.index import Filter, View
from capsule.watch.keys import key_bytes
from capsule.watch.layout import layout
from capsule.watch.meters import Latency, Rates
from capsule.watch.model import Process, Run
from capsule.watch.rows import Line, process_line, record_line

HOSTILE = "\x1b[2J\x1b]0;x\x07[red]\u202e\x9b31m\n\t%s{}"

Record = dict[str, Any]


def action(kind: str, proc: int = 1, **more: Any) -> Record:
    return {"type": "action", "kind": kind, "count": 1, "proc": proc, "pid": 100 + proc,
            "exe": "/bin/sh", "first_ns": 10**18, "last_ns": 10**18, **more}  # fmt: skip


def spawn(proc: int, child: int) -> Record:
    return action("proc.spawn", proc, child=child, child_pid=100 + child)


class Log:
    """Records as a log has them, and what the model makes of them."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = [{"seq": seq, **record} for seq, record in enumerate(records)]
        self.lines = [orjson.dumps(record) for record in self.records]
        self.run = Run()
        self.run.feed(self.lines)
        self.data = b"\n".join(self.lines)

    def read(self, row: int) -> Record:
        part, offset = self.run.index.place(row)
        assert part == 0
        found: Record = orjson.loads(self.data[offset:].partition(b"\n")[0])
        return found

    def view(self, text: str, of: Process | None = None) -> list[int]:
        """The seqs that pass."""
        view = View(self.run.index, of.rows if of else None, Filter.parse(text), self.read)
        while not view.advance(1):
            pass
        return [self.read(row)["seq"] for row in view.rows]


def shown(run: Run, **options: Any) -> list[tuple[int, int]]:
    """(depth, proc) of each line of the tree."""
    return [(process.depth, process.proc) for process in run.tree(**options)]


# -- processes


def test_children_stand_below_who_started_them() -> None:
    log = Log([action("proc.exec"), spawn(1, 2), spawn(2, 3), spawn(1, 4)])
    assert shown(log.run) == [(0, 1), (1, 2), (2, 3), (1, 4)]


def test_a_child_that_is_seen_before_its_birth_finds_its_place() -> None:
    log = Log([action("file.open", 2), action("proc.exit", 2, status=0), spawn(1, 2)])
    assert shown(log.run) == [(0, 1), (1, 2)]
    assert log.run.processes[2].end == "0"


def test_a_folded_process_hides_those_below_it() -> None:
    log = Log([spawn(1, 2), spawn(2, 3), spawn(1, 4)])
    log.run.processes[2].folded = True
    assert shown(log.run) == [(0, 1), (1, 2), (1, 4)]


def test_only_the_living_and_who_is_above_them() -> None:
    exits = [action("proc.exit", proc, status=0) for proc in (1, 2, 4)]
    log = Log([spawn(1, 2), spawn(2, 3), spawn(1, 4), *exits])
    assert shown(log.run, living=True) == [(0, 1), (1, 2), (2, 3)]
    assert log.run.living == 1


def test_a_process_is_what_it_last_executed() -> None:
    failed = action("proc.exec", exe="/bin/sh", errors={"ENOENT": 1}, argv=["no"])
    log = Log([action("proc.exec", exe="/usr/bin/make", argv=["make", "-j"]), failed])
    process = log.run.processes[1]
    assert (process.exe, process.argv, process.failures) == ("/usr/bin/make", ["make", "-j"], 1)


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), max_size=40))
def test_whoever_a_forged_log_says_was_born_of_whom_each_is_shown_once(
    births: list[tuple[int, int]],
) -> None:
    log = Log([spawn(parent, child) for parent, child in births])
    assert sorted(proc for _, proc in shown(log.run)) == sorted(log.run.processes)


def test_a_chain_of_many_processes_needs_no_recursion() -> None:
    log = Log([spawn(proc, proc + 1) for proc in range(1, 5000)])
    assert shown(log.run)[-1] == (4999, 5000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
MEMBERS = ("seq", "type", "kind", "count", "errors", "tags", "proc", "pid", "exe", "argv", "child",
           "child_pid", "parent", "status", "signal", "first_ns", "last_ns", "target", "stages",
           "bytes", "time_ns", "why", "exit", "totals")  # fmt: skip


@example([("action", "proc.spawn", {"errors": {"": "\x1b"}})])
@example([("action", "file.open", {"pid": "\x1b"})])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["action", "gap", "start", "end", "checkpoint", "x"]),
            st.sampled_from(["proc.spawn", "proc.exec", "proc.exit", "file.open"]),
            st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=8),
        ),
        max_size=8,
    )
)
def test_whatever_a_forged_record_holds_it_is_shown(
    records: list[tuple[str, str, Record]],
) -> None:
    log = Log([{"type": type_, "kind": kind, **more} for type_, kind, more in records])
    for row in range(len(log.run.index)):
        for width in (10, 50, 90):
            check(record_line(log.read(row), width, of_all=bool(row % 2)), width)
    for process in log.run.tree():
        check(process_line(process, 30, None), 30)
    for line in heading(log.run, Moment("live"), 80):
        assert cell_len(text(line)) <= 80
    assert log.view("x") is not None


def test_lines_that_are_no_records_are_counted() -> None:
    run = Run()
    run.feed([b"", b"7", b"{", b'{"type":"action","kind":"x"}'])
    assert (run.records, run.unreadable, run.actions) == (4, 3, 1)


def test_what_is_lost_is_summed() -> None:
    end = {"type": "end", "complete": True, "stages": {"logger": {"refused": 2}}}
    log = Log([{"type": "gap", "count": 5, "why": "x"}, {"type": "gap", "count": None}, end])
    assert (log.run.gaps, log.run.lost, log.run.dropped) == (2, 6, 2)
    assert "gaps 2 (6 lost)  dropped 2" in text(heading(log.run, Moment("live"), 100)[2])


# -- filters

SAMPLE = [
    {"type": "start", "argv": ["make"]},
    action("proc.exec", target="/usr/bin/cc", argv=["cc", "-O2", "main.c"]),
    action("file.open", target="/etc/Passwd", tags=["secret"]),
    action("file.open", 2, target="/nope", errors={"ENOENT": 1}),
    {"type": "checkpoint"},
    action("net.connect", 2, target="10.0.0.1:80", errors={"EINPROGRESS": 1}, tags=["outside"]),
    {"type": "gap", "count": 3, "why": "the disk was full"},
]


@pytest.mark.parametrize(
    ("wanted", "seqs"),
    [
        ("", [0, 1, 2, 3, 5, 6]),
        ("net", [5]),
        ("file.open proc.*", [1, 2, 3]),
        ("kind:gap", [6]),
        ("failed", [3, 5]),
        ("worked file", [2]),
        ("tag:", [2, 5]),
        ("tag:secret", [2]),
        ("passwd", [2]),
        ("MAIN.C", [1]),
        ("failed net eino", []),
        ("failed net einpro", [5]),
        ("text:net", [5]),
        ("disk", [6]),
        ("/etc file.open", [2]),
    ],
)
def test_a_filter_lets_pass(wanted: str, seqs: list[int]) -> None:
    log = Log(SAMPLE)
    assert log.view(wanted) == seqs
    assert log.view(str(Filter.parse(wanted))) == seqs
    of_second = [seq for seq in seqs if seq in (3, 5)]
    assert log.view(wanted, log.run.processes[2]) == of_second


def test_a_view_grows_with_the_log() -> None:
    log = Log(SAMPLE)
    view = View(log.run.index, None, Filter.parse("failed"), log.read)
    assert view.advance(1)
    assert list(view.rows) == [3, 4]  # the checkpoint has no row
    log.run.feed([orjson.dumps(action("file.stat", errors={"ENOENT": 1}))], 0, len(log.data) + 1)
    assert view.looked_at == (6, 7)
    view.advance(1)
    assert view.rows[-1] == 6


# -- lines


def text(line: Line) -> str:
    return "".join(piece for piece, _ in line)


def check(line: Line, width: int) -> None:
    assert cell_len(text(line)) <= width
    assert text(line).isprintable()


@given(st.text(max_size=60), st.integers(1, 120), st.booleans())
def test_no_name_gets_control_of_the_terminal(name: str, width: int, of_all: bool) -> None:
    process = Process(1, 7, exe=name, end=name, depth=width)
    check(process_line(process, width, None), width)
    check(process_line(process, width, ("running", 250.0)), width)
    record = action("file.open", target="/" + name, exe=name, errors={name: 2}, tags=[name])
    check(record_line(record, width, of_all=of_all), width)


def test_a_hostile_name_is_shown_as_what_it_is() -> None:
    line = text(record_line(action("file.open", target=HOSTILE), 120, of_all=False))
    assert r"\x1b[2J\x1b]0;x\x07[red]\u{202e}\x9b31m\x0a\x09%s{}" in line


def test_the_end_of_a_path_is_what_is_kept() -> None:
    line = text(record_line(action("file.open", target="/a" * 40 + "/name"), 50, of_all=False))
    assert line.rstrip().endswith("/name")


def test_processes_of_one_program_are_told_apart_by_their_words() -> None:
    process = Process(1, 7, exe="/usr/bin/git", argv=["git", "index-pack", HOSTILE], end="0")
    assert text(process_line(process, 28, None)).startswith(" 7 git index-pack")
    check(process_line(process, 44, None), 44)


def test_a_deep_process_in_a_narrow_tree_keeps_its_name() -> None:
    process = Process(1, 23898, exe="/bin/lsb_release", end="0", depth=4)
    assert text(process_line(process, 24, None)).startswith("││││ 23898 lsb_release")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (action("file.rename", target="/a/old", to="/a/new"), "/a/old -> /a/new"),
        (action("proc.exec", target="/usr/bin/git", argv=["git", "gc"]), "/usr/bin/git gc"),
        (action("proc.exit", status=3, count=2), "exit 3"),
    ],
)
def test_an_action_says_what_its_target_alone_does_not(record: Record, said: str) -> None:
    line = text(record_line(record, 60, of_all=False))
    assert " ".join(line.split()[2:]) == said


def test_the_heading_of_a_busy_run_is_not_cut_at_80_columns() -> None:
    log = Log([action("file.open", proc, count=70, errors={"ENOENT": 2}) for proc in range(1307)])
    moment = Moment("live", per_s=(16_734.0, 10_400.0), latency_s=(0.005, 0.129))
    first, second, _ = (text(line) for line in heading(log.run, moment, 80))
    assert first.rstrip().endswith("5/129 ms")
    assert second == (
        " 1.3k proc, 1.3k alive  1.3k Actions 16.7k/s  91.5k events 10.4k/s  failed 2.6k"
    )
    assert "…" not in text(heading(log.run, moment, 40)[1])


def test_latency_is_not_the_time_that_a_call_waited() -> None:
    run = Log([action("file.stat", last_ns=5), action("proc.wait", last_ns=9)]).run
    assert (run.prompt_ns, run.last_ns) == (5, 9)


def test_a_run_that_has_ended_has_no_latency() -> None:
    moment = Moment("ended", latency_s=(0.3, 0.3))
    assert not any(" ms" in text(line) for line in heading(Run(), moment, 80))


def test_the_heading_tells_of_tampering() -> None:
    bad = Bad(7, 100, "record 7 has another hash")
    report = Report(Verdict.TAMPERED, bad, 3, 7, 100, 0, "", False, None, None)
    said = text(heading(Run(), Moment("cut off", report=report), 80)[2])
    assert "TAMPERED at 7: record 7 has another hash" in said


def test_rates_are_of_the_last_seconds() -> None:
    rates = Rates()
    assert rates.per_s() == (0, 0)
    for second in range(10):
        rates.feed(float(second), second**2, 10 * second)
    assert rates.per_s() == (pytest.approx((81 - 36) / 3), pytest.approx(10))


def test_latency_is_forgotten() -> None:
    latency = Latency()
    assert latency.seconds() is None
    latency.feed(1.0, 0.5)
    latency.feed(2.0, 0.1)
    assert latency.seconds() == (0.1, 0.5)
    latency.forget(4.5)
    assert latency.seconds() == (0.1, 0.1)
    latency.forget(9.0)
    assert latency.seconds() is None


@pytest.mark.parametrize(
    ("size", "tree", "target"),
    [((80, 24), 24, (80, 19)), ((120, 40), 36, (120, 17)), ((50, 12), 0, (50, 7)),
     ((200, 60), 44, (200, 27)), ((1, 1), 0, (1, 1))],
)  # fmt: skip
def test_room_is_shared_out(size: tuple[int, int], tree: int, target: tuple[int, int]) -> None:
    plan = layout(*size)
    assert (plan.tree_columns, (plan.target_columns, plan.target_lines)) == (tree, target)


# -- the target's terminal


def emulator(columns: int = 20, lines: int = 4) -> tuple[Emulator, list[bytes]]:
    replies: list[bytes] = []
    return Emulator(columns, lines, replies.append), replies


def screen(emulated: Emulator, lines: int = 4) -> list[str]:
    rows = range(lines)
    return ["".join(piece for piece, _ in emulated.row(y)).rstrip() for y in rows]


STRINGS = (
    b"A\x1b]0;title\x07B\x1bP+q544e\x1b\\C\xc2\x9dx\xc2\x9cD\x1b[>4;2mE\x1b[2 qF\x1b[4:3mG"
    b"\x1b[?4m\x1b[1;2;3;4AH"
)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100])
def test_sequences_that_are_not_known_are_no_text_and_no_other_sequence(size: int) -> None:
    emulated, _ = emulator()
    for at in range(0, len(STRINGS), size):
        emulated.feed(STRINGS[at : at + size])
    assert screen(emulated)[0] == "ABCDEFGH"
    assert not any(look.underscore for _, look in emulated.row(0))


def test_a_full_screen_program_gives_the_screen_back() -> None:
    emulated, _ = emulator()
    emulated.feed(b"one\r\ntwo\x1b[?1049h\x1b[H\x1b[2Jfull\x1b[?1049l.")
    assert screen(emulated) == ["one", "two.", "", ""]


def test_lines_that_scroll_out_are_kept() -> None:
    emulated, _ = emulator()
    emulated.feed(b"".join(b"line %d\r\n" % number for number in range(9)))
    assert screen(emulated) == ["line 6", "line 7", "line 8", ""]
    back = ["".join(piece for piece, _ in emulated.row(y, back=4)).rstrip() for y in range(4)]
    assert back == ["line 2", "line 3", "line 4", "line 5"]


def test_it_answers_where_the_cursor_is() -> None:
    emulated, replies = emulator()
    emulated.feed(b"ab\x1b[6n\x1b[?2004h")
    assert replies == [b"\x1b[1;3R"]
    assert emulated.has_mode(BRACKETED_PASTE)


PIECES = st.one_of(
    st.binary(max_size=6),
    st.sampled_from([b"\x1b[", b"\x1b]", b"\x1bP", b"\x1b", b"?", b";", b"9999", b"1049h", b"1049l",
                     b"\x1b[r", b"\x1b[5;2r", b"m", b"38;5", b"\xe2\x80\xae", b"\xc2\x9b", b"\x9b",
                     b"L", b"M", b"P", b"X", b"@", b"J", b"K", b"\x1bM", b"\n", b"\x1bc"]),
)  # fmt: skip


@given(st.lists(PIECES, max_size=40), st.integers(1, 30), st.integers(1, 10))
def test_whatever_a_program_writes_is_harmless(
    pieces: list[bytes], columns: int, lines: int
) -> None:
    emulated, _ = emulator()
    for number, piece in enumerate(pieces):
        emulated.feed(piece)
        if number == 20:
            emulated.resize(columns, lines)
        for row in screen(emulated, 2):
            assert row.isprintable()
        emulated.cursor  # noqa: B018


@pytest.mark.parametrize(
    ("key", "character", "data"),
    [
        ("a", "a", b"a"), ("é", "é", "é".encode()), ("enter", "\r", b"\r"),
        ("ctrl+c", "\x03", b"\x03"), ("alt+x", "x", b"\x1bx"), ("escape", "\x1b", b"\x1b"),
        ("up", None, b"\x1b[A"), ("ctrl+left", None, b"\x1b[1;5D"), ("f1", None, b"\x1bOP"),
        ("f5", None, b"\x1b[15~"), ("shift+f5", None, b"\x1b[15;2~"), ("pageup", None, b"\x1b[5~"),
        ("shift+tab", None, b"\x1b[Z"), ("backspace", "\x7f", b"\x7f"), ("plus", "+", b"+"),
        ("f30", None, b""),
    ],
)  # fmt: skip
def test_a_key_sends(key: str, character: str | None, data: bytes) -> None:
    assert key_bytes(key, character, application_cursor=False) == data


def test_a_program_can_ask_for_other_cursor_keys() -> None:
    emulated, _ = emulator()
    emulated.feed(b"\x1b[?1h")
    application = emulated.has_mode(APPLICATION_CURSOR)
    assert key_bytes("up", None, application_cursor=application) == b"\x1bOA"
