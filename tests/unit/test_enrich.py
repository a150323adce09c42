"""Who did it: processes told apart by the trace alone."""

from __future__ import annotations

from tests.unit.stages import actions, run, stamped

FORK = "clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f) = "
THREAD = "CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD"


def test_child_whose_first_line_comes_before_the_clone_returns() -> None:
    trace = stamped(f"""
        10 execve("/bin/sh", ["sh"], 0x1 /* 2 vars */) = 0
        10 chdir("/srv") = 0
        10 {FORK.removesuffix(" = ")} <unfinished ...>
        11 execve("/bin/true", ["true"], 0x1 /* 2 vars */) = 0
        11 exit_group(0) = ?
        11 +++ exited with 0 +++
        10 <... clone resumed>) = 11
        10 +++ exited with 0 +++
    """)
    spawn, execed = actions(trace, "proc.spawn", "proc.exec")[1:]
    assert (spawn["child"], spawn["child_pid"]) == (2, 11)
    assert execed["proc"] == 2
    assert (execed["parent"], execed["ppid"], execed["cwd"]) == (1, 10, "/srv")


def test_vfork_child_that_ends_before_its_parent_goes_on() -> None:
    trace = stamped("""
        10 execve("/bin/sh", ["sh"], 0x1 /* 2 vars */) = 0
        10 vfork( <unfinished ...>
        11 execve("/bin/true", ["true"], 0x1 /* 2 vars */ <unfinished ...>
        10 <... vfork resumed>) = 11
        11 <... execve resumed>) = 0
        11 +++ exited with 7 +++
        10 +++ exited with 0 +++
    """)
    first, second = actions(trace, "proc.exit")
    assert (first["proc"], first["exe"], first["status"]) == (2, "/bin/true", 7)
    assert (second["proc"], second["exe"]) == (1, "/bin/sh")


def test_thread_belongs_to_its_process() -> None:
    trace = stamped(f"""
        10 execve("/bin/app", ["app"], 0x1 /* 2 vars */) = 0
        10 clone3({{flags={THREAD}, exit_signal=0}} => {{parent_tid=[11]}}, 88) = 11
        11 chdir("/var") = 0
        10 openat(AT_FDCWD, "x", O_RDONLY) = 3
        11 exit(0) = ?
        11 +++ exited with 0 +++
        10 +++ exited with 0 +++
    """)
    found = actions(trace)
    assert {action["proc"] for action in found} == {1}
    assert [action["target"] for action in found if action["kind"] == "file.open"] == ["/var/x"]
    kinds = [action["kind"] for action in found]
    assert (kinds.count("thread.spawn"), kinds.count("thread.exit")) == (1, 1)
    assert kinds.count("proc.exit") == 1


def test_fork_copies_the_directory_and_clone_fs_shares_it() -> None:
    trace = stamped(f"""
        10 execve("/bin/sh", ["sh"], 0x1 /* 2 vars */) = 0
        10 chdir("/a") = 0
        10 {FORK}11
        11 chdir("/b") = 0
        10 mkdir("x", 0777) = 0
        10 clone(child_stack=NULL, flags=CLONE_FS|SIGCHLD) = 12
        12 chdir("/c") = 0
        10 mkdir("y", 0777) = 0
    """)
    made = actions(trace, "dir.create")
    assert [action["target"] for action in made] == ["/a/x", "/c/y"]


def test_exec_by_a_thread_leaves_one_thread_the_leader() -> None:
    trace = stamped(f"""
        10 execve("/bin/app", ["app"], 0x1 /* 2 vars */) = 0
        10 clone(child_stack=0x7f, flags={THREAD}) = 11
        10 futex(0x1, FUTEX_WAIT, 1, NULL <unfinished ...>
        11 execve("/bin/true", ["true"], 0x1 /* 2 vars */ <unfinished ...>
        10 <... futex resumed>) = ?
        10 +++ superseded by execve in pid 11 +++
        10 <... execve resumed>) = 0
        10 getpid() = 10
        10 exit_group(0) = ?
        10 +++ exited with 0 +++
    """)
    done = run(trace)
    assert {action["proc"] for action in done.actions()} == {1}
    assert done.actions()[-1]["exe"] == "/bin/true"
    assert done.enricher.alive() == []


