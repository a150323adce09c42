"""The process tree and the digest that `capsule tree` and `capsule summary` print."""

from __future__ import annotations

from typing import Any

from capsule.commands.summary import lines, plain
from capsule.commands.tree import describe
from capsule.history import digest, tree, walk
from tests.unit.stages import actions, stamped

TRACE = stamped("""
    10 execve("/bin/sh", ["sh", "-c", "x"], 0x1 /* 2 vars */) = 0
    10 clone(child_stack=NULL, flags=SIGCHLD) = 11
    11 execve("/usr/bin/cat", ["cat", "/etc/shadow"], 0x1 /* 2 vars */) = 0
    11 openat(AT_FDCWD</w>, "/etc/shadow", O_RDONLY) = 3</etc/shadow>
    11 +++ exited with 1 +++
    10 clone(child_stack=NULL, flags=SIGCHLD) = 12
    12 openat(AT_FDCWD</w>, "out", O_WRONLY|O_CREAT, 0666) = 1</w/out>
    12 openat(AT_FDCWD</w>, "/opt/log", O_WRONLY|O_CREAT, 0666) = 1</opt/log>
    12 write(1</w/out>, "x", 1) = 1
    12 +++ killed by SIGKILL +++
    10 execve("/bin/true", ["true"], 0x1 /* 2 vars */) = 0
    10 unlink("/w/none") = -1 ENOENT (No such file or directory)
    10 +++ exited with 0 +++
""")


def records(trace: str = TRACE) -> list[dict[str, Any]]:
    start = {"type": "start", "argv": ["sh", "-c", "x"], "cwd": "/w"}
    body = [{"type": "action", **action} for action in actions(trace)]
    return [start, *body, {"type": "end", "complete": True}]


def test_tree_reads_as_what_happened() -> None:
    shown = [(len(path), describe(node)) for path, node in walk(tree(records()))]
    assert shown == [
        (0, "10 sh -c x  0.000 s  exec"),
        (1, "11 cat /etc/shadow  0.000 s  exit 1  [read.credentials]"),
        (1, "12 (sh -c x)  0.000 s  SIGKILL  [proc.killed]"),
        (1, "10 true  0.000 s  exit 0"),
    ]


def test_child_that_had_ended_before_its_parent_was_known() -> None:
    base = {"type": "action", "count": 1}
    found = [
        {**base, "kind": "proc.exec", "target": "/bin/sh", "proc": 1, "pid": 10, "argv": ["sh"]},
        {**base, "kind": "proc.exec", "target": "/bin/true", "proc": 2, "pid": 11, "argv": ["t"]},
        {**base, "kind": "proc.exit", "proc": 2, "pid": 11, "status": 0},
        {**base, "kind": "proc.spawn", "proc": 1, "pid": 10, "child": 2, "child_pid": 11},
    ]
    shown = [(len(path), describe(node)) for path, node in walk(tree(found))]
    assert shown == [(0, "10 sh  still running"), (1, "11 t  exit 0")]


def test_process_that_lives_on_is_said_to() -> None:
    trace = '10 execve("/bin/sh", ["sh"], 0x1) = 0\n'
    (root,) = tree(records(trace))
    assert describe(root) == "10 sh  still running"


def test_control_characters_in_words_are_harmless() -> None:
    trace = '10 execve("/bin/sh", ["sh", "\\33[2J"], 0x1) = 0\n'
    (root,) = tree(records(trace))
    assert "\x1b" not in describe(root)


def test_digest_tells_inside_from_outside() -> None:
    found = plain(digest(records()))
    assert found["written_inside"] == ["/w/out"]
    assert found["written_outside"] == ["/opt/log"]
    assert found["read_outside"] == ["/etc/shadow"]
    assert found["programs"] == {"/bin/sh": 1, "/usr/bin/cat": 1, "/bin/true": 1}
    assert found["errors"] == {"ENOENT": 1}
    assert found["ends"] == {"/usr/bin/cat: exit 1": 1, "/bin/sh: SIGKILL": 1}
    assert found["tags"]["read.credentials"] == {"file.open /etc/shadow": 1}
    assert (found["processes"], found["complete"]) == (3, True)


def test_summary_leaves_out_and_says_so() -> None:
    shown = lines(digest(records()), 1)
    assert shown[0] == "sh -c x"
    assert "  … 2 more (--full shows them)" in shown
    assert not any("more" in line for line in lines(digest(records()), None))


def test_log_without_seal_is_called_incomplete() -> None:
    assert any("INCOMPLETE" in line for line in lines(digest(records()[:-1]), None))
