"""The command line: finds the command, maps errors to exit codes, and does nothing else."""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn, TextIO

from capsule import __version__
from capsule.config import config_path, configure, load
from capsule.errors import CapsuleError, UsageError

COMMANDS = {
    "trace": "capsule.commands.trace",
    "run": "capsule.commands.run",
    "import": "capsule.commands.import_",
    "parse": "capsule.commands.parse",
    "tail": "capsule.commands.tail",
    "watch": "capsule.commands.watch",
    "runs": "capsule.commands.runs",
    "rm": "capsule.commands.rm",
    "show": "capsule.commands.show",
    "tree": "capsule.commands.tree",
    "summary": "capsule.commands.summary",
    "verify": "capsule.commands.verify",
    "profile": "capsule.commands.profile",
    "check": "capsule.commands.check",
    "diff": "capsule.commands.diff",
    "query": "capsule.commands.query",
    "export": "capsule.commands.export",
    "report": "capsule.commands.report",
    "subscribe": "capsule.commands.subscribe",
    "keygen": "capsule.commands.keygen",
    "doctor": "capsule.commands.doctor",
    "config": "capsule.commands.config",
    "completion": "capsule.commands.completion",
    "help": "capsule.commands.help",
}
"""Command → the module that declares (`add`) and does (`run`) it, in the order of the help."""


class ArgumentParser(argparse.ArgumentParser):
    """argparse's, but a command answers for its own words and may choose the exit status."""

    usage_status = 2
    spill: str | None = None
    """The list that takes words after an option, which argparse's nargs="*" leaves over."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As the base; but what is unknown is an error here, with this command's usage."""
        found, unknown = super().parse_known_args(args, namespace)
        if self.spill is not None and not any(word.startswith("-") for word in unknown):
            getattr(found, self.spill).extend(unknown)
            unknown = []
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(self.usage_status, f"{self.prog}: {message}\n")


def build_parser(commands: Sequence[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """The parser for `commands`; a run needs one of them, the help all."""
    return _declare(commands)[0]


def _declare(
    commands: Sequence[str] = tuple(COMMANDS),
) -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """The parser, and that of each of `commands`. Commands get at it as `args.declare`."""
    parser = ArgumentParser(
        prog="capsule",
        description="Show what a Linux program really does, and prove it.",
        epilog="capsule help lists topics, capsule COMMAND --help tells more. Logs are in "
        "/tmp/capsule-<uid>/ unless --log-dir or CAPSULE_LOG_DIR says otherwise.",
    )
    parser.add_argument("--version", action="version", version=f"capsule {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in commands:
        importlib.import_module(COMMANDS[name]).add(subparsers)
    parser.set_defaults(declare=_declare)
    return parser, subparsers.choices


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """The words as the command's options, with what the environment and the file have set."""
    if not words or words[0] not in COMMANDS:
        return build_parser().parse_args(words)
    command = words[0]
    parser, choices = _declare([command])
    if command != "config":  # which shows a broken file rather than failing on it
        config = load(config_path(os.environ))
        try:
            configure(choices[command], command, config, os.environ)
        except UsageError as error:
            choices[command].error(str(error))
    return parser.parse_args(words)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Only here do errors become messages."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        system = os.uname()
        if system.sysname != "Linux" or system.machine != "x86_64":
            here = f"{system.sysname} on {system.machine}"
            raise CapsuleError(f"Capsule needs Linux on x86-64, and this is {here}")
        gc.disable()  # it would only slow down what is imported now
        try:
            args = _parse(words)
        finally:
            gc.enable()
        status: int = args.run(args)
        if sys.stdout is not None:  # it came closed
            sys.stdout.flush()
    except CapsuleError as error:
        _complain(str(error))
        return error.exit_status
    except BrokenPipeError:
        # The reader of our output has had enough; that is no failure of ours.
        _give_up(sys.stdout)
        return 0
    except OSError as error:
        _give_up(sys.stdout)
        _complain(f"{error.filename or 'the output'}: {error.strerror or error}")
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
        except OSError:
            _give_up(sys.stderr)  # Python 3.11.2 would exit with 120
    return status


def _complain(text: str) -> None:
    with suppress(OSError):  # where stderr cannot be written to, the status has to do
        print(f"capsule: {text}", file=sys.stderr, flush=True)


def _give_up(stream: TextIO | None) -> None:
    """What is still to be flushed at the end goes nowhere, without another error."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
