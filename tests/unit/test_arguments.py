"""Arguments that policies have rules for: from strace's text to what a seccomp filter compares."""

from __future__ import annotations

import ctypes
import os
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule import arguments, policy, syscalls
from capsule.arguments import WATCHED, Comparison, conditions
from capsule.behaviour import Behaviour, Fact, Reader
from capsule.errors import CapsuleError
from tests import constants
from tests.unit.stages import run, stamped


def allowed(drafted: policy.Policy, call: str, *values: int) -> bool:
    """Whether the conditions let a call pass, as the kernel's filter would have it."""
    some = drafted.conditions().get(call)
    return some is None or any(
        all(values[one.index] & one.mask == one.value for one in alternative)
        for alternative in some
    )


def drafted(*facts: tuple[str, str]) -> policy.Policy:
    seen = Behaviour("r", [], {key: Fact(1, 1, 1) for key in facts}, True, True)
    return policy.draft([seen], "/home/u", lambda _: [])


@pytest.mark.parametrize(
    ("call", "text", "what", "value"),
    [
        ("ioctl", "TCGETS", "ioctl TCGETS", 0x5401),
        ("ioctl", "SNDCTL_TMR_NOSUCH or TCSETS", "ioctl TCSETS", 0x5402),
        ("ioctl", "TCSETS or SNDCTL_TMR_START", "ioctl TCSETS", 0x5402),
        ("ioctl", "_IOC(_IOC_READ|_IOC_WRITE, 0x54, 0x30, 0x4)",
         "ioctl _IOC(_IOC_READ|_IOC_WRITE, 0x54, 0x30, 0x4)", 0xC0045430),
        ("ioctl", "_IOC(_IOC_NONE, 0x12, 0x68, 0)", "ioctl _IOC(_IOC_NONE, 0x12, 0x68, 0)", 0x1268),
        ("ioctl", "EVIOCGABS(ABS_X)", "ioctl *", None),
        ("prctl", "PR_SET_NAME", "prctl PR_SET_NAME", 15),
        ("prctl", "0x3f /* PR_??? */", "prctl 0x3f", 0x3F),
        ("fcntl", "F_SETFD", "fcntl F_SETFD", 2),
        ("personality", "0xffffffff", "personality 0xffffffff", 0xFFFFFFFF),
        ("personality", "PER_LINUX|ADDR_NO_RANDOMIZE",
         "personality PER_LINUX|ADDR_NO_RANDOMIZE", 0x40000),
        ("setsockopt", "SOL_TCP", "setsockopt SOL_TCP", 6),
        ("ptrace", "PTRACE_SEIZE", "ptrace PTRACE_SEIZE", 0x4206),
        ("clone", "flags=CLONE_VM|CLONE_VFORK|SIGCHLD", "clone 0", 0),
        ("clone", "flags=CLONE_NEWPID|CLONE_NEWUSER|SIGCHLD", "clone CLONE_NEWPID|CLONE_NEWUSER",
         0x30000000),
        ("clone3", "{flags=CLONE_VM|CLONE_NEWUSER", "clone CLONE_NEWUSER", 0x10000000),
        ("unshare", "CLONE_FILES|CLONE_NEWTIME", "unshare CLONE_NEWTIME", 0x80),
        ("unshare", "CLONE_FILES", "unshare 0", 0),
    ],
)  # fmt: skip
def test_what_strace_writes_and_its_number(
    call: str, text: str, what: str, value: int | None
) -> None:
    found = arguments.what(call, text)
    assert found == what
    where = arguments.where("argument", found)
    assert where is not None
    if value is None and found.endswith("*"):
        assert where == ()
    elif value is not None:
        assert where[0].value == value


@pytest.mark.parametrize(
    ("call", "value", "what"),
    [
        ("ioctl", 0x5412, "ioctl TIOCSTI"),
        ("ioctl", 0xDEAD, "ioctl 0xdead"),
        ("prctl", 1 << 32 | 35, "prctl PR_SET_MM"),
        ("clone", 0x10000000 | 17, "clone CLONE_NEWUSER"),
        ("clone", 0x3D0F00, "clone 0"),
    ],
)
def test_a_number_has_the_name_that_a_rule_would_have(call: str, value: int, what: str) -> None:
    assert arguments.named(call, value) == what
    where = arguments.where("argument", what)
    assert where is not None and where[0].value == value & WATCHED[call].mask


@given(st.text(max_size=40))
def test_any_text_has_a_rule(text: str) -> None:
    for call in arguments.SHOWN:
        where = arguments.where("argument", arguments.what(call, text))
        assert where is not None
        for one in where:
            assert one.value & ~one.mask == 0 and 0 <= one.value < 2**64


