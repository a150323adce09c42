"""docs/parser.md says what the parser does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from capsule._jsonl import jsonl
from capsule._parse import Parser

DOC = (Path(__file__).resolve().parents[2] / "docs/parser.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```strace\n(.*?)```\n\n```json\n(.*?)```", DOC, re.DOTALL)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize(("text", "lines"), EXAMPLES)
def test_an_example_is_true(text: str, lines: str) -> None:
    parser = Parser()
    assert (jsonl(parser.feed(text.encode())) + jsonl(parser.finish())).decode() == lines