def test_pid_that_lives_twice_is_two_processes() -> None:
    trace = stamped(f"""
        10 execve("/bin/sh", ["sh"], 0x1 /* 2 vars */) = 0
        10 {FORK}11
        11 +++ exited with 1 +++
        10 {FORK.removesuffix(" = ")} <unfinished ...>
        11 getpid() = 11
        10 <... clone resumed>) = 11
        11 +++ exited with 2 +++
        10 +++ exited with 0 +++
    """)
    ends = actions(trace, "proc.exit")
    assert [(end["proc"], end["pid"], end["status"]) for end in ends] == [
        (2, 11, 1),
        (3, 11, 2),
        (1, 10, 0),
    ]


def test_clone_parent_gives_the_caller_a_sibling() -> None:
    trace = stamped(f"""
        10 execve("/bin/sh", ["sh"], 0x1 /* 2 vars */) = 0
        10 {FORK}11
        11 clone(child_stack=NULL, flags=CLONE_PARENT|SIGCHLD) = 12
        12 execve("/bin/true", ["true"], 0x1 /* 2 vars */) = 0
    """)
    assert actions(trace, "proc.exec")[-1]["parent"] == 1


def test_pid_namespace_where_clone_returns_another_number() -> None:
    trace = stamped(f"""
        10 execve("/usr/bin/unshare", ["unshare"], 0x1 /* 2 vars */) = 0
        10 unshare(CLONE_NEWPID) = 0
        10 {FORK}11
        11 execve("/bin/sh", ["sh"], 0x1 /* 2 vars */) = 0
        11 vfork( <unfinished ...>
        12 execve("/bin/true", ["true"], 0x1 /* 2 vars */ <unfinished ...>
        11 <... vfork resumed>) = 2
        12 <... execve resumed>) = 0
        12 +++ exited with 0 +++
        11 +++ exited with 0 +++
        10 +++ exited with 0 +++
    """)
    done = run(trace)
    execs = [action for action in done.actions() if action["kind"] == "proc.exec"]
    assert [(one["pid"], one["proc"], one.get("parent")) for one in execs] == [
        (10, 1, None),
        (11, 2, 1),
        (12, 3, 2),
    ]


def test_root_that_strace_does_not_number_until_there_are_two() -> None:
    trace = (
        'execve("/bin/sh", ["sh"], 0x1 /* 2 vars */) = 0\n'
        f"{FORK}11\n"
        "[pid    11] +++ exited with 0 +++\n"
        "[pid    10] getpid() = 10\n"
        "[pid    10] +++ exited with 0 +++\n"
    )
    assert {action["proc"] for action in actions(trace)} == {1, 2}


def test_note_that_names_a_process_is_of_that_process() -> None:
    trace = "10 getpid() = 10\n[ Process PID=10 runs in 32 bit mode. ]\n"
    assert [(a["kind"], a["proc"]) for a in actions(trace)] == [("proc.info", 1), ("sys.note", 1)]


def test_end_of_the_root_and_who_is_still_alive() -> None:
    done = run(
        stamped(f"""
        10 execve("/bin/sh", ["sh"], 0x1 /* 2 vars */) = 0
        10 {FORK}11
        10 +++ killed by SIGSEGV (core dumped) +++
    """)
    )
    root_exit = done.aggregator.summary()["root_exit"]
    assert (root_exit["signal"], root_exit["core"]) == ("SIGSEGV", True)
    assert done.enricher.alive() == [11]
    assert done.aggregator.summary()["alive"] == [11]


def test_exec_that_never_worked_says_why() -> None:
    done = run('10 execve("/bin/app", ["app"], 0x1) = -1 ENOEXEC (Exec format error)\n')
    assert done.aggregator.summary()["root_exec_errno"] == "ENOEXEC"
    assert done.aggregator.summary()["root_exit"] is None
