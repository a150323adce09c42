"""Tags: what in an Action deserves a second look, by rules that are data.

`rules.toml` is the shipped set; `--rules FILE` adds to it. One rule:

    [[rule]]
    tag = "exec.tmp"                 # the word put on the Action; rules may share one
    why = "…"                        # one sentence for a person
    kind = ["proc.exec"]             # required: a kind, or `file.*`
    target = ["/tmp/**"]             # globs, any matches; `**` crosses `/`, `*` does not
    target_not = ["/tmp/ok"]         # globs, none may match
    access = ["write"]               # how a file was opened: read, write, read-write
    port_below = 1024                # the port of an internet address
    internet = true                  # an internet address that is not loopback
    bytes_from = 1048576             # at least so many bytes
    failed = true                    # true: all calls failed; false: at least one worked
    errors = ["EPERM"]               # at least one call failed so
    uid = [0]  uid_not = [0]         # the effective uid, where it is known
    detail = { flags = "*NEWUSER*" } # globs on the Action's own keys
    detail_not = { kept = "*" }      # globs, none may match

Every condition of a rule must hold.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from capsule._detail import unpack_detail
from capsule.errors import UsageError
from capsule.events import DetailValue
from capsule.syscalls import KINDS

_ACCESS = {"read": 1, "write": 2, "read-write": 3}
_KEYS = {
    "tag", "why", "kind", "target", "target_not", "access", "port_below", "internet",
    "bytes_from", "failed", "errors", "uid", "uid_not", "detail",
    "detail_not",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, ready to use."""

    tag: str
    why: str
    kinds: frozenset[str]
    target: re.Pattern[bytes] | None = None
    target_not: re.Pattern[bytes] | None = None
    access: frozenset[int] = frozenset()
    port_below: int | None = None
    internet: bool | None = None
    bytes_from: int | None = None
    failed: bool | None = None
    errors: frozenset[bytes] = frozenset()
    uid: frozenset[int] = frozenset()
    uid_not: frozenset[int] = frozenset()
    detail: dict[str, re.Pattern[bytes]] = field(default_factory=dict)
    detail_not: dict[str, re.Pattern[bytes]] = field(default_factory=dict)

    def may_apply(self, target: bytes | None, access: int) -> bool:
        """Say whether the parts that depend on target and access alone hold."""
        if self.target is not None and not (target and self.target.fullmatch(target)):
            return False
        if self.target_not is not None and target and self.target_not.fullmatch(target):
            return False
        if self.access and access not in self.access:
            return False
        if self.port_below is None and self.internet is None:
            return True
        address = internet_address(target)
        if address is None:
            return self.internet is False
        host, port = address
        if self.port_below is not None and not 0 < port < self.port_below:
            return False
        outward = not (host.is_loopback or host.is_unspecified)
        return self.internet is None or self.internet == outward

    def applies(
        self,
        *,
        count: int,
        amount: int,
        errors: dict[bytes, int] | None,
        uid: int,
        detail: bytes | None,
    ) -> bool:
        """Say whether the rest holds for one Action that `may_apply` let through."""
        failures = sum(errors.values()) if errors else 0
        if self.failed is not None and (failures == count) != self.failed:
            return False
        if self.errors and not (errors and self.errors & errors.keys()):
            return False
        if self.bytes_from is not None and amount < self.bytes_from:
            return False
        if self.uid and uid not in self.uid:
            return False
        if self.uid_not and (uid < 0 or uid in self.uid_not):
            return False
        if not (self.detail or self.detail_not):
            return True
        fields = dict(unpack_detail(detail)) if detail else {}

        def has(key: str, pattern: re.Pattern[bytes]) -> bool:
            return key in fields and pattern.fullmatch(_as_text(fields[key])) is not None

        return all(has(*one) for one in self.detail.items()) and not any(
            has(*one) for one in self.detail_not.items()
        )


def _as_text(value: DetailValue) -> bytes:
    if isinstance(value, list):
        return b" ".join(value)
    return value if isinstance(value, bytes) else b"%d" % value


def internet_address(
    target: bytes | None,
) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int] | None:
    """Return host and port of `1.2.3.4:80` or `[::1]:80`; None if it is no such address."""
    if not target:
        return None
    host, _, port = target.rpartition(b":")
    try:
        return ipaddress.ip_address(host.strip(b"[]").decode("ascii")), int(port)
    except ValueError:
        return None


def glob(patterns: list[str]) -> re.Pattern[bytes]:
    """Return globs as one pattern: `**` any text, `*` any without `/`, `?` one character."""
    parts = []
    for pattern in patterns:
        out = ""
        at = 0
        while at < len(pattern):
            if pattern.startswith("**", at):
                out += ".*"
                at += 2
                continue
            letter = pattern[at]
            out += {"*": "[^/]*", "?": "[^/]"}.get(letter) or re.escape(letter)
            at += 1
        parts.append(out)
    return re.compile("|".join(parts).encode(), re.DOTALL)


