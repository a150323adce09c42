"""Profiles of AppArmor, read back by the lines that apparmor.d(5) has for them."""

from __future__ import annotations

import fnmatch
import re

from hypothesis import given
from hypothesis import strategies as st

from capsule.behaviour import PATHS
from capsule.dialects import apparmor
from capsule.policy import Policy, Rule
from capsule.text import escape
from tests.unit.test_dialects import ASKED, SAMPLE, policy

_FILE = re.compile(r'  "(/[A-Za-z0-9/._ +:=~%?*\[\]-]*)" (r?w?m?(?:ix)?),')
_OTHER = re.compile(
    r"  (?:network [a-z0-9]+ [a-z]+|unix type=[a-z]+|signal \([a-z, ]+\) peer=[a-z-]+"
    r"|ptrace \([a-z, ]+\) peer=[a-z-]+|capability [a-z_]+|mount|umount|pivot_root),"
)

names = st.binary(min_size=1, max_size=8).filter(
    lambda one: not set(one) & {0, ord("/")} and one not in (b".", b"..")
)
hostile = st.lists(names, min_size=1, max_size=3).map(lambda parts: b"/" + b"/".join(parts))


def files(text: str) -> dict[str, str]:
    """Path → rights; every line of the profile is one that is known."""
    found = {}
    inside = False
    for line in text.splitlines():
        if not inside:
            assert line.startswith(("#", "abi ", "profile capsule-prog {")) or not line
            inside = line.startswith("profile ")
        elif line != "}":
            file = _FILE.fullmatch(line)
            assert file or _OTHER.fullmatch(line), line
            if file:
                found[file[1]] = file[2]
    return found


@given(st.dictionaries(hostile, st.sampled_from(sorted(PATHS)), min_size=1))
def test_no_name_breaks_out_and_all_are_allowed(found: dict[bytes, str]) -> None:
    rules = {(kind, escape(path)): Rule(kind, escape(path)) for path, kind in found.items()}
    made = apparmor.render(Policy(rules), ASKED)
    read = files(made.text)
    for path, kind in found.items():
        name = re.sub(r"^/proc/(self|thread-self)(?=/|$)", "/proc/1", path.decode("latin-1"))
        assert any(
            apparmor.RIGHTS[kind] in rights and fnmatch.fnmatchcase(name, one)
            for one, rights in read.items()
        ), (path, kind)


def test_what_a_sample_is_allowed() -> None:
    made = apparmor.render(SAMPLE, ASKED)
    assert files(made.text) == {
        "/dev/null": "w", "/dev/null/": "w", "/etc/passwd": "r", "/etc/passwd/": "r",
        "/home/me/.config/prog": "r", "/home/me/.config/prog/": "r",
        "/home/me/.prog_history": "w", "/home/me/.prog_history/": "w",
        "/proc/[0-9]*/maps": "r", "/proc/[0-9]*/maps/": "r", "/run/nscd/socket": "rw",
        "/srv/data/kept": "w", "/srv/data/kept/": "w", "/srv/data/new*": "w",
        "/srv/data/new*/": "w", "/usr/bin/prog": "rmix",
        "/usr/lib/x86_64-linux-gnu/libc.so.6": "rm", "/usr/lib/x86_64-linux-gnu/libc.so.6/": "r",
    }  # fmt: skip
    assert "  network inet stream,\n" in made.text
    assert any("/proc/self/maps of every process" in note for note in made.notes)


def test_a_star_of_a_name_is_no_pattern() -> None:
    text = apparmor.render(Policy({("read", "/a*"): Rule("read", "/a*")}), ASKED).text
    assert '"/a?" r,' in text and "*" not in text.partition("profile ")[2]


def test_sockets_that_the_language_does_not_know_are_told() -> None:
    made = apparmor.render(policy("socket AF_UNIX SOCK_DGRAM", "socket 77 SOCK_RAW"), ASKED)
    assert "  unix type=dgram,\n" in made.text and "77" not in made.text.partition("profile ")[2]
    assert "denies sockets of 77 SOCK_RAW" in made.notes
