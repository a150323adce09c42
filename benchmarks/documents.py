"""Puts what a benchmark found into a document, between its marks."""

from __future__ import annotations

from benchmarks.programs import REPO


def put(document: str, name: str, text: str) -> None:
    """Replace what docs/<document>.md has between `<!-- name -->` and `<!-- end of name -->`."""
    path = REPO / "docs" / f"{document}.md"
    before, first, rest = path.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    _, last, after = rest.partition(f"<!-- end of {name} -->\n")
    if not (first and last):
        raise SystemExit(f"{path} has no marks for {name}")
    path.write_text(f"{before}{first}{text}\n{last}{after}", encoding="utf-8")
