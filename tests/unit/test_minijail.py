"""The minijail dialect, read back by a strict reader of its own (tests/programs/minijailed.py)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule import arguments, syscalls
from capsule.arguments import INT, Comparison
from capsule.dialects import minijail
from capsule.dialects.rendering import Asked
from capsule.errors import CapsuleError
from capsule.policy import Policy, Rule
from tests.programs.minijailed import Line, known, read, verdict

ASKED = Asked("prog", "/home/me")


def policy(*facts: str) -> Policy:
    keys = [tuple(fact.split(" ", 1)) for fact in facts]
    return Policy({(k, w): Rule(k, w, where=arguments.where(k, w)) for k, w in keys})


def said(held: Policy) -> tuple[dict[str, Line], list[str]]:
    rendered = minijail.render(held, ASKED)
    return read(rendered.text), rendered.notes


SAMPLE = policy(
    "call read", "call mmap", "call mprotect", "call socket", "call execve", "call clone",
    "call ioctl", "call unshare", "argument clone 0", "argument ioctl TCGETS",
    "argument ioctl TCGETS2", "argument unshare CLONE_NEWUSER|CLONE_NEWNET",
    "socket AF_INET SOCK_STREAM", "connect 127.0.0.1:80", "exec /usr/bin/prog", "read /etc/passwd",
)  # fmt: skip


def test_calls_and_their_arguments() -> None:
    found, notes = said(SAMPLE)
    assert verdict(found, "read", 0, 0, 0) == verdict(found, "mmap", 0, 4096, 3) == "allow"
    assert verdict(found, "mmap", 0, 4096, 5) == "allow" and verdict(found, "mmap", 0, 0, 7) == 1
    assert verdict(found, "socket", 2, 1 | 0o2000000, 6) == "allow"
    assert verdict(found, "socket", 2, 2, 0) == verdict(found, "socket", 1, 1, 0) == 1
    assert verdict(found, "clone", 0x3D0F00) == "allow" and verdict(found, "clone", 1 << 28) == 1
    assert verdict(found, "unshare", 0x50000000) == "allow"
    assert verdict(found, "unshare", 0x10000000) == verdict(found, "unshare", 0x70000000) == 1
    assert verdict(found, "ptrace", 0) == 1 and verdict(found, "clone3") == 38
    assert "cannot say which files, programs and addresses: 3 rules are not in it" in notes


def test_an_int_is_compared_with_its_sign() -> None:
    found, notes = said(SAMPLE)
    request = arguments.constants()["ioctl", "TCGETS2"]
    assert request >> 31
    for high in (0, 0xFFFFFFFF, 7):  # the kernel reads the lower half
        assert verdict(found, "ioctl", 0, high << 32 | request) == "allow"
    assert verdict(found, "ioctl", 0, request ^ 1) == 1
    assert verdict(found, "ioctl", 0, 0x5401) == "allow"
    assert verdict(found, "ioctl", 0, 7 << 32 | 0x5401) == 1
    assert "denies a positive int with something in the upper half of its register" in notes


def test_every_call_that_debian_12_knows_has_a_line_and_no_other() -> None:
    assert set(said(SAMPLE)[0]) == {
        one for one, number in known().items() if number in minijail.KNOWN
    }
    assert verdict(said(SAMPLE)[0], "cachestat") == "kill"
    assert verdict(said(policy("call cachestat"))[0], "cachestat") == "allow"


comparisons = st.builds(
    lambda index, mask, value: Comparison(index, mask, value & mask),
    st.integers(0, 2),
    st.sampled_from([INT, 1, 6, 0xF, 0x80000000, (1 << 64) - 1, 0]) | st.integers(0, 1 << 64),
    st.sampled_from([0, 1, 2, 5, 0x5401, 0x802C542A, 0xFFFFFFFF]) | st.integers(0, 1 << 64),
).filter(lambda one: one.mask < 1 << 64)
arguments_of = st.tuples(*[st.sampled_from([0, 1, 2, 5, 6, 0x5401, 0x802C542A, INT])] * 3)


@given(
    st.lists(st.lists(comparisons, min_size=1, max_size=3), min_size=1, max_size=3),
    st.lists(arguments_of, min_size=1),
)
def test_a_filter_allows_what_the_rules_do(
    alternatives: list[list[Comparison]], tried: list[tuple[int, ...]]
) -> None:
    held = policy("call write")
    for place, some in enumerate(alternatives):
        held.rules["argument", f"write {place}"] = Rule(
            "argument", f"write {place}", where=tuple(some)
        )
    found, _ = said(held)
    made: list[tuple[int, ...]] = [
        (0, 0, 0)
    ]  # and what fits each alternative by itself, where anything does
    for some in alternatives:
        values = [0, 0, 0]
        for one in some:
            values[one.index] |= one.value
        made.append(tuple(values))
    for args in tried + made:
        allowed = any(all(args[c.index] & c.mask == c.value for c in s) for s in alternatives)
        assert verdict(found, "write", *args) == ("allow" if allowed else 1)


@given(st.sets(st.sampled_from([row.name for row in syscalls.table() if row.number is not None])))
def test_any_calls_can_be_said(names: set[str]) -> None:
    found, _ = said(policy(*(f"call {name}" for name in sorted(names)), "call read"))
    for name in names - {"clone3", "socket", "socketpair", *arguments.WATCHED}:
        assert verdict(found, name) == "allow"


def test_what_has_no_room_is_told() -> None:
    held = policy("call ioctl", "call read")
    for request in range(300):
        where = (Comparison(1, INT, request),)
        held.rules["argument", f"ioctl {request:#x}"] = Rule("argument", f"ioctl {request:#x}",
                                                            where=where)  # fmt: skip
    rendered = minijail.render(held, ASKED)
    assert any("no room" in note for note in rendered.notes)
    listed = [line for line in rendered.text.splitlines() if ": return E" in line]
    assert len(listed) == minijail.LABELS - 302
    assert listed[0].endswith("ENOSYS")


def test_no_calls_no_policy() -> None:
    with pytest.raises(CapsuleError, match="traced anew"):
        minijail.render(Policy(calls_known=False), ASKED)
