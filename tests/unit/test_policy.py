"""Policies: what is drafted from behaviours, what they deny, how sure they say they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule import policy
from capsule.behaviour import Behaviour, Fact, Key, Reader
from capsule.errors import CapsuleError

HOME = "/home/ann"


def behaviour(run: str, *keys: Key) -> Behaviour:
    return Behaviour(run, ["x"], {key: Fact(1, 3, 1) for key in keys}, calls_known=True)


def no_loaders(_: str) -> list[str]:
    return []


def draft(*runs: Behaviour) -> policy.Policy:
    return policy.draft(runs, HOME, no_loaders)


PATH = st.lists(st.text("ab*1X", min_size=1, max_size=6), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@given(st.lists(st.lists(PATH, max_size=6), max_size=4))
def test_a_draft_allows_all_that_was_seen(runs: list[list[str]]) -> None:
    seen = [behaviour(str(n), *[("read", p) for p in paths]) for n, paths in enumerate(runs)]
    drafted = draft(*seen)
    for one in seen:
        assert drafted.denied(one) == {}
    again = policy.parse(drafted.plain())
    assert again.rules == drafted.rules
    for rule in drafted.rules.values():
        assert not rule.pattern or "*" not in rule.what.split("/")[1]


def test_a_name_with_a_star_allows_itself_alone() -> None:
    drafted = draft(behaviour("a", ("read", "/srv/a*")))
    assert set(drafted.denied(behaviour("b", ("read", "/srv/a*"), ("read", "/srv/abc")))) == {
        ("read", "/srv/abc")
    }


def test_what_is_never_shown_by_a_trace_is_added_and_said() -> None:
    drafted = policy.draft(
        [behaviour("a", ("call", "openat"), ("exec", "/bin/x"))], HOME, lambda _: ["/lib/ld.so"]
    )
    beyond = {(rule.kind, rule.what) for rule in drafted.beyond()}
    assert {("call", "restart_syscall"), ("call", "open"), ("exec", "/lib/ld.so")} <= beyond
    assert ("call", "openat") not in beyond and ("call", "stat") not in drafted.rules


def test_unseen_calls_are_estimated_as_chao2_has_it() -> None:
    # Q1 = 3 calls in one run only, Q2 = 1 in two, of m = 3: 6 + 2/3 * 3*2 / (2*2) = 7
    runs = [
        behaviour("a", *[("call", c) for c in ("read", "write", "brk", "mmap")]),
        behaviour("b", *[("call", c) for c in ("read", "write", "brk", "poll")]),
        behaviour("c", *[("call", c) for c in ("read", "write", "kill")]),
    ]
    told = policy.judge(runs, HOME, no_loaders)
    assert (told["calls_seen"], told["calls_expected"]) == (6, 7.0)
    assert [one["denied"] for one in told["left_out"]] == [1, 1, 1]  # mmap, poll, kill


def test_a_call_has_the_action_that_began_it_as_its_evidence() -> None:
    end = {"calls": [["mmap", 2, 7], ["brk", 1, 5], ["mmap PROT_WRITE|PROT_EXEC", 1, 8]]}
    records = [
        {"seq": 0, "type": "start", "run": "r", "argv": ["x"]},
        {"seq": 1, "type": "action", "kind": "mem.map", "count": 2, "proc": 1, "lines": [5, 8]},
        {"seq": 2, "type": "action", "kind": "mem.map", "count": 1, "proc": 1, "lines": [7, 7]},
    ]
    found = Reader(end).read(records).facts
    assert found["call", "brk"] == Fact(1, 1, 1)
    assert found["call", "mmap"] == Fact(2, 2, 1)
    assert found["memory", "mmap PROT_WRITE|PROT_EXEC"] == Fact(1, 1, 1)


@pytest.mark.parametrize(
    ("kind", "more", "expected"),
    [
        ("file.open", {"access": "read-write"}, {"read", "write"}),
        ("file.open", {"access": "read", "errors": {"ENOENT": 1}}, set()),
        ("file.create", {"access": "write"}, {"create", "write"}),
        ("file.rename", {"to": "/b"}, {"delete", "create"}),
        ("file.stat", {}, set()),
    ],
)
def test_rights_of_a_path(kind: str, more: dict[str, object], expected: set[str]) -> None:
    action = {"seq": 1, "type": "action", "kind": kind, "target": "/a", "count": 1, **more}
    assert {right for right, _ in Reader({}).read([action]).facts} == expected


@pytest.mark.parametrize(
    "value",
    [
        [], {}, {"format": "capsule-policy", "version": 2},
        {"format": "capsule-policy", "version": 1},
        {"format": "capsule-policy", "version": 1, "rules": [{"kind": "call"}]},
        {"format": "capsule-policy", "version": 1, "rules": [{"kind": "all", "what": "x"}]},
        {"format": "capsule-policy", "version": 1, "rules": [{"kind": "read", "what": "/a/../b"}]},
    ],
)  # fmt: skip
def test_what_is_no_policy_is_refused(value: object) -> None:
    with pytest.raises(CapsuleError):
        policy.parse(value)
