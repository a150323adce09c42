"""`capsule watch` on real runs: driven by textual's pilot, and on a terminal of its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pexpect
import psutil
import pyte
import pytest
from textual.pilot import Pilot
from textual.widget import Widget

from capsule.watch.app import WatchApp
from tests.conftest import REPO, RunCapsule
from tests.logs import read_log

SIZE = (80, 24)
HOSTILE = "[red]\x1b[2J\x1b]0;title\x07\u202e\n.txt"
LIMIT_S = 30

Test = Callable[[Pilot[None], WatchApp], Awaitable[None]]


def piloted(log: Path, test: Test, size: tuple[int, int] = SIZE) -> None:
    """Run `test` with the application on this log."""

    async def go() -> None:
        app = WatchApp(log, None, SIZE)
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app.session.source.state == "ended")  # type: ignore[union-attr]
            app.draw(tree_now=True)
            await test(pilot, app)

    asyncio.run(go())


async def until(pilot: Pilot[None], true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline_s
        await pilot.pause(0.01)


def lines(widget: Widget) -> list[str]:
    """What the widget shows."""
    return [widget.render_line(y).text for y in range(widget.size.height)]


@pytest.fixture
def log(capsule: RunCapsule, log_dir: Path, tmp_path: Path) -> Path:
    """A run of some processes, one of which fails, one that opens a hostile name."""
    (tmp_path / HOSTILE).touch()
    script = 'cat "$0"; (cat /nope; exit 4); mkdir new; exit 3'
    done = capsule("trace", "-q", "--", "sh", "-c", script, tmp_path / HOSTILE, cwd=tmp_path)
    assert done.returncode == 3
    return (log_dir / "latest").resolve()


# -- by the pilot


def test_a_finished_run_is_shown_with_its_tree_and_its_verdict(log: Path) -> None:
    async def test(pilot: Pilot[None], app: WatchApp) -> None:
        heading = lines(app.heading)
        assert heading[0].startswith(" exit 3  sh -c 'cat")
        assert " intact and complete  gaps 0  dropped 0" in heading[2]
        assert f"head {read_log(log.parent)[-1]['hash'][:16]}" in heading[2]
        tree = [line.split() for line in lines(app.processes) if line.strip()]
        assert tree[0] == ["all", "processes"]
        # The second child is the subshell, and the cat below it.
        rows = [row[row[0] in ("│", "││") :] for row in tree[1:]]
        names = [(row[1], row[-1]) for row in rows]
        assert sorted(names) == [
            ("cat", "0"),
            ("cat", "1"),
            ("mkdir", "0"),
            ("sh", "3"),
            ("sh", "4"),
        ]
        assert lines(app.records)[-1].split()[1:] == ["end", "complete,", "exit", "3"]

    piloted(log, test)


def test_a_process_is_chosen_and_its_actions_filtered_and_opened(log: Path) -> None:
    async def test(pilot: Pilot[None], app: WatchApp) -> None:
        total = len(app.session.view.rows)
        await pilot.press("down")
        assert app.session.selected is app.session.tree[0]
        assert 0 < len(app.session.view.rows) < total
        await pilot.press("home", "f")
        records = [app.session.record(row) for row in app.session.view.rows]
        assert records and all(record and record["errors"] for record in records)
        await pilot.press("escape", "slash", *"file.open nope", "enter")
        assert "[kind:file.open text:nope] 1 of" in lines(app.foot)[0]
        assert "/nope" in lines(app.records)[0]
        assert app.focused is app.records
        await pilot.press("enter")
        assert app.screen.is_modal
        await pilot.press("escape", "escape")
        assert len(app.session.view.rows) == total

    piloted(log, test)


def test_folding_hides_and_shows(log: Path) -> None:
    async def test(pilot: Pilot[None], app: WatchApp) -> None:
        total = app.processes.count
        await pilot.press("down", "left")
        assert app.processes.count == 2
        await pilot.press("right")
        assert app.processes.count == total
        await pilot.press("a")  # nobody is alive any more
        assert app.processes.count == 1
        assert app.session.selected is None

    piloted(log, test)


@pytest.mark.parametrize(
    ("size", "both"), [((80, 24), True), ((120, 40), True), ((40, 10), False), ((10, 5), False)]
)
def test_any_size_will_do(log: Path, size: tuple[int, int], both: bool) -> None:
    async def test(pilot: Pilot[None], app: WatchApp) -> None:
        await pilot.pause()
        assert app.processes.display
        assert app.records.display is both
        await pilot.press("tab")
        await pilot.pause()
        assert app.records.display
        assert app.processes.display is both
        await pilot.press("question_mark", "escape", "tab")
        assert app.focused is app.processes
        await pilot.resize_terminal(90, 30)
        await pilot.pause()
        assert app.processes.display
        assert app.records.display

    piloted(log, test, size)


def test_a_hostile_name_is_neither_markup_nor_control(log: Path) -> None:
    async def test(pilot: Pilot[None], app: WatchApp) -> None:
        await pilot.press("slash", *"file.open text:[red]", "enter")
        shown = [line for line in lines(app.records) if "[red]" in line]
        assert shown
        assert r"[red]\x1b[2J\x1b]0;title\x07\u{202e}\x0a.txt" in shown[0]
        await pilot.press("enter")
        await pilot.pause()
        screen = app.export_screenshot()
        assert "[red]" in screen
        assert "\x1b" not in screen
        assert "\u202e" not in screen

    piloted(log, test, (160, 40))


def test_a_rotated_log_is_read_as_one(capsule: RunCapsule, log_dir: Path) -> None:
    script = "i=0; while [ $i -lt 20 ]; do /bin/true; i=$((i+1)); done"
    done = capsule("trace", "-q", "--rotate-size", "20K", "--", "sh", "-c", script)
    assert done.returncode == 0

    async def test(pilot: Pilot[None], app: WatchApp) -> None:
        assert "intact and complete" in lines(app.heading)[2]
        read = [app.session.record(row) for row in range(len(app.session.log.index))]
        seqs = [record["seq"] for record in read if record is not None]
        assert len(seqs) == len(read)
        assert seqs == sorted(set(seqs))
        assert app.processes.count == 22

    piloted((log_dir / "latest").resolve(), test)


def test_a_log_that_was_altered_is_told(log: Path) -> None:
    data = log.read_bytes()
    log.write_bytes(data.replace(b"/nope", b"/nose", 1))

    async def test(pilot: Pilot[None], app: WatchApp) -> None:
        assert "TAMPERED at " in lines(app.heading)[2]

    piloted(log, test)


# -- on a terminal


class Terminal:
    """`capsule watch WORDS` on a terminal, and what a person sees there."""

    def __init__(self, *words: str, columns: int = 80, rows: int = 24, **env: str) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.process = pexpect.spawn(
            sys.executable, ["-m", "capsule", "watch", *words], dimensions=(rows, columns),
            env={**os.environ, "PYTHONPATH": str(REPO), "TERM": "xterm-256color", **env},
            timeout=LIMIT_S,
        )  # fmt: skip

    def _more(self, timeout_s: float) -> bool:
        try:
            data = self.process.read_nonblocking(1 << 16, timeout_s)
        except pexpect.TIMEOUT:
            return False
        self.raw += data
        # What pyte takes for text is no part of the screen: xterm's private sequences.
        self._stream.feed(re.sub(rb"\x1b\[[<=>][\d;]*[a-z]", b"", data))
        return True

    def wait_for(self, *texts: str) -> str:
        """Wait until the screen shows all of them; returns it."""
        deadline_s = time.monotonic() + LIMIT_S
        while not all(text in self.text for text in texts):
            assert time.monotonic() < deadline_s, self.text
            try:
                self._more(0.2)
            except pexpect.EOF:
                pytest.fail(f"it ended:\n{self.text}")
        return self.text

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def send(self, text: str) -> None:
        self.process.send(text)

    def status(self) -> int:
        """Wait for its end."""
        deadline_s = time.monotonic() + LIMIT_S
        try:
            while time.monotonic() < deadline_s:
                self._more(1)
        except pexpect.EOF:
            pass
        self.process.wait()
        code = self.process.exitstatus
        assert code is not None
        return int(code)


@pytest.fixture
def watch() -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(*words: str, **options: str) -> Terminal:
        started.append(Terminal(*words, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for terminal in started:
        if not terminal.process.terminated and terminal.process.isalive():
            terminal.process.kill(signal.SIGKILL)
        if not terminal.process.closed:
            terminal.process.close(force=True)


F2 = "\x1bOQ"


def test_a_command_has_its_terminal_and_its_status_is_ours(
    watch: Callable[..., Terminal], log_dir: Path
) -> None:
    terminal = watch("--", "sh", "-c", "stty size; read -r word; echo got $word; exit 7")
    terminal.wait_for("19 80", "leaves it")
    terminal.send("abc\r")
    terminal.wait_for("got abc", "exit 7")
    terminal.send(F2)
    terminal.wait_for("intact and complete", "all processes", "proc.exit", "exit 7")
    terminal.send("q")
    assert terminal.status() == 7
    assert b"chain head" in terminal.raw
    assert read_log(log_dir)[-1]["exit"] == {"code": 7}


def test_what_is_typed_after_the_commands_end_is_the_displays(
    watch: Callable[..., Terminal],
) -> None:
    """Its terminal keeps the focus and swallowed the q that is to quit."""
    terminal = watch("--", "sh", "-c", "read -r word; exit 4")
    terminal.wait_for("all other keys are the command's")
    terminal.send("q\r")
    terminal.wait_for("exit 4", "?:keys  q:quit")
    terminal.send("q")
    assert terminal.status() == 4


def test_a_full_screen_program_works_and_gets_the_keys(
    watch: Callable[..., Terminal], tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_text("".join(f"line {number}\n" for number in range(100)))
    terminal = watch("--", "less", str(text))
    terminal.wait_for("line 0", "line 17")
    terminal.send("G")
    terminal.wait_for("line 99")
    terminal.send("\x1b[5~")
    terminal.wait_for("line 70")
    terminal.send("q")
    terminal.wait_for("exit 0")
    terminal.send("\x1d")
    terminal.wait_for("all processes")
    terminal.send("q")
    assert terminal.status() == 0


def test_a_resize_is_passed_on(watch: Callable[..., Terminal]) -> None:
    script = 'trap "stty size" WINCH; echo up; while :; do sleep 0.05; done'
    terminal = watch("--", "sh", "-c", script)
    terminal.wait_for("\nup")
    terminal.screen.resize(30, 100)
    terminal.process.setwinsize(30, 100)
    terminal.wait_for("25 100")


def test_quitting_asks_and_then_ends_all_that_was_started(
    watch: Callable[..., Terminal], log_dir: Path
) -> None:
    script = (
        "trap '' HUP TERM INT; (trap '' HUP; sleep 1000) & echo up; while :; do sleep 1000; done"
    )
    terminal = watch("--", "sh", "-c", script)
    terminal.wait_for("\nup")
    below = psutil.Process(terminal.process.pid).children(recursive=True)
    assert len(below) > 5
    terminal.send(F2)
    terminal.wait_for("all processes", "sleep")
    terminal.send("q")
    terminal.wait_for("The command still runs")
    terminal.send("n")
    terminal.wait_for("all processes")
    terminal.send("q")
    terminal.wait_for("The command still runs")
    terminal.send("y")
    assert terminal.status() == 128 + signal.SIGKILL
    psutil.wait_procs(below, LIMIT_S)
    assert not [process for process in below if process.is_running()]
    assert read_log(log_dir)[-1]["complete"] is True


def test_a_closed_terminal_ends_the_tree(watch: Callable[..., Terminal]) -> None:
    terminal = watch("--", "sh", "-c", "echo up; sleep 1000")
    terminal.wait_for("\nup")
    process = terminal.process
    below = psutil.Process(process.pid).children(recursive=True)
    os.close(process.child_fd)
    os.waitpid(process.pid, 0)
    process.closed, process.child_fd, process.ptyproc.closed = True, -1, True
    process.terminated = process.ptyproc.terminated = True
    _, alive = psutil.wait_procs(below, LIMIT_S)
    assert not alive


def test_a_live_run_is_followed(
    watch: Callable[..., Terminal], capsule: RunCapsule, tmp_path: Path, log_dir: Path
) -> None:
    first = watch("--", "sh", "-c", "read x; ls /nowhere; read x")
    first.wait_for("leaves it", " live ", "1 alive")
    second = watch()
    second.wait_for(" live ", "1 alive", "intact so far", "sh")
    first.send("\r")
    second.wait_for("ls")
    first.send("\r")
    second.wait_for("exit 0", "intact and complete")
    second.send("q")
    assert second.status() == 0
    first.wait_for("exit 0")


def test_a_command_that_is_not_there_is_said(watch: Callable[..., Terminal]) -> None:
    terminal = watch("--", "no-such-command")
    assert terminal.status() == 127
    assert b"no-such-command: command not found" in terminal.raw


def test_no_colour_where_none_is_wanted(log: Path, watch: Callable[..., Terminal]) -> None:
    colour = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9\d|10\d)(?:;\d+)*m")
    with_colour = watch(str(log))
    with_colour.wait_for("intact and complete")
    assert colour.search(with_colour.raw)
    without = watch(str(log), NO_COLOR="1")
    without.wait_for("intact and complete")
    assert not colour.search(without.raw)
    for terminal in (with_colour, without):
        terminal.send("q")
        assert terminal.status() == 0


def test_a_hostile_name_does_not_reach_the_terminal(
    log: Path, watch: Callable[..., Terminal]
) -> None:
    terminal = watch(str(log))
    terminal.wait_for("intact and complete")
    terminal.send("/text:[red]\r")
    terminal.wait_for("[red]")
    terminal.send("q")
    assert terminal.status() == 0
    assert b"title\x07" not in terminal.raw
    assert "\u202e".encode() not in terminal.raw
    assert terminal.screen.title != "title"


# -- what cannot work


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["one", "two"], b"give one run, options before it; put -- before a command"),
        (["--"], b"give a command after --"),
        ([], b"watch needs a terminal"),
    ],
)
def test_what_cannot_be_watched_is_said(
    words: list[str], message: bytes, capsule: RunCapsule
) -> None:
    done = capsule("watch", *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_missing_library_is_named(tmp_path: Path, watch: Callable[..., Terminal]) -> None:
    (tmp_path / "textual.py").write_text("raise ImportError")
    terminal = watch("x", PYTHONPATH=f"{tmp_path}:{REPO}")
    assert terminal.status() == 2
    assert b"pip install 'capsule-runtime[watch]'" in terminal.raw
