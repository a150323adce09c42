"""`capsule watch`: a run on a terminal, live. See docs/watch.md."""
