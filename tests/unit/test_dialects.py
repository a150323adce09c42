"""Dialects: what they say of a policy, and what they say they cannot."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from capsule import arguments
from capsule.behaviour import KINDS, PATHS
from capsule.dialects import DIALECTS, calls, native, oci, runtimes
from capsule.dialects.rendering import Asked, name_of
from capsule.errors import CapsuleError
from capsule.policy import Policy, Rule

ASKED = Asked("prog", "/home/me")


def policy(*facts: str, **more: Any) -> Policy:
    """A policy of `kind what`; `*` in a path makes it a pattern."""
    rules = {}
    for fact in facts:
        kind, _, what = fact.partition(" ")
        wild = kind in PATHS and "*" in what
        rules[kind, what] = Rule(kind, what, pattern=wild, where=arguments.where(kind, what))
    return Policy(rules, [{"run": "r", "argv": ["/usr/bin/Prog.sh"]}], **more)


SAMPLE = policy(
    "call read", "call mmap", "call mprotect", "call socket", "call execve", "call clone",
    "argument clone 0", "socket AF_INET SOCK_STREAM", "connect 127.0.0.1:80", "connect [::1]:443",
    "connect unix:/run/nscd/socket", "bind 127.0.0.1:8080", "exec /usr/bin/prog",
    "read /usr/lib/x86_64-linux-gnu/libc.so.6", "read /etc/passwd", "read /proc/self/maps",
    "write /dev/null", "create /dev/null", "create /srv/data/new*", "write /srv/data/new*",
    "delete /srv/data/new*", "change /srv/data/kept", "read /home/me/.config/prog",
    "create /home/me/.prog_history",
)  # fmt: skip

words = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=8)
paths = st.lists(words.filter(lambda one: one not in (".", "..")), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_policy_is_said_alike_each_time(name: str) -> None:
    turned = Policy(dict(reversed(SAMPLE.rules.items())), SAMPLE.runs)
    one, two = DIALECTS[name](SAMPLE, ASKED), DIALECTS[name](turned, ASKED)
    assert one == two
    assert one.text.endswith("\n")


@pytest.mark.parametrize("name", [one for one in DIALECTS if one != "native"])
def test_all_but_native_say_where_they_differ(name: str) -> None:
    notes = DIALECTS[name](SAMPLE, ASKED).notes
    assert notes
    assert [one for one in notes if not one.startswith(("cannot say ", "allows ", "denies "))] == []


@pytest.mark.parametrize("name", DIALECTS)
@given(found=st.dictionaries(paths, st.sampled_from(sorted(PATHS))))
def test_any_path_can_be_said(name: str, found: dict[str, str]) -> None:
    rules = {(kind, path): Rule(kind, path) for path, kind in found.items()}
    rules["call", "execve"] = Rule("call", "execve")
    DIALECTS[name](Policy(rules), ASKED)


def test_a_draft_fits_the_schema_of_policies() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(native.schema()))
    validator.check_schema(validator.schema)
    plain = SAMPLE.plain()
    validator.validate(plain)
    for broken in (
        {**plain, "format": "other"},
        {**plain, "version": 2},
        {**plain, "rules": [{"kind": "fly", "what": "x"}]},
        {**plain, "rules": [{"kind": "read", "what": "not/absolute"}]},
        {**plain, "rules": [{"kind": "read"}]},
        {**plain, "rules": None},
    ):
        assert not validator.is_valid(broken)


def test_the_schema_knows_every_kind() -> None:
    rule = json.loads(native.schema())["$defs"]["rule"]
    assert set(rule["properties"]["kind"]["enum"]) == set(KINDS)
    assert set(rule["if"]["properties"]["kind"]["enum"]) == set(PATHS)


def test_no_calls_no_seccomp_profile() -> None:
    with pytest.raises(CapsuleError, match="traced anew"):
        oci.render(policy("read /etc/passwd", calls_known=False), ASKED)


def holds(profile: dict[str, Any], name: str, *args: int) -> str | int:
    """What a runtime makes of a call: "allow", or the errno."""
    for rule in profile["syscalls"]:
        if name in rule["names"] and all(
            one["op"] == "SCMP_CMP_MASKED_EQ"
            and args[one["index"]] & one["value"] == one["valueTwo"]
            for one in rule.get("args", ())
        ):
            return "allow" if rule["action"] == "SCMP_ACT_ALLOW" else rule["errnoRet"]
    return profile["defaultErrnoRet"]  # type: ignore[no-any-return]


def test_oci_says_calls_and_arguments() -> None:
    profile = json.loads(oci.render(SAMPLE, ASKED).text)
    assert profile["architectures"] == ["SCMP_ARCH_X86_64"]
    assert holds(profile, "read", 0, 0, 0) == "allow"
    assert holds(profile, "mmap", 0, 4096, 3) == holds(profile, "mmap", 0, 4096, 5) == "allow"
    assert holds(profile, "mmap", 0, 4096, 7) == 1
    assert holds(profile, "socket", 2, 1 | 0o2000000, 6) == "allow"
    assert holds(profile, "socket", 2, 2, 0) == holds(profile, "socket", 1, 1, 0) == 1
    assert holds(profile, "clone", 0x3D0F00) == "allow"
    assert holds(profile, "clone", 0x10000000) == 1
    assert holds(profile, "ptrace", 0) == 1
    assert holds(profile, "clone3") == holds(profile, "rseq") == 38


def test_clone3_hides_flags_that_a_rule_is_about() -> None:
    some = calls.of(policy("call clone", "call clone3", "argument clone 0"))
    assert "clone3" not in some.allowed and "clone3" in some.absent


def test_calls_of_other_architectures_are_told() -> None:
    assert "denies mmap2" in " ".join(oci.render(policy("call mmap2"), ASKED).notes)


@pytest.mark.parametrize("runtime", ["runc", "crun"])
@pytest.mark.parametrize("no_new_privs", [True, False])
def test_the_base_of_a_runtime_was_measured(runtime: str, no_new_privs: bool) -> None:
    base = runtimes.base([runtime], no_new_privs=no_new_privs)
    assert {"execve", "close"} <= base
    assert ("capset" in base) != no_new_privs
    asked = Asked("prog", "/home/me", (runtime,), no_new_privs)
    profile = json.loads(oci.render(policy("call execve"), asked).text)
    assert base <= set(profile["syscalls"][0]["names"])


def test_kubernetes_says_what_oci_says() -> None:
    rendered = DIALECTS["kubernetes"](SAMPLE, ASKED)
    found = yaml.safe_load(rendered.text)
    profile = json.loads(oci.render(SAMPLE, ASKED).text)
    del profile["defaultErrnoRet"]  # EPERM is what there is
    assert found.pop("spec") == profile
    assert found == {
        "apiVersion": "security-profiles-operator.x-k8s.io/v1beta1", "kind": "SeccompProfile",
        "metadata": {"name": "prog"},
    }  # fmt: skip
    assert "localhostProfile: operator/prog.json" in rendered.text


_ACTIONS = {"enum": ["SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"]}
_NUMBER = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
_ARGUMENT = {
    "required": ["index", "op"],
    "properties": {
        "index": {**_NUMBER, "maximum": 5}, "value": _NUMBER, "valueTwo": _NUMBER,
        "op": {"const": "SCMP_CMP_MASKED_EQ"},
    },
    "additionalProperties": False,
}  # fmt: skip
SECCOMP_PROFILE = {
    "required": ["defaultAction"],
    "properties": {
        "defaultAction": _ACTIONS,
        "architectures": {"type": "array", "items": {"const": "SCMP_ARCH_X86_64"}},
        "syscalls": {
            "type": "array",
            "items": {
                "required": ["action", "names"],
                "properties": {
                    "action": _ACTIONS,
                    "names": {
                        "type": "array", "minItems": 1, "uniqueItems": True,
                        "items": {"type": "string"},
                    },
                    "errnoRet": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
                    "args": {"type": "array", "maxItems": 6, "items": _ARGUMENT},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}  # fmt: skip
"""What the operator's API reference says of a SeccompProfile's spec, of what we write of it:
the API server refuses or drops what does not fit its CRD."""


def test_kubernetes_fits_what_the_operator_documents() -> None:
    validator = jsonschema.Draft202012Validator(SECCOMP_PROFILE)
    spec = yaml.safe_load(DIALECTS["kubernetes"](SAMPLE, ASKED).text)["spec"]
    validator.validate(spec)
    for broken in ({**spec, "defaultErrnoRet": 1}, {**spec, "syscalls": [{"names": ["read"]}]}):
        assert not validator.is_valid(broken)


@pytest.mark.parametrize("name", ["kubernetes", "minijail"])
def test_no_name_ends_a_comment(name: str) -> None:
    forged = policy("call read", "call x\nptrace: 1\n#")
    lines = DIALECTS[name](forged, ASKED).text.splitlines()
    assert [line for line in lines if line.lstrip().startswith("ptrace: 1")] == []
    assert "denies x\\x0aptrace: 1" in "\n".join(lines)


def test_a_profile_is_named_for_its_program() -> None:
    assert name_of(SAMPLE) == "prog-sh"
    assert name_of(Policy()) == "capsule"
