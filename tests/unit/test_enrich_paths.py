"""What calls act on: paths, and descriptors with and without strace's own decoration."""

from __future__ import annotations

from capsule.literals import absolute
from tests.unit.stages import actions, run, stamped


def targets(trace: str, kind: str) -> list[str | None]:
    return [action.get("target") for action in actions(trace, kind)]


def test_open_is_named_by_the_kernel_and_keeps_the_name_as_given() -> None:
    (opened,) = actions(
        '10 openat(AT_FDCWD</w>, "/etc/alternatives/awk", O_RDONLY) = 3</usr/bin/mawk>\n'
    )
    assert (opened["target"], opened["path"]) == ("/usr/bin/mawk", "/etc/alternatives/awk")
    assert opened["access"] == "read"


def test_failed_open_is_named_by_its_argument() -> None:
    (opened,) = actions('10 openat(AT_FDCWD</w>, "a//./b", O_RDWR) = -1 ENOENT (No such file)\n')
    assert opened["target"] == "/w/a/b"
    assert opened["path"] == "a//./b"
    assert opened["errors"] == {"ENOENT": 1}


def test_dots_go_only_where_no_link_can_lie() -> None:
    assert absolute(b"/a/b", b"../c") == b"/a/c"
    assert absolute(b"/a/b", b"./../../../c") == b"/c"
    assert absolute(b"/a/b", b"link/../c") == b"/a/b/link/../c"
    assert absolute(None, b"/../x/./y//z/") == b"/x/y/z"
    assert absolute(b"/", b"x") == b"/x"
    assert absolute(None, b"x") is None


def test_open_for_writing_reading_and_both_are_three_actions() -> None:
    trace = "".join(
        f'10 openat(AT_FDCWD</w>, "x", {flags}) = 3</w/x>\n'
        for flags in ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_WRONLY|O_CREAT|O_TRUNC, 0666", "O_PATH")
    )
    assert [(a["kind"], a.get("access")) for a in actions(trace)] == [
        ("file.open", "read"),
        ("file.open", "write"),
        ("file.open", "read-write"),
        ("file.create", "write"),
        ("file.open", None),
    ]


def test_relative_name_of_a_call_without_dirfd() -> None:
    trace = stamped("""
        10 chdir("/srv") = 0
        10 mkdir("x", 0777) = 0
        10 chdir("x") = 0
        10 mkdir("../y", 0777) = 0
        10 fchdir(3</opt>) = 0
        10 mkdir("z", 0777) = 0
    """)
    assert targets(trace, "dir.create") == ["/srv/x", "/srv/y", "/opt/z"]


def test_failed_chdir_changes_nothing() -> None:
    trace = stamped("""
        10 chdir("/srv") = 0
        10 chdir("/none") = -1 ENOENT (No such file or directory)
        10 mkdir("x", 0777) = 0
    """)
    assert targets(trace, "dir.create") == ["/srv/x"]


def test_directory_is_learnt_from_a_decorated_at_fdcwd() -> None:
    trace = stamped("""
        10 openat(AT_FDCWD</home/a>, "x", O_RDONLY) = -1 ENOENT (No such file or directory)
        10 rmdir("y") = 0
    """)
    assert targets(trace, "dir.delete") == ["/home/a/y"]


def test_chroot_moves_absolute_names_and_is_told() -> None:
    trace = stamped("""
        10 chdir("/jail") = 0
        10 chroot("/jail") = 0
        10 mkdir("/x", 0777) = 0
        10 mkdir("y", 0777) = 0
        10 execve("/bin/sh", ["sh"], 0x1 /* 2 vars */) = 0
    """)
    found = actions(trace)
    assert [a["target"] for a in found if a["kind"] == "dir.create"] == ["/jail/x", "/jail/y"]
    assert [(a["kind"], a["call"]) for a in found if a["kind"] == "dir.root"] == [
        ("dir.root", "chroot")
    ]
    assert found[-1]["root"] == "/jail"


