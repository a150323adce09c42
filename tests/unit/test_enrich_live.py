"""What a running trace asks of /proc, with a reader that is a dict."""

from __future__ import annotations

from capsule.enrich import Enricher
from capsule.procfs import ProcessFacts, Program
from tests.unit.stages import Run, stamped

START = 1_700_000_000_000_000_000
SECOND = 10**9


class FakeReader:
    """Answers from a dict; what is not in it has gone."""

    def __init__(self, *known: ProcessFacts, programs: dict[bytes, Program] | None = None) -> None:
        self.known = {facts.pid: facts for facts in known}
        self.programs = programs or {}
        self.asked: list[int] = []

    def facts(self, pid: int) -> ProcessFacts | None:
        self.asked.append(pid)
        return self.known.get(pid)

    def program(self, path: bytes) -> Program:
        return self.programs.get(path, Program())

    def counters(self) -> dict[str, int]:
        return {"asked": len(self.asked)}


ROOT = ProcessFacts(pid=10, tgid=10, ppid=3, uid=1000, euid=1000, gid=7, egid=7, exe=b"/bin/gate",
                    argv=(b"gate",), cwd=b"/home/a", cgroup=b"0::/x", started_ns=5)  # fmt: skip


def test_root_is_read_once_before_its_first_line() -> None:
    reader = FakeReader(ROOT)
    done = Run(enricher=Enricher(10, reader))
    done.feed(stamped("""
        10 execve("/bin/sh", ["sh"], 0x1 /* 2 vars */) = 0
        10 mkdir("x", 0777) = 0
    """))  # fmt: skip
    done.finish()
    execed, made = done.actions()
    assert (execed["cwd"], execed["uid"], execed["ppid"]) == ("/home/a", 1000, 3)
    assert (execed["cgroup"], execed["started_ns"]) == ("0::/x", 5)
    assert made["target"] == "/home/a/x"
    assert reader.asked == [10]


def test_unannounced_pid_is_asked_for_after_50_ms() -> None:
    stray = ProcessFacts(pid=77, tgid=77, ppid=10, euid=0, exe=b"/bin/stray", cwd=b"/srv")
    reader = FakeReader(ROOT, stray)
    done = Run(enricher=Enricher(10, reader))
    assert done.feed(stamped('77 rmdir("x") = 0', start_ns=START)) == []
    due = done.enricher.next_tick_ns()
    assert due == START + 50_000_000
    assert done.enricher.tick(due - 1) == b""
    done.tick(due)
    done.finish()
    assert done.enricher.counters()["unannounced"] == 1
    assert done.enricher.next_tick_ns() is None
    assert reader.asked == [10, 77]


def test_unannounced_pid_inherits_from_the_parent_that_proc_names() -> None:
    stray = ProcessFacts(pid=77, tgid=77, ppid=10, exe=b"/bin/stray")
    done = Run(enricher=Enricher(10, FakeReader(ROOT, stray)))
    done.feed(stamped('77 rmdir("x") = 0\n77 execve("/bin/t", ["t"], 0x1) = 0'))
    done.finish()
    removed, execed = done.actions()
    assert (removed["target"], removed["exe"]) == ("/home/a/x", "/bin/stray")
    assert (execed["parent"], execed["ppid"], execed["unseen"]) == (1, 10, True)


def test_unannounced_thread_joins_its_process() -> None:
    thread = ProcessFacts(pid=78, tgid=10)
    done = Run(enricher=Enricher(10, FakeReader(ROOT, thread)))
    done.feed(stamped("78 getpid() = 10"))
    done.finish()
    assert [action["proc"] for action in done.actions()] == [1]


def test_thread_of_a_process_attached_to_shows_its_process() -> None:
    thread = ProcessFacts(pid=91, tgid=90, ppid=1, euid=5, exe=b"/bin/server", cwd=b"/srv")
    done = Run(enricher=Enricher(10, FakeReader(ROOT, thread)))
    done.feed(stamped("91 getpid() = 90\n90 getpid() = 90\n90 +++ exited with 0 +++"))
    done.finish()
    found = done.actions()
    assert {action["proc"] for action in found} == {2}
    assert {action["pid"] for action in found} == {90}
    assert found[0]["exe"] == "/bin/server"


