"""`capsule completion SHELL`: the script that makes a shell complete capsule's words."""

from __future__ import annotations

import argparse

SHELLS = ("bash", "zsh", "fish")


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "completion",
        help="print a shell's completion script",
        description="Print the script that completes capsule's words in SHELL.",
        epilog="bash: capsule completion bash >~/.local/share/bash-completion/completions/capsule. "
        "zsh: into a file _capsule on fpath. "
        "fish: capsule completion fish >~/.config/fish/completions/capsule.fish.",
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import shtab

    parser, _ = args.declare()
    print(shtab.complete(parser, shell=args.shell))
    return 0
