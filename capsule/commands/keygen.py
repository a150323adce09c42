"""`capsule keygen`: a key pair for publishing to, or subscribing from, other machines."""

from __future__ import annotations

import argparse
from pathlib import Path

from capsule import curve


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "keygen",
        help="make a key pair for publishing over TCP",
        description="Make a CURVE key pair. FILE.key is public: a publisher puts a "
        "subscriber's into its --authorized-keys directory, a subscriber names the publisher's "
        "with --server-key. FILE.key_secret stays here.",
    )
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help=f"without a suffix; default: {curve.default_base()}"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write both files and say where they are."""
    public, secret = curve.make_keys(Path(args.file) if args.file else curve.default_base())
    print(f"public key: {public}\nsecret key: {secret}\nkey:        {_text(public)}")
    return 0


def _text(public: Path) -> str:
    return curve.load_public(str(public)).decode()
