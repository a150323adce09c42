"""Benchmarks: asv classes, the table of goals, and the check of instruction counts (README.md)."""

import sys
from pathlib import Path

# This tree's capsule is measured, not one that is installed; asv starts us from elsewhere.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
