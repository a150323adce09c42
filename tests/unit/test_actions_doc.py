"""docs/actions.md names every kind, key and tag there is, and none that is not."""

from __future__ import annotations

import re
from pathlib import Path

from capsule.events import DETAIL_KEYS
from capsule.syscalls import IMMEDIATE, KINDS, table
from capsule.tags import shipped_rules

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "actions.md"


def rows(title: str) -> list[list[str]]:
    section = re.split(r"^## ", DOCUMENT.read_text("utf-8"), flags=re.MULTILINE)
    (found,) = (text for text in section if text.startswith(title + "\n"))
    lines = [line for line in found.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_kind_with_its_calls() -> None:
    kinds = {row[0].strip("` "): row for row in rows("Kinds")}
    assert sorted(kinds) == sorted(KINDS)
    assert {kind for kind, row in kinds.items() if row[1].startswith("yes")} == IMMEDIATE
    for call in table():
        assert "#" in call.name or f"`{call.name}`" in kinds[call.kind][-1]


def test_every_detail_in_its_order() -> None:
    assert [row[0].strip("` ") for row in rows("Details")] == list(DETAIL_KEYS)


def test_every_tag() -> None:
    assert [row[0].strip("` ") for row in rows("Tags")] == [rule.tag for rule in shipped_rules()]
