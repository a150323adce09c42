"""One small module a command: `add(subparsers)` declares it, `run(args) -> int` does it."""
