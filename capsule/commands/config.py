"""`capsule config`: what every option is without a flag, and where that comes from."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "config",
        help="show where each option's value comes from",
        description="Show what options have from the environment and the configuration file. "
        "Flags win over the environment, and that over the file.",
    )
    parser.add_argument("--all", action="store_true", help="the defaults too")
    parser.add_argument("--json", action="store_true", help="as one JSON list")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from capsule.config import SHARED, config_path, configure, load
    from capsule.errors import UsageError

    path = config_path(os.environ)
    config = load(path)
    _, parsers = args.declare()
    for key in config:
        if key not in parsers and key not in SHARED:
            raise UsageError(f"{path}: {key}: no such command; known are {', '.join(parsers)}")
    settings = [
        setting
        for name, parser in parsers.items()
        for setting in configure(parser, name, config, os.environ)
        if args.all or setting.source != "default"
    ]
    if args.json:
        print(json.dumps([dataclasses.asdict(s) for s in settings], indent=2, default=str))
        return 0
    print(f"{path}{'' if path.exists() else ' (not there)'}")
    for setting in settings:
        print(f"{setting.command:10} --{setting.option:18} {setting.value!s:24} {setting.source}")
    return 0
