"""Benchmarks: asv classes, the table of goals, and the check of instruction counts (README.md)."""
