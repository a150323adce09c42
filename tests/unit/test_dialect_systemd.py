"""The drop-in for systemd: what it says, read back as systemd reads it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule.behaviour import PATHS
from capsule.dialects import capabilities, places, systemd
from capsule.policy import Policy, Rule
from capsule.text import escape
from tests.unit.test_dialects import ASKED, SAMPLE, policy

names = st.binary(min_size=1, max_size=8).filter(
    lambda one: not set(one) & {0, ord("/")} and one not in (b".", b"..")
)
hostile = st.lists(names, min_size=1, max_size=3).map(lambda parts: b"/srv/" + b"/".join(parts))


def settings(text: str) -> dict[str, list[str]]:
    """Setting → its values, as systemd reads a file: lines end with \\n, \\r or NUL."""
    found: dict[str, list[str]] = {}
    section = ""
    for whole in re.split("[\n\r\0]", text):
        line = whole.strip(" \t")
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            section = line
            continue
        assert section == "[Service]" and not line.endswith("\\")
        name, equals, value = line.partition("=")
        assert equals and re.fullmatch("[A-Z][A-Za-z]+", name), line
        found.setdefault(name, []).append(value)
    return found


def words(value: str) -> list[str]:
    """The words of a list of paths: quotes go, a backslash keeps the next, %% is %."""
    found, word, quote, at = [], None, "", 0
    while at < len(value):
        one = value[at]
        if one == "\\":
            at += 1
            word = (word or "") + value[at]
        elif quote:
            word, quote = (word, "") if one == quote else ((word or "") + one, quote)
        elif one in "\"'" and word is None:
            word, quote = "", one
        elif one in " \t":
            found, word = [*found, *([] if word is None else [word])], None
        else:
            word = (word or "") + one
        at += 1
    assert not quote
    whole = [*found, *([] if word is None else [word])]
    assert not any(re.search("(?<!%)(%%)*%(?!%)", one) for one in whole)
    return [one.replace("%%", "%") for one in whole]


@given(st.dictionaries(hostile, st.sampled_from(sorted(PATHS)), min_size=1))
def test_no_name_breaks_out_and_all_are_read_back(found: dict[bytes, str]) -> None:
    rules = {(kind, escape(path)): Rule(kind, escape(path)) for path, kind in found.items()}
    rules["call", "execve"] = Rule("call", "execve")
    made = Policy(rules)
    read = settings(systemd.render(made, ASKED).text)
    where = places.of(made, ASKED.home, ("/dev", "/proc", "/sys"))
    for setting, meant in (
        ("ReadWritePaths", (*where.directories, *where.files)),
        ("ExecPaths", (*where.programs, *where.libraries)),
    ):
        values = [words(one) for one in read.get(setting, []) if one]
        assert all(len(one) == 1 for one in values)
        sayable = [systemd.path_of(one) for one in meant if systemd.sayable(one)]
        assert [one[0].removeprefix("-") for one in values] == sayable


def test_what_cannot_be_written_is_told() -> None:
    for name in (r"/srv/d/\xff", "/srv/d/a\nUser=root", "/srv/d/a\rb"):
        made = systemd.render(policy("call execve", f"write {name}"), ASKED)
        assert any("no way to write such a name" in one for one in made.notes)
        assert "User" not in settings(made.text) and "-/srv/d" not in made.text


def test_a_program_of_a_run_does_not_break_out_of_the_head() -> None:
    made = Policy({("call", "execve"): Rule("call", "execve")}, [{"argv": ["x\nUser=root"]}])
    assert "User" not in settings(systemd.render(made, ASKED).text)


def test_it_says_what_the_policy_says() -> None:
    read = settings(systemd.render(SAMPLE, ASKED).text)
    first, *rest = [one for one in read["SystemCallFilter"] if one]
    assert read["SystemCallFilter"][0] == "" and "mprotect" in first.split()
    assert "getsid" in rest[0] and "clone3:ENOSYS" in rest[1]
    assert not any("ptrace" in one for one in read["SystemCallFilter"])
    assert read["RestrictAddressFamilies"] == ["", "AF_INET"]
    assert read["IPAddressAllow"] == ["", "localhost"] and read["IPAddressDeny"] == ["any"]
    assert read["SocketBindAllow"] == ["", "ipv4:8080"] and read["SocketBindDeny"] == ["any"]
    assert read["ReadWritePaths"] == ["", "/srv/data", "-/home/me/.prog_history"]
    assert "ProtectHome" not in read and "PrivateTmp" not in read
    assert read["PrivateDevices"] == read["RestrictNamespaces"] == ["yes"]


def test_homes_and_system_directories_are_never_opened() -> None:
    made = policy("call execve", "create /home/me/x", "delete /etc/y", "create /var/lib/z",
                  "create /home/other/.ssh/k")  # fmt: skip
    rendered = systemd.render(made, ASKED)
    opened = settings(rendered.text)["ReadWritePaths"]
    assert all(one.startswith("-") for one in opened if one)
    assert any("denies making and removing" in one for one in rendered.notes)


@pytest.mark.parametrize(
    ("fact", "setting"),
    [
        ("memory mprotect PROT_EXEC", "MemoryDenyWriteExecute"),
        ("memory mmap PROT_WRITE|PROT_EXEC", "MemoryDenyWriteExecute"),
        ("argument clone CLONE_NEWUSER", "RestrictNamespaces"),
        ("call setns", "RestrictNamespaces"),
        ("argument personality ADDR_NO_RANDOMIZE", "LockPersonality"),
        ("call sched_setscheduler", "RestrictRealtime"),
        ("call fchmod", "RestrictSUIDSGID"),
        ("read /dev/sda", "PrivateDevices"),
        ("read /dev/rtc0", "ProtectClock"),
        ("call clock_settime", "ProtectClock"),
        ("write /sys/fs/cgroup/x/cgroup.procs", "ProtectControlGroups"),
        ("call sethostname", "ProtectHostname"),
        ("call syslog", "ProtectKernelLogs"),
        ("call finit_module", "ProtectKernelModules"),
        ("write /proc/sys/kernel/x", "ProtectKernelTunables"),
        ("read /proc/1/stat", "ProtectProc"),
        ("read /proc/meminfo", "ProcSubset"),
        ("read /home/me/x", "ProtectHome"),
        ("socket AF_INET SOCK_STREAM", "PrivateNetwork"),
        ("connect unix:@x", "PrivateNetwork"),
        ("connect example.org:80", "IPAddressDeny"),
    ],
)
def test_a_setting_is_not_there_when_something_needs_what_it_takes(fact: str, setting: str) -> None:
    base = ["call execve"]
    if setting == "IPAddressDeny":
        base.append("socket AF_INET SOCK_STREAM")
    without, within = (settings(systemd.render(policy(*facts), ASKED).text)
                       for facts in (base, [*base, fact]))  # fmt: skip
    assert setting in without
    assert within.get(setting) in (None, ["read-only"])


def test_temporary_files_get_a_directory_of_their_own() -> None:
    facts = ["call execve", "create /tmp/x*", "write /tmp/x*", "delete /tmp/x*"]
    read = settings(systemd.render(policy(*facts), ASKED).text)
    assert read["PrivateTmp"] == ["yes"] and read["ReadWritePaths"] == [""]
    read = settings(systemd.render(policy(*facts, "create /tmp/left"), ASKED).text)
    assert "PrivateTmp" not in read and read["ReadWritePaths"] == ["", "/tmp"]


def test_a_low_port_takes_its_capability() -> None:
    assert "CAP_NET_BIND_SERVICE" in capabilities.unused(policy("call bind", "bind 0.0.0.0:8080"))
    assert "CAP_NET_BIND_SERVICE" in capabilities.used(policy("call bind", "bind 0.0.0.0:80"))
