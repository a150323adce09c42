"""Options of every command that reads logs: which run, where it is, for people or machines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

from capsule import logdir


def add_run_options(
    parser: argparse.ArgumentParser,
    runs: Literal["one", "latest", "some", "any", "all"],
    *,
    json: str | None = None,
) -> None:
    """Declare RUN, `--log-dir` and, with `json` as its help, `--json`.

    `runs`: "one" has to be named; "latest" is what an unnamed one means; "some" is one or more,
    "any" none or more, "all" takes no name.
    """
    if runs == "one":
        parser.add_argument("log", metavar="RUN", help="a run, its prefix, a file, or latest")
    elif runs == "latest":
        parser.add_argument("log", metavar="RUN", nargs="?",
                            help="a run, its prefix or a file; default: the latest")  # fmt: skip
    elif runs != "all":
        parser.add_argument("logs", metavar="RUN", nargs="+" if runs == "some" else "*",
                            help="runs, their prefixes, files, or latest")  # fmt: skip
    parser.add_argument("--log-dir", metavar="DIR", help="where the runs are")
    if json is not None:
        parser.add_argument("--json", action="store_true", help=json)


def chosen_run(args: argparse.Namespace) -> Path:
    """The log that RUN means. Raises RunNotFound."""
    return logdir.find_run(args.log, logdir.log_dir(args.log_dir))


def chosen_runs(args: argparse.Namespace) -> list[Path]:
    """The logs that RUN… means, the latest when none is named. Raises RunNotFound."""
    directory = logdir.log_dir(args.log_dir)
    return [logdir.find_run(name, directory) for name in args.logs or [None]]
