"""What some writers can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """`table`: which one, of csv and parquet. `key`: the PEM file that signs a statement."""

    table: str = "actions"
    key: Path | None = None