def test_the_table_is_what_the_headers_say() -> None:
    """Headers of another release may have more names, or fewer; none may have another number."""
    for group in constants.GROUPS:
        here = constants.group(group)
        table = {name: n for (of, name), n in arguments.constants().items() if of == group}
        both = here.keys() & table.keys()
        assert len(both) > len(table) / 2, group
        assert {name: here[name] for name in both} == {name: table[name] for name in both}


def test_every_harmless_value_and_every_call_is_known() -> None:
    for call, watched in WATCHED.items():
        assert syscalls.BY_NAME[call].number is not None
        for value in watched.harmless:
            assert arguments.where("argument", f"{call} {value}"), f"{call} {value}"


TRACE = stamped("""
    10 execve("/bin/x", ["x"], 0x1 /* 2 vars */) = 0
    10 ioctl(1</dev/pts/0>, TCGETS, {c_iflag=ICRNL}) = 0
    10 ioctl(1</dev/pts/0>, TCGETS, {c_iflag=ICRNL}) = 0
    10 ioctl(1</dev/pts/0>, TIOCSTI, "x") = -1 EPERM (Operation not permitted)
    10 prctl(PR_SET_NAME, "name") = 0
    10 clone3({flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD, stack=0x7f01, stack_size=0x9000}, 88) = 11
    10 clone3({flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD, stack=0x7f02, stack_size=0x9000}, 88) = 12
    10 clone(child_stack=NULL, flags=CLONE_NEWUSER|SIGCHLD) = 13
    10 mprotect(0x7f00, 4096, PROT_READ|PROT_EXEC) = 0
    10 +++ exited with 0 +++
""")  # noqa: E501


def counted() -> list[list[Any]]:
    return run(TRACE).enricher.arguments()


def test_every_value_is_counted_with_its_first_line() -> None:
    assert counted() == [
        ["ioctl", "TCGETS", 2, 2],
        ["ioctl", "TIOCSTI", 1, 4],
        ["clone", "flags=CLONE_NEWUSER|SIGCHLD", 1, 8],
        ["prctl", "PR_SET_NAME", 1, 5],
        ["clone3", "{flags=CLONE_VM|CLONE_VFORK", 2, 6],
    ]


def test_no_flood_of_values_grows_without_end() -> None:
    lines = "\n".join(f"10 ioctl(3</dev/x>, {n:#x}, 0) = 0" for n in range(700))
    found = run(stamped(lines)).enricher.arguments()
    assert len(found) == 513 and found[-1] == ["ioctl", "*", 188, 513]
    assert sum(count for _, _, count, _ in found) == 700


def test_facts_of_a_run() -> None:
    traced = run(TRACE)
    seen = Reader({"calls": traced.enricher.calls(), "arguments": counted()}).read(
        {"seq": seq, "type": "action", **action} for seq, action in enumerate(traced.actions(), 1)
    )
    assert seen.arguments_known
    facts = {what: fact for (kind, what), fact in seen.facts.items() if kind == "argument"}
    assert {what: fact.count for what, fact in facts.items()} == {
        "ioctl TCGETS": 2, "ioctl TIOCSTI": 1, "clone CLONE_NEWUSER": 1, "prctl PR_SET_NAME": 1,
        "clone 0": 2,
    }  # fmt: skip
    assert all(fact.seq is not None for fact in facts.values())
    assert ("memory", "mprotect PROT_EXEC") in seen.facts


def test_what_was_seen_and_what_is_harmless_passes() -> None:
    held = drafted(("call", "ioctl"), ("argument", "ioctl TIOCSTI"), ("call", "prctl"))
    tcgets, tiocsti, tcsets = 0x5401, 0x5412, 0x5402
    assert allowed(held, "ioctl", 0, tcgets) and allowed(held, "ioctl", 0, tiocsti)
    assert allowed(held, "ioctl", 0, 1 << 32 | tcgets)  # the kernel reads 32 bits
    assert not allowed(held, "ioctl", 0, tcsets)
    assert allowed(held, "prctl", 15) and not allowed(held, "prctl", 35)
    assert allowed(held, "fcntl", 0, 8)  # no rule for a call that is not allowed at all
    why = {rule.what: rule.why for rule in held.beyond() if rule.kind == "argument"}
    assert "ioctl TCGETS" in why and "ioctl TIOCSTI" not in why


def test_namespaces_are_refused_unless_they_were_seen() -> None:
    new_user, new_net, untraced, thread = 0x10000000, 0x40000000, 0x800000, 0x3D0F00
    held = drafted(("call", "fork"))
    assert allowed(held, "clone", thread | 17)
    for flag in (new_user, new_net, untraced):
        assert not allowed(held, "clone", thread | flag)
    held = drafted(("call", "clone"), ("argument", "clone CLONE_NEWUSER"))
    assert allowed(held, "clone", new_user | 17) and allowed(held, "clone", 17)
    assert not allowed(held, "clone", new_user | new_net | 17)
    assert "clone3" in conditions.UNINSPECTABLE