def test_pid_that_has_gone_is_a_process_of_its_own() -> None:
    done = Run(enricher=Enricher(10, FakeReader(ROOT)))
    done.feed(stamped('77 execve("/bin/t", ["t"], 0x1) = 0\n77 +++ exited with 0 +++'))
    done.finish()
    execed, ended = done.actions()
    assert (execed["proc"], ended["proc"], execed["unseen"]) == (2, 2, True)
    assert "parent" not in execed


def test_clone_that_returns_late_names_the_parent_all_the_same() -> None:
    done = Run(enricher=Enricher(10, FakeReader(ROOT)))
    done.feed(stamped("10 vfork( <unfinished ...>", start_ns=START - 1000))
    done.feed(stamped('77 mkdir("/x", 0777) = 0', start_ns=START))
    done.feed(stamped("12 getpid() = 12", start_ns=START + SECOND))
    done.feed(stamped("10 <... vfork resumed>) = 77", start_ns=START + SECOND + 1000))
    done.feed(stamped('77 execve("/bin/t", ["t"], 0x1) = 0', start_ns=START + SECOND + 2000))
    done.finish()
    (execed,) = [a for a in done.actions() if a["kind"] == "proc.exec"]
    assert (execed["proc"], execed["parent"], execed["cwd"]) == (2, 1, "/home/a")
    assert "unseen" not in execed


def test_clone_that_returns_after_the_childs_end_names_that_child() -> None:
    """Not a second process: the one that /proc was asked for, and that has ended since."""
    done = Run(enricher=Enricher(10, FakeReader(ROOT)))
    second = START + SECOND
    done.feed(stamped("10 vfork( <unfinished ...>", start_ns=START))
    done.feed(stamped('77 execve("/bin/t", ["t"], 0x1) = 0', start_ns=START + 1000))
    done.feed(stamped("12 getpid() = 12", start_ns=second))  # time goes on
    done.tick(second + 60_000_000)
    done.tick(second := second + 2 * SECOND)
    done.feed(stamped("77 +++ exited with 0 +++\n10 <... vfork resumed>) = 77", start_ns=second))
    done.feed(stamped("10 vfork() = 77\n77 +++ exited with 3 +++", start_ns=second + 9000))
    done.finish()
    ends = [(a["proc"], a["status"]) for a in done.actions() if a["kind"] == "proc.exit"]
    spawned = [a["child"] for a in done.actions() if a["kind"] == "proc.spawn"]
    assert [proc for proc, _ in ends] == spawned
    assert [status for _, status in ends] == [0, 3]
    assert len(set(spawned)) == 2


