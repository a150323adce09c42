"""The landlockconfig dialect, read back by a reader of its own (tests/programs/landlocked.py)."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from capsule.dialects import landlockconfig
from capsule.dialects.rendering import Asked
from capsule.policy import Policy, Rule
from capsule.text import escape
from tests.programs.landlocked import FS, NET, SCOPE, bits, read
from tests.unit.test_landlock_plan import Files

READ, WRITE, EXEC = ["read_file"], ["write_file", "truncate"], ["execute", "read_file"]
RIGHTS = {"read": READ, "write": WRITE, "exec": EXEC}

CALLS = ("call openat", "call ioctl", "call socket", "call kill")


def said(*facts: str, tree: Files | None = None) -> tuple[dict[str, Any], list[str]]:
    """What the dialect says of rules `kind what`, and its notes."""
    keys = [tuple(fact.split(" ", 1)) for fact in (*CALLS, *facts)]
    held = Policy({(kind, what): Rule(kind, what, pattern="*" in what) for kind, what in keys})
    files = [what for kind, what in keys if kind in RIGHTS and "*" not in what]
    asked = Asked("prog", "/home/ann", tree=tree or Files(files, ["/dev/null"]))
    rendered = landlockconfig.render(held, asked)
    return read(rendered.text), rendered.notes


def names(rights: int, known: list[str]) -> set[str]:
    return {name for name in known if rights & bits([name], known)}


word = st.binary(min_size=1, max_size=6).filter(
    lambda one: not {0, ord("/"), ord("*")} & set(one) and one not in (b".", b"..")
)
tricky = st.sampled_from([b"${home}", b"$", b"$$", b"$${x}", b"new\nline", b"a\\b", b'"', b"\xe9"])
paths = st.lists(word | tricky, min_size=1, max_size=3).map(
    lambda parts: b"/srv/" + b"/".join(parts)
)


@given(st.dictionaries(paths, st.sets(st.sampled_from(sorted(RIGHTS)), min_size=1), max_size=5))
def test_each_file_has_the_rights_of_its_rules_and_no_more(files: dict[bytes, set[str]]) -> None:
    files = {  # a name cannot be both a file's and a directory's
        path: kinds for path, kinds in files.items()
        if not any(other.startswith(path + b"/") for other in files)
    }  # fmt: skip
    found, notes = said(*(f"{kind} {escape(path)}" for path, kinds in files.items()
                          for kind in sorted(kinds)))  # fmt: skip
    expected, unsaid = {}, []
    for path, kinds in files.items():
        try:
            name = path.decode()
        except UnicodeDecodeError:
            unsaid.append(escape(path))
            continue
        expected[name] = {right for kind in kinds for right in RIGHTS[kind]}
    assert {path: names(rights, FS) for path, rights in found["paths"].items()} == expected
    told = [note for note in notes if "not UTF-8" in note]
    assert len(told) == bool(unsaid)
    assert not 0 < len(unsaid) <= 6 or all(path in told[0] for path in unsaid)


def test_all_that_landlock_knows_is_held() -> None:
    found, _ = said("read /etc/a")
    assert [names(one, known) for one, known in zip(found["handled"], (FS, NET, SCOPE), strict=True)
            ] == [set(FS), set(NET), set(SCOPE)]  # fmt: skip
    assert found["ports"] == {}


def test_ports_and_hosts() -> None:
    found, notes = said("connect 127.0.0.1:80", "connect [::1]:443", "bind 127.0.0.1:80")
    assert {port: names(rights, NET) for port, rights in found["ports"].items()} == {
        80: {"bind_tcp", "connect_tcp"}, 443: {"connect_tcp"},
    }  # fmt: skip
    assert "allows TCP ports 80, 443 at any address" in notes


def test_any_port_and_abstract_sockets_are_not_held_and_told() -> None:
    found, notes = said("bind 0.0.0.0:*", "bind 127.0.0.1:80", "connect unix:@/tmp/.X11-unix/X0")
    assert names(found["handled"][1], NET) == {"connect_tcp"} and not found["ports"]
    assert names(found["handled"][2], SCOPE) == {"signal"}
    assert "allows bind_tcp for every port" in notes
    assert "allows to connect to abstract sockets of all programs" in notes


def test_what_is_wider_and_what_is_narrower_is_told() -> None:
    tree = Files(["/tmp/old", "/etc/a", "/home/ann/.rc"])
    found, notes = said("create /tmp/run.*", "write /tmp/run.*", "create /home/ann/new",
                        "read /nowhere/at/all", "read /proc/self/maps", tree=tree)  # fmt: skip
    assert names(found["paths"]["/tmp"], FS) == {"make_reg", "write_file", "truncate"}
    assert "/home/ann" not in found["paths"]
    for told in ("allows in all of /tmp what /tmp/run.* needs",
                 "allows in all of /proc what /proc/self needs",
                 "denies making or removing /home/ann/new: that takes all of /home/ann",
                 "denies 1 paths that are not there"):  # fmt: skip
        assert any(note.startswith(told) for note in notes), notes


def test_what_the_target_writes_of_its_own_in_proc() -> None:
    found, _ = said("write /proc/self/oom_score_adj")
    assert names(found["paths"]["/proc/self"], FS) == {"write_file", "truncate", "read_file"}


def test_a_dollar_is_no_variable() -> None:
    held = Policy({("read", p): Rule("read", p) for p in ("/srv/${home}", "/srv/$a$$")})
    asked = Asked("prog", "/home/ann", tree=Files([what for _, what in held.rules]))
    rules = json.loads(landlockconfig.render(held, asked).text)["pathBeneath"]
    assert rules[0]["parent"] == ["/srv/$$a$$$$", "/srv/$${home}"]