def test_rename_and_links_say_both_names() -> None:
    trace = stamped("""
        10 rename("/a", "/b") = 0
        10 renameat2(AT_FDCWD</w>, "c", 4</d>, "e", RENAME_NOREPLACE) = 0
        10 linkat(AT_FDCWD</w>, "f", AT_FDCWD</w>, "g", 0) = 0
        10 symlink("../h", "/i") = 0
    """)
    assert [(a["kind"], a["target"], a["to"]) for a in actions(trace)] == [
        ("file.rename", "/a", "/b"),
        ("file.rename", "/w/c", "/d/e"),
        ("file.link", "/w/f", "/w/g"),
        ("file.link", "/i", "../h"),
    ]


def test_empty_path_is_the_descriptor() -> None:
    assert targets('10 newfstatat(3</w/x>, "", {st_size=1}, AT_EMPTY_PATH) = 0\n', "file.stat") == [
        "/w/x"
    ]


def test_descriptor_table_stands_in_without_decoration() -> None:
    trace = stamped("""
        10 execve("/bin/sh", ["sh"], 0x1 /* 2 vars */) = 0
        10 openat(AT_FDCWD, "/srv/a", O_RDONLY) = 3
        10 openat(AT_FDCWD, "/srv/b", O_RDONLY|O_CLOEXEC) = 4
        10 dup2(3, 0) = 0
        10 fcntl(4, F_DUPFD, 10) = 10
        10 read(0, "x", 1) = 1
        10 read(10, "x", 1) = 1
        10 close(3) = 0
        10 read(3, 0x1, 1) = -1 EBADF (Bad file descriptor)
        10 execve("/bin/cat", ["cat"], 0x1 /* 2 vars */) = 0
        10 read(0, "x", 1) = 1
        10 read(4, 0x1, 1) = -1 EBADF (Bad file descriptor)
    """)
    assert targets(trace, "file.read") == ["/srv/a", "/srv/b", "fd:3", "/srv/a", "fd:4"]


def test_fork_copies_the_table_and_clone_files_shares_it() -> None:
    trace = stamped("""
        10 openat(AT_FDCWD, "/srv/a", O_RDONLY) = 3
        10 clone(child_stack=NULL, flags=SIGCHLD) = 11
        10 clone(child_stack=NULL, flags=CLONE_FILES|SIGCHLD) = 12
        12 close(3) = 0
        11 read(3, "x", 1) = 1
        10 read(3, 0x1, 1) = -1 EBADF (Bad file descriptor)
    """)
    assert [(a["pid"], a["target"]) for a in actions(trace, "file.read")] == [
        (11, "/srv/a"),
        (10, "fd:3"),
    ]


def test_pipe_is_ipc_with_and_without_decoration() -> None:
    assert targets('10 write(4<pipe:[99]>, "x", 1) = 1\n', "ipc.write") == ["pipe:[99]"]
    trace = '10 pipe2([3, 4], O_CLOEXEC) = 0\n10 write(4, "x", 1) = 1\n10 read(3, "x", 1) = 1\n'
    written, read = targets(trace, "ipc.write"), targets(trace, "ipc.read")
    assert written == read == ["pipe:#1"]


def test_deleted_file_and_device_decorations() -> None:
    trace = (
        '10 read(3</tmp/x (deleted)>, "", 1) = 0\n'
        '10 read(4</tmp/y>(deleted), "", 1) = 0\n'
        '10 read(0</dev/null<char 1:3>>, "", 1) = 0\n'
        '10 read(5</a\\76b>, "", 1) = 0\n'
    )
    assert targets(trace, "file.read") == ["/tmp/x", "/tmp/y", "/dev/null", "/a>b"]


def test_value_of_a_call_that_seccomp_stopped_is_no_result() -> None:
    done = run("10 read(3</x>, 0x1, 8) = 0\n10 +++ killed by SIGSYS +++\n")
    assert [a.get("bytes") for a in done.actions() if a["kind"] == "file.read"] == [None]