def test_process_that_has_ended_waits_longer_for_its_parent() -> None:
    """Only its parent's clone can tell of it, since /proc cannot any more."""
    done = Run(enricher=Enricher(10, FakeReader(ROOT)))
    done.feed(stamped("10 vfork( <unfinished ...>", start_ns=START))
    done.feed(stamped('77 execve("/bin/t", ["t"], 0x1) = 0', start_ns=START + 1000))
    done.feed(stamped("77 +++ exited with 0 +++", start_ns=START + 2000))
    done.tick(START + SECOND // 2)
    assert done.enricher.next_tick_ns() == START + SECOND // 2 + SECOND
    done.feed(stamped("10 <... vfork resumed>) = 77", start_ns=START + SECOND))
    done.finish()
    (execed,) = [a for a in done.actions() if a["kind"] == "proc.exec"]
    assert (execed["parent"], execed["cwd"]) == (1, "/home/a")
    assert done.enricher.counters()["unannounced"] == 0


def test_thread_that_a_late_clone_names_joins_its_process() -> None:
    done = Run(enricher=Enricher(10, FakeReader(ROOT)))
    done.feed(stamped("10 clone(flags=CLONE_VM|CLONE_THREAD <unfinished ...>", start_ns=START))
    done.feed(stamped("77 getpid() = 10", start_ns=START + 1000))
    done.feed(stamped("10 <... clone resumed>) = 77", start_ns=START + SECOND))
    done.feed(stamped("77 getuid() = 0\n77 +++ exited with 0 +++", start_ns=START + SECOND + 99))
    done.finish()
    assert done.actions()[-1]["kind"] == "thread.exit"
    assert done.actions()[-1]["proc"] == 1


def test_child_in_a_pid_namespace_is_found_by_the_pid_it_has_there() -> None:
    first = ProcessFacts(pid=77, tgid=77, ppid=11, ns_pid=3)
    second = ProcessFacts(pid=78, tgid=78, ppid=11, ns_pid=2)
    done = Run(enricher=Enricher(10, FakeReader(ROOT, first, second)))
    done.feed(stamped("""
        10 unshare(CLONE_NEWPID) = 0
        10 clone(child_stack=NULL, flags=SIGCHLD) = 11
        77 execve("/bin/a", ["a"], 0x1) = 0
        78 execve("/bin/b", ["b"], 0x1) = 0
        11 clone(child_stack=NULL, flags=SIGCHLD) = 2
        11 clone(child_stack=NULL, flags=SIGCHLD) = 3
        77 +++ exited with 0 +++
        78 +++ exited with 0 +++
    """))  # fmt: skip
    done.finish()
    spawned = {a["ns_pid"]: a["child"] for a in done.actions() if "ns_pid" in a}
    execs = {a["pid"]: a["proc"] for a in done.actions() if a["kind"] == "proc.exec"}
    assert execs == {77: spawned[3], 78: spawned[2]}


def test_interpreter_and_hash_come_from_the_reader() -> None:
    programs = {b"/bin/t": Program(interpreter=b"/bin/sh -e", hash=b"ab12")}
    done = Run(enricher=Enricher(10, FakeReader(ROOT, programs=programs)))
    done.feed('10 execve("/bin/t", ["t"], 0x1) = 0\n')
    (execed,) = done.actions()
    assert (execed["interpreter"], execed["blake3"]) == ("/bin/sh -e", "ab12")


def test_program_below_mounts_of_its_own_is_read_there() -> None:
    programs = {b"/bin/t": Program(hash=b"ours"), b"/proc/10/root/bin/t": Program(hash=b"its")}
    done = Run(enricher=Enricher(10, FakeReader(ROOT, programs=programs)))
    done.feed(stamped("""
        10 execve("/bin/t", ["t"], 0x1) = 0
        10 unshare(CLONE_NEWNS) = 0
        10 execve("/bin/t", ["t"], 0x1) = 0
    """))  # fmt: skip
    done.finish()
    assert [a["blake3"] for a in done.actions() if a["kind"] == "proc.exec"] == ["ours", "its"]


def test_setuid_program_is_asked_who_it_is_now() -> None:
    su = Program(setid=True, setuid_owner=0)
    reader = FakeReader(ROOT, programs={b"/bin/su": su})
    enricher = Enricher(10, reader)
    reader.known[10] = ProcessFacts(pid=10, tgid=10, uid=1000, euid=0)
    done = Run(enricher=enricher)
    done.feed('10 execve("/bin/su", ["su"], 0x1) = 0\n')
    (execed,) = done.actions()
    assert execed["uid"] == 0
    assert "tags" not in execed


def test_setuid_program_that_stays_who_it_was_is_told() -> None:
    """execve(2): the bit is ignored when the process is traced by one without the right."""
    su = Program(setid=True, setuid_owner=0)
    done = Run(enricher=Enricher(10, FakeReader(ROOT, programs={b"/bin/su": su})))
    done.feed('10 execve("/bin/su", ["su"], 0x1) = 0\n')
    (execed,) = done.actions()
    assert (execed["uid"], execed["setuid_ignored"]) == (1000, True)
    assert execed["tags"] == ["blindspot.setuid"]


def test_many_unannounced_pids_do_not_pile_up() -> None:
    done = Run(enricher=Enricher(10, FakeReader(ROOT)))
    done.feed("10 getpid() = 10\n")
    for pid in range(1000, 11000):
        done.feed(f"{pid} getppid() = 1\n")
        assert done.enricher.counters()["held_now"] <= 4096
    done.finish()
    assert done.enricher.counters()["unannounced"] == 10_000
