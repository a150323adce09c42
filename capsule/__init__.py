"""Capsule Runtime: shows what any Linux program really does, and proves it."""

__version__ = "0.1.0"
