"""Policies → Landlock rules: what is granted where, what is wider, what is not opened at all."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule import generalise
from capsule.enforce.landlock import Fs, Kind, Net, Plan, Scope, handled, plan
from capsule.policy import Policy, Rule

HOME = "/home/ann"
LIST, READ = Fs.READ_DIR, Fs.READ_FILE
WRITE = Fs.WRITE_FILE | Fs.TRUNCATE
REMOVE = Fs.REMOVE_FILE | Fs.REMOVE_DIR


class Files:
    """A tree of given files; what is above them is a directory."""

    def __init__(self, files: Iterable[str], devices: Iterable[str] = ()) -> None:
        self.kinds: dict[str, Kind] = dict.fromkeys(files, "file")
        self.kinds.update(dict.fromkeys(devices, "device"))
        for name in list(self.kinds):
            path = name
            while path != "/":
                path = path.rpartition("/")[0] or "/"
                self.kinds[path] = "dir"

    def kind(self, path: str) -> Kind | None:
        return self.kinds.get(path)

    def is_shared(self, path: str) -> bool:
        return path in ("/tmp", "/var/tmp")

    def matching(self, pattern: str) -> Iterable[str]:
        return [path for path in self.kinds if generalise.matches(pattern, path)]


TREE = Files(
    ["/etc/a", "/etc/b", "/usr/bin/x", "/tmp/old", "/srv/app/in", "/srv/app/run-1/log",
     f"{HOME}/.rc", f"{HOME}/.ssh/id", "/proc/self/maps", "/var/log/x"],
    ["/dev/null", "/dev/tty"],
)  # fmt: skip
CALLS = ("openat", "mkdir", "ioctl")


def planned(*rules: str, calls: Iterable[str] = CALLS, wide: Iterable[str] = ()) -> Plan:
    """The plan of rules written as `kind what`; those with `*` are patterns."""
    keys = [tuple(rule.split(" ", 1)) for rule in rules] + [("call", name) for name in calls]
    held = Policy({key: Rule(*key, pattern="*" in key[1]) for key in keys})
    return plan(held, HOME, TREE, set(wide))


def test_what_is_there_is_granted_by_itself() -> None:
    got = planned("read /etc/a", "write /tmp/old", "exec /usr/bin/x", "read /srv/app")
    assert got.paths == {
        "/etc/a": READ, "/tmp/old": WRITE, "/usr/bin/x": READ | Fs.EXECUTE, "/srv/app": LIST,
    }  # fmt: skip
    assert not got.wide and not got.refused


def test_a_pattern_is_granted_as_far_as_it_is_there() -> None:
    assert planned("read /srv/app/run-*/log").paths == {"/srv/app/run-1/log": READ}
    assert planned("read /srv/app/job-*/log").absent == 1


def test_a_name_that_comes_is_granted_with_its_directory() -> None:
    got = planned("create /srv/app/out", "write /srv/app/out", "delete /srv/app/out")
    rights = got.paths["/srv/app"]
    assert rights & WRITE == WRITE and rights & REMOVE and rights & Fs.MAKE_REG
    assert not rights & (READ | Fs.EXECUTE | Fs.MAKE_CHAR | Fs.MAKE_SYM)
    assert got.wide == {"/srv/app": "/srv/app/out"} and list(got.paths) == ["/srv/app"]


def test_below_a_directory_that_comes_all_is_granted_above_it() -> None:
    got = planned("create /srv/app/new", "create /srv/app/new/a/b", "read /srv/app/new/a/b")
    assert list(got.paths) == ["/srv/app"] and got.paths["/srv/app"] & READ


def test_opening_what_stays_with_o_creat_opens_no_directory() -> None:
    got = planned("create /tmp/old", "write /tmp/old", "create /dev/null", "write /dev/null")
    assert got.paths == {"/tmp/old": WRITE, "/dev/null": WRITE | Fs.IOCTL_DEV} and not got.wide


@pytest.mark.parametrize("more", [["delete /tmp/old"], []])
def test_what_may_be_replaced_is_granted_with_its_directory(more: list[str]) -> None:
    calls = CALLS if more else (*CALLS, "rename")
    got = planned("create /tmp/old", "write /tmp/old", *more, calls=calls)
    assert got.paths["/tmp"] & WRITE == WRITE
    assert bool(got.paths["/tmp"] & Fs.REFER) == (not more)


@pytest.mark.parametrize("directory", [HOME, f"{HOME}/.ssh", "/etc", "/", "/home/bob", "/root"])
def test_no_directory_that_holds_secrets_is_opened(directory: str) -> None:
    name = f"{directory.rstrip('/')}/new"
    tree = Files([*(path for path, kind in TREE.kinds.items() if kind == "file"),
                  "/home/bob/x", "/root/x"])  # fmt: skip
    rules = {("create", name): Rule("create", name), ("call", "openat"): Rule("call", "openat")}
    assert plan(Policy(rules), HOME, tree).refused == {directory: name}
    opened = plan(Policy(rules), HOME, tree, {directory})
    assert not opened.refused and opened.paths[directory] & Fs.MAKE_REG


def test_a_file_that_is_there_is_written_in_a_closed_directory() -> None:
    rules = (f"create {HOME}/.rc", f"write {HOME}/.rc")
    got = planned(*rules, calls=(*CALLS, "rename"))
    assert got.paths == {f"{HOME}/.rc": WRITE} and not got.refused


@pytest.mark.parametrize("path", [f"{HOME}/.rc", f"{HOME}/.ssh", "/etc", HOME])
def test_removing_in_a_closed_directory_opens_neither_it_nor_what_is_below(path: str) -> None:
    got = planned(f"delete {path}")
    assert not got.paths and list(got.refused.values()) == [path]


def test_processes_are_read_by_any_number_and_written_as_oneself() -> None:
    got = planned("read /proc/self/maps", "write /proc/self/comm", "create /proc/self/comm")
    assert got.paths == {"/proc": READ | LIST}
    assert got.own & WRITE and got.wide == {"/proc": "/proc/self"}


def test_ports_are_those_of_the_addresses() -> None:
    got = planned("connect 127.0.0.1:80", "connect [::1]:443", "bind 0.0.0.0:80", "connect x")
    assert got.ports == {80: Net.CONNECT_TCP | Net.BIND_TCP, 443: Net.CONNECT_TCP}
    assert got.scoped == Scope.SIGNAL | Scope.ABSTRACT_UNIX_SOCKET
    assert planned("connect unix:@bus").scoped == Scope.SIGNAL
    assert planned("bind unix:@bus").scoped == Scope.SIGNAL | Scope.ABSTRACT_UNIX_SOCKET
    made = planned("bind unix:/srv/app/s", calls=("bind",))
    assert made.paths == {"/srv/app": Fs.MAKE_SOCK}


@pytest.mark.parametrize(
    ("abi", "last"), [(1, 1 << 12), (2, 1 << 13), (3, 1 << 14), (4, 1 << 14), (5, 1 << 15)]
)
def test_an_old_kernel_is_asked_for_what_it_has(abi: int, last: int) -> None:
    fs, net, scope = handled(abi)
    assert fs == (last << 1) - 1 and bool(net) == (abi >= 4) and not scope
    assert handled(6)[2]


paths = st.sampled_from(sorted(TREE.kinds)) | st.sampled_from(
    ["/etc/new", "/tmp/new", "/tmp/new/er", f"{HOME}/new", "/srv/app/run-*/log", "/srv/app/n/m"]
)
kinds = st.sampled_from(["read", "write", "exec", "create", "delete", "change"])


@given(st.lists(st.tuples(kinds, paths), max_size=12), st.booleans())
def test_no_plan_opens_a_guarded_directory_or_more_than_was_asked(
    rules: list[tuple[str, str]], renames: bool
) -> None:
    calls = (*CALLS, "rename") if renames else CALLS
    got = planned(*[f"{kind} {what}" for kind, what in rules], calls=calls)
    asked = {kind for kind, _ in rules}
    for path, rights in got.paths.items():
        if path in (HOME, "/", "/etc", f"{HOME}/.ssh", "/usr", "/home"):
            assert rights <= LIST, "a guarded directory is listed at most"
        assert "exec" in asked or not rights & Fs.EXECUTE
        assert "write" in asked or not rights & WRITE
        assert "delete" in asked or not rights & REMOVE
        if TREE.kind(path) != "dir":
            assert not rights & ~(READ | WRITE | Fs.EXECUTE | Fs.IOCTL_DEV)
