"""Policies → seccomp programs: what each call gets, and that the program says the same."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capsule import arguments, syscalls
from capsule.arguments import Comparison
from capsule.enforce import bpf, callfilter
from capsule.enforce.callrule import rule_for
from capsule.policy import Policy, Rule
from tests.bpf import run, seccomp_data

X86_64 = bpf.AUDIT_ARCH_X86_64
I386 = 0x40000003
NUMBERS = callfilter.numbers()
NOTHING = (0,) * 6
EPERM, ENOSYS = bpf.fail(bpf.EPERM), bpf.fail(bpf.ENOSYS)


def policy(*rules: str, known: bool = False) -> Policy:
    """A policy of rules written as `kind what`."""
    keys = [tuple(rule.split(" ", 1)) for rule in rules]
    return Policy(
        {key: Rule(*key, where=arguments.where(*key)) for key in keys}, arguments_known=known
    )


def program(held: Policy, *, complain: bool = False) -> tuple[bpf.Filter, bytes]:
    wanted = callfilter.make(held, complain=complain).filter
    return wanted, bpf.assemble(bpf.compile_filter(wanted))


def verdict(held: Policy, name: str, *args: int) -> int:
    _, compiled = program(held)
    padded = (*args, *NOTHING)[:6]
    return run(compiled, seccomp_data(X86_64, NUMBERS[name], padded))[0]


BASE = policy(
    "call read", "call mmap", "call mprotect", "call socket", "call socketpair", "call clone",
    "call clone3", "call ioctl", "call shmat", "call execve",
)  # fmt: skip


def test_every_number_gets_what_the_policy_says() -> None:
    held = policy("call read", "call exit_group", "call futex")
    wanted, compiled = program(held)
    names = {number: name for name, number in NUMBERS.items()}
    for number in range(1024):
        name = names.get(number)
        if name in ("read", "exit_group", "futex"):
            expected = bpf.ALLOW
        elif name is None or name in syscalls.FALLBACKS:
            expected = ENOSYS
        else:
            expected = EPERM
        got, plain = run(compiled, seccomp_data(X86_64, number, NOTHING))
        assert got == expected == wanted.decide(X86_64, number, NOTHING), (number, name)
        assert plain, "the kernel keeps no verdict that looks at arguments"


@pytest.mark.parametrize("name", ["read", "execve"])
def test_other_abis_are_refused(name: str) -> None:
    _, compiled = program(BASE)
    number = NUMBERS[name]
    assert run(compiled, seccomp_data(I386, number, NOTHING))[0] == bpf.KILL_PROCESS
    assert run(compiled, seccomp_data(X86_64, number | bpf.X32_BIT, NOTHING))[0] == EPERM
    assert run(compiled, seccomp_data(X86_64, number, NOTHING))[0] == bpf.ALLOW


def test_a_skipped_call_is_no_x32_call() -> None:
    assert run(program(BASE)[1], seccomp_data(X86_64, -1, NOTHING))[0] == ENOSYS


W, X, R = 2, 4, 1


@pytest.mark.parametrize("name", ["mmap", "mprotect"])
def test_memory_is_not_writable_and_executable(name: str) -> None:
    assert verdict(BASE, name, 0, 4096, R | W) == bpf.ALLOW
    assert verdict(BASE, name, 0, 4096, R | W | X) == EPERM
    assert verdict(BASE, name, 0, 4096, W | X | 1 << 40) == EPERM
    allowed = policy(f"call {name}", f"memory {name} PROT_WRITE|PROT_EXEC")
    assert verdict(allowed, name, 0, 4096, W | X) == bpf.ALLOW


def test_sockets_are_those_of_the_policy() -> None:
    pairs = ("AF_INET SOCK_STREAM", "AF_UNIX SOCK_DGRAM", "AF_NETLINK SOCK_RAW")
    held = policy("call socket", "call socketpair", *[f"socket {pair}" for pair in pairs])
    inet, unix, netlink = int(socket.AF_INET), int(socket.AF_UNIX), int(socket.AF_NETLINK)
    cloexec = int(socket.SOCK_CLOEXEC)
    assert verdict(held, "socket", inet, 1 | cloexec, 0) == bpf.ALLOW
    assert verdict(held, "socket", inet, 1, 6) == bpf.ALLOW
    assert verdict(held, "socket", inet, 1, 262) == EPERM  # MPTCP: Landlock does not see it
    assert verdict(held, "socket", inet, 2, 0) == EPERM
    assert verdict(held, "socket", unix, 2, 0) == bpf.ALLOW
    assert verdict(held, "socket", unix, 1, 0) == EPERM
    assert verdict(held, "socket", netlink, 3, 9) == bpf.ALLOW
    assert verdict(held, "socketpair", unix, 1) == bpf.ALLOW
    assert verdict(held, "socketpair", inet, 1) == EPERM
    assert verdict(BASE, "socket", inet, 1, 0) == EPERM
    assert verdict(policy("call socket", "socket AF_UNIX SOCK_DGRAM"), "socket", inet, 1) == EPERM


def test_new_namespaces_and_untraced_children_are_no_part_of_clone() -> None:
    assert verdict(BASE, "clone", 0x01200011) == bpf.ALLOW
    for flag in (0x10000000, 0x00020000, 0x20000000, 0x00800000):
        assert verdict(BASE, "clone", flag | 17) == EPERM
    assert verdict(BASE, "clone3") == ENOSYS


def test_no_keys_are_typed_into_the_terminal() -> None:
    assert verdict(BASE, "ioctl", 0, 0x5401) == bpf.ALLOW
    assert verdict(BASE, "ioctl", 0, 0x5412) == EPERM
    assert verdict(BASE, "ioctl", 0, 0x5412 | 1 << 32) == EPERM
    known = policy("call ioctl", "argument ioctl TCGETS", known=True)
    assert verdict(known, "ioctl", 0, 0x5401) == bpf.ALLOW
    assert verdict(known, "ioctl", 0, 0x5402) == EPERM


def test_both_halves_of_an_argument_are_compared() -> None:
    where = (Comparison(3, 0xFF00000000FF, 0x120000000034),)
    held = Policy({("call", "lseek"): Rule("call", "lseek"),
                   ("argument", "lseek x"): Rule("argument", "lseek x", where=where)})  # fmt: skip
    assert verdict(held, "lseek", 0, 0, 0, 0x120000000034) == bpf.ALLOW
    assert verdict(held, "lseek", 0, 0, 0, 0x7F12ABCDEF1234) == bpf.ALLOW
    assert verdict(held, "lseek", 0, 0, 0, 0x34) == EPERM
    assert verdict(held, "lseek", 0, 0, 0, 0x120000000035) == EPERM


def test_complaining_denies_nothing() -> None:
    _, compiled = program(policy("call read"), complain=True)
    seen = {
        run(compiled, seccomp_data(arch, number, NOTHING))[0]
        for arch in (X86_64, I386)
        for number in (*range(600), NUMBERS["read"] | bpf.X32_BIT)
    }
    # What no kernel knows fails by itself.
    assert seen == {bpf.ALLOW, bpf.NOTIFY, ENOSYS}


def test_complaining_does_not_refuse_clone3() -> None:
    number = NUMBERS["clone3"]
    for held, expected in ((policy("call clone"), bpf.ALLOW), (policy("call read"), bpf.NOTIFY)):
        _, compiled = program(held, complain=True)
        assert run(compiled, seccomp_data(X86_64, number, NOTHING))[0] == expected


calls = st.sampled_from(sorted(NUMBERS))
words = st.one_of(
    st.integers(0, 2**64 - 1), st.integers(0, 16), st.sampled_from([0x5412, 0x541C, 1 << 28])
)


@settings(max_examples=60, deadline=None)
@given(
    st.sets(calls),
    st.sets(st.sampled_from(["AF_INET SOCK_STREAM", "AF_UNIX SOCK_DGRAM", "AF_INET6 SOCK_DGRAM"])),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from([X86_64, I386]), st.integers(0, 2**32 - 1) | st.integers(
        0, 500), st.tuples(*[words] * 6)), min_size=20, max_size=60),
)  # fmt: skip
def test_the_program_decides_as_the_filter(
    names: set[str], sockets: set[str], complain: bool,
    made: list[tuple[int, int, tuple[int, ...]]],
) -> None:  # fmt: skip
    held = policy(*[f"call {n}" for n in names], *[f"socket {s}" for s in sockets])
    wanted, compiled = program(held, complain=complain)
    for arch, number, args in made:
        got, plain = run(compiled, seccomp_data(arch, number, args))
        assert got == wanted.decide(arch, number, args)
        if number in wanted.calls and not wanted.calls[number].clauses:
            assert plain


@given(st.sets(calls, min_size=1))
def test_a_longer_policy_denies_no_more(names: set[str]) -> None:
    fewer, more = (callfilter.make(policy(*[f"call {n}" for n in s])) for s in (
        sorted(names)[1:], sorted(names)))  # fmt: skip
    for number, allowed in fewer.filter.calls.items():
        if allowed.otherwise == bpf.ALLOW:
            assert more.filter.calls[number] == allowed


def test_a_far_branch_is_reached() -> None:
    verdicts = {n: bpf.Verdict(bpf.ALLOW if n % 2 else EPERM) for n in range(900)}
    wanted = bpf.Filter(verdicts)
    compiled = bpf.assemble(bpf.compile_filter(wanted))
    for number in range(905):
        got = run(compiled, seccomp_data(X86_64, number, NOTHING))[0]
        assert got == wanted.decide(X86_64, number, NOTHING)


def test_a_filter_that_the_kernel_would_not_take_is_refused() -> None:
    clauses = tuple(bpf.Clause((Comparison(0, 0xFF, n),), bpf.ALLOW) for n in range(2000))
    with pytest.raises(ValueError, match="instructions"):
        bpf.compile_filter(bpf.Filter({1: bpf.Verdict(EPERM, clauses)}))


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        ((X86_64, NUMBERS["ptrace"], NOTHING), ("call", "ptrace")),
        ((X86_64, NUMBERS["mmap"], (0, 1, 7, 0, 0, 0)), ("memory", "mmap PROT_WRITE|PROT_EXEC")),
        ((X86_64, NUMBERS["socket"], (2, 0x80001, 0, 0, 0, 0)), ("socket", "AF_INET SOCK_STREAM")),
        ((X86_64, NUMBERS["read"] | bpf.X32_BIT, NOTHING), ("call", "read#64")),
        ((I386, 5, NOTHING), ("call", "#5 of 32-bit code")),
        ((X86_64, 5000, NOTHING), ("call", "5000")),
    ],
)
def test_a_denial_names_its_rule(
    call: tuple[int, int, tuple[int, ...]], rule: tuple[str, str]
) -> None:
    assert rule_for(*call, frozenset({"mmap", "socket", "read"})) == rule


def test_every_fallback_is_a_call() -> None:
    assert {name for name in syscalls.FALLBACKS if name not in syscalls.BY_NAME} == set()
