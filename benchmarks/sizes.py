"""How much an asv run does: CAPSULE_BENCH_SIZE is full, short (if not said) or tiny."""

from __future__ import annotations

import os

from benchmarks.programs import SIZES

SIZE = os.environ.get("CAPSULE_BENCH_SIZE", "short")
if SIZE not in SIZES:
    raise SystemExit(f"CAPSULE_BENCH_SIZE is {SIZE!r}; use one of {', '.join(SIZES)}")

LINES = {"full": 1_000_000, "short": 100_000, "tiny": 1000}[SIZE]
"""Lines of the recorded trace."""

PAIRS = {"full": 5, "short": 3, "tiny": 1}[SIZE]
"""Interleaved pairs of a comparison, of which the median counts."""
