"""The finder of targets; see capsule/_locate.pyx."""

RULES: dict[str, int]