def test_memory_and_sockets() -> None:
    read, write, execute = 1, 2, 4
    held = drafted(("call", "mmap"), ("call", "socket"), ("socket", "AF_INET SOCK_STREAM"))
    for prot in (read, read | write, read | execute):
        assert allowed(held, "mmap", 0, 0, prot)
    assert not allowed(held, "mmap", 0, 0, read | write | execute)
    assert not allowed(held, "mprotect", 0, 0, read | execute)
    seen = drafted(("memory", "mprotect PROT_EXEC"))
    assert allowed(seen, "mprotect", 0, 0, read | execute)
    assert not allowed(seen, "mprotect", 0, 0, write | execute)
    cloexec, stream, raw, inet, netlink = 0x80000, 1, 3, 2, 16
    assert allowed(held, "socket", inet, stream | cloexec)
    assert not allowed(held, "socket", inet, raw) and not allowed(held, "socket", netlink, stream)


def test_a_value_without_a_number_restricts_nothing() -> None:
    held = drafted(("call", "ioctl"), ("argument", "ioctl *"))
    assert allowed(held, "ioctl", 0, 0xDEAD)


def test_logs_that_tell_no_arguments_restrict_none() -> None:
    seen = Behaviour("r", [], {("call", "ioctl"): Fact(1, 1, 1)}, True, False)
    held = policy.draft([seen], "/home/u", lambda _: [])
    assert not held.arguments_known and allowed(held, "ioctl", 0, 0xDEAD)
    more = Behaviour("s", [], {("argument", "ioctl TIOCSTI"): Fact(1, 1, 1)}, True, True)
    assert held.denied(more) == {}


def test_a_policy_file_says_the_numbers() -> None:
    held = drafted(("call", "ioctl"), ("argument", "ioctl TIOCSTI"))
    again = policy.parse(held.plain())
    assert again.rules == held.rules and again.conditions() == held.conditions()
    rule = next(r for r in held.plain()["rules"] if r["what"] == "ioctl TIOCSTI")
    assert rule["where"] == [{"index": 1, "mask": 0xFFFFFFFF, "op": "==", "value": 0x5412}]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"what": "ioctl NOSUCH", "where": None}, "no known argument"),
        ({"what": "ioctl TCGETS"}, "not what its"),
        ({"where": [{"index": 1, "mask": 1, "op": "==", "value": 2}]}, "never"),
        ({"where": [{"index": 1, "mask": 1, "op": "<", "value": 1}]}, "op"),
        ({"where": [{"index": 1}]}, "no kind"),
        ({"where": [{"index": 1, "mask": 1, "op": "==", "value": "x"}]}, "no kind"),
    ],
)
def test_rules_that_contradict_themselves_are_refused(change: dict[str, Any], said: str) -> None:
    value = drafted(("argument", "ioctl TIOCSTI")).plain()
    rule = next(r for r in value["rules"] if r["kind"] == "argument")
    rule.update(change)
    if rule["where"] is None:
        del rule["where"]
    with pytest.raises(CapsuleError, match=said):
        policy.parse(value)


def test_rules_of_ones_own_are_taken() -> None:
    value = drafted(("call", "memfd_create")).plain()
    mine = [{"index": 1, "mask": 8, "op": "==", "value": 8}]
    value["rules"].append(
        {"kind": "argument", "what": "memfd_create MFD_NOEXEC_SEAL", "where": mine}
    )
    held = policy.parse(value)
    assert allowed(held, "memfd_create", 0, 9) and not allowed(held, "memfd_create", 0, 1)
    assert held.conditions()["memfd_create"] == [(Comparison(1, 8, 8),)]


def test_the_kernel_agrees_on_what_it_reads_of_an_int() -> None:
    """Filters compare 64 bits; of an int argument the kernel takes 32 (seccomp(2), NOTES)."""
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    read_end, write_end = os.pipe()
    try:
        number = syscalls.BY_NAME["fcntl"].number
        f_getfd = ctypes.c_ulong(1 << 32 | 1)
        assert syscall(ctypes.c_long(number), ctypes.c_long(read_end), f_getfd) == 1
    finally:
        os.close(read_end)
        os.close(write_end)
    assert re.fullmatch(r"0xffffffff", hex(arguments.INT))


def test_a_call_that_no_table_knows_counts_no_argument() -> None:
    assert run(stamped("10 nosuchcall(TCGETS, TCGETS) = 0")).enricher.arguments() == []
