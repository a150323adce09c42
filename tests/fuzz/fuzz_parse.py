"""Coverage-guided: the parser and its oracle on the same bytes, in other pieces. See `run`."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris
import orjson

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from capsule._jsonl import jsonl
from capsule._parse import Parser
from tests.parsing import parse
from tests.reference import Reference


def check(data: bytes) -> None:
    """The first bytes say how to cut the rest and how long a line may be."""
    if len(data) < 2:
        return
    step, limit, text = data[0], data[1], data[2:]
    max_line = limit if 0 < limit < 64 else 1 << 28
    wanted = Reference(max_line).parse(text)
    assert parse(text, (), max_line) == wanted
    assert parse(text, range(0, len(text), step + 1), max_line) == wanted
    parser = Parser(max_line=max_line)
    lines = (jsonl(parser.feed(text)) + jsonl(parser.finish())).splitlines()
    assert [orjson.loads(line)["line"] for line in lines] == [event.line for event in wanted]


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
