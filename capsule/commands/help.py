"""`capsule help [TOPIC|COMMAND]`: what a person wants to read before, or instead of, the docs."""

from __future__ import annotations

import argparse
import os
import sys


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "help",
        help="explain a topic or a command",
        description="Explain a topic (capsule help lists them) or show a command's options.",
        epilog="The manual page: capsule help --man >~/.local/share/man/man1/capsule.1, then "
        "man capsule.",
    )
    parser.add_argument("topic", metavar="TOPIC", nargs="?", help="a topic or a command")
    parser.add_argument("--man", action="store_true", help="print the manual page (roff)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show what is asked for, through a pager on a terminal."""
    parser, parsers = args.declare()
    if args.man:
        from capsule import __version__
        from capsule.help.man import manual

        sys.stdout.write(manual(parser, parsers, __version__))
        return 0
    show(_overview(parser) if args.topic is None else _explain(args.topic, parsers))
    return 0


def _overview(parser: argparse.ArgumentParser) -> str:
    from capsule.help.topics import topics

    lines = [f"  {name:14} {title}" for name, title in topics().items()]
    return "\n".join([_bold("Topics") + " (capsule help TOPIC):", *lines, "",
                      _bold("Commands") + " (capsule help COMMAND):",
                      *_commands(parser)]) + "\n"  # fmt: skip


def _commands(parser: argparse.ArgumentParser) -> list[str]:
    return [
        f"  {action.dest:14} {action.help}"
        for group in parser._actions
        if isinstance(group, argparse._SubParsersAction)
        for action in group._choices_actions
    ]


def _explain(name: str, parsers: dict[str, argparse.ArgumentParser]) -> str:
    """A command's help, a topic's text, or both where a name is both."""
    import difflib

    from capsule.errors import UsageError
    from capsule.help.topics import ORDER, render

    found = [parsers[name].format_help()] if name in parsers else []
    if name in ORDER:
        found.append(render(name, bold=_bold))
    if not found:
        close = difflib.get_close_matches(name, [*ORDER, *parsers], 1)
        hint = f"did you mean `capsule help {close[0]}`?" if close else "`capsule help` lists them"
        raise UsageError(f"no topic or command {name}; {hint}")
    return "\n".join(found)


def _bold(text: str) -> str:
    from capsule.commands._lines import wants_colour

    # A pager shows it only if it is told to let colours through.
    shown = "R" in os.environ.get("LESS", LESS).upper()
    return f"\x1b[1m{text}\x1b[0m" if shown and wants_colour(sys.stdout) else text


LESS = "FRX"
"""What less is told where the user tells it nothing, as git does: end on one screen, colours."""


def show(text: str) -> None:
    """Print, through $PAGER on a terminal."""
    import pydoc

    if sys.stdout.isatty():
        os.environ.setdefault("LESS", LESS)
        pydoc.pager(text)
    else:
        sys.stdout.write(text)