def parse_rules(text: str, source: str) -> tuple[Rule, ...]:
    """Return the rules of one file. UsageError, with the rule's number, if one is wrong."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source}: not TOML: {error}") from None
    if set(tables) - {"rule"} or not isinstance(tables.get("rule", []), list):
        raise UsageError(f"{source}: only [[rule]] tables are understood")
    return tuple(
        _rule(table, f"{source}: rule {number}")
        for number, table in enumerate(tables.get("rule", []), 1)
    )


def _words(table: dict[str, object], key: str, where: str) -> list[str]:
    value = table.get(key, [])
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise UsageError(f"{where}: {key} must be a text or a list of texts")
    return value


def _numbers(table: dict[str, object], key: str, where: str) -> frozenset[int]:
    value = table.get(key, [])
    value = [value] if isinstance(value, int) else value
    if not isinstance(value, list) or not all(isinstance(number, int) for number in value):
        raise UsageError(f"{where}: {key} must be a number or a list of numbers")
    return frozenset(value)


def _globs(table: dict[str, object], key: str, where: str) -> dict[str, re.Pattern[bytes]]:
    globs = table.get(key, {})
    if not isinstance(globs, dict) or not all(isinstance(v, str) for v in globs.values()):
        raise UsageError(f"{where}: {key} must be a table of globs")
    return {name: glob([value]) for name, value in globs.items()}


def _one(table: dict[str, object], key: str, kind: type, where: str) -> object:
    value = table.get(key)
    if value is not None and type(value) is not kind:
        raise UsageError(f"{where}: {key} must be {kind.__name__}")
    return value


def _rule(table: dict[str, object], where: str) -> Rule:
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise UsageError(f"{where}: unknown key {unknown[0]}")
    tag = table.get("tag")
    if not isinstance(tag, str) or not re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_-]+)+", tag):
        raise UsageError(f"{where}: tag must be a text such as exec.tmp")
    kinds: set[str] = set()
    for word in _words(table, "kind", where):
        found = {kind for kind in KINDS if kind == word or (
            word.endswith(".*") and kind.startswith(word[:-1]))}  # fmt: skip
        if not found:
            raise UsageError(f"{where}: no Action has the kind {word}")
        kinds |= found
    if not kinds:
        raise UsageError(f"{where}: kind is missing")
    access = _words(table, "access", where)
    if set(access) - set(_ACCESS):
        raise UsageError(f"{where}: access is read, write or read-write")
    target, target_not = _words(table, "target", where), _words(table, "target_not", where)
    port = _one(table, "port_below", int, where)
    amount = _one(table, "bytes_from", int, where)
    internet = _one(table, "internet", bool, where)
    failed = _one(table, "failed", bool, where)
    return Rule(
        tag=tag,
        why=str(table.get("why", "")),
        kinds=frozenset(kinds),
        target=glob(target) if target else None,
        target_not=glob(target_not) if target_not else None,
        access=frozenset(_ACCESS[word] for word in access),
        port_below=port if isinstance(port, int) else None,
        internet=internet if isinstance(internet, bool) else None,
        bytes_from=amount if isinstance(amount, int) else None,
        failed=failed if isinstance(failed, bool) else None,
        errors=frozenset(word.encode() for word in _words(table, "errors", where)),
        uid=_numbers(table, "uid", where),
        uid_not=_numbers(table, "uid_not", where),
        detail=_globs(table, "detail", where),
        detail_not=_globs(table, "detail_not", where),
    )


@cache
def shipped_rules() -> tuple[Rule, ...]:
    """Return the rules of the package."""
    text = Path(__file__).with_name("rules.toml").read_text("utf-8")
    return parse_rules(text, "rules.toml")


def load_rules(paths: Iterable[str]) -> tuple[Rule, ...]:
    """Return the shipped rules and those of the files. UsageError if one cannot be used."""
    rules = shipped_rules()
    for path in paths:
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--rules {path}: cannot be read: {error}") from None
        rules += parse_rules(text, path)
    return rules


class Tagger:
    """Rules by kind."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._by_kind: dict[str, list[Rule]] = {}
        for rule in rules:
            for kind in rule.kinds:
                self._by_kind.setdefault(kind, []).append(rule)

    def kinds(self) -> frozenset[str]:
        """Return the kinds that have rules."""
        return frozenset(self._by_kind)

    def candidates(self, kind: str, target: bytes | None, access: int) -> tuple[Rule, ...]:
        """Return the rules that may apply to Actions of this kind, target and access."""
        return tuple(rule for rule in self._by_kind.get(kind, ()) if rule.may_apply(target, access))
