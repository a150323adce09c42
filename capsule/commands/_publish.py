"""The options of `trace` and `import` that say where the run is published."""

from __future__ import annotations

import argparse
from pathlib import Path

from capsule.endpoints import QUEUE, Publish, parse_endpoint, prepare_socket_path
from capsule.errors import UsageError


def add(parser: argparse.ArgumentParser) -> None:
    """Register them."""
    group = parser.add_argument_group("publishing", "see docs/subscribe.md")
    group.add_argument(
        "--publish", metavar="URL", action="append", default=[],
        help="let others follow the run live: ipc://PATH or tcp://HOST:PORT; may be repeated",
    )  # fmt: skip
    group.add_argument(
        "--publish-lossless", action="store_true",
        help="make the target wait for a slow subscriber, instead of letting that one miss some",
    )  # fmt: skip
    group.add_argument(
        "--publish-queue", metavar="N", type=int, default=QUEUE,
        help="messages kept for each slow subscriber (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--authorized-keys", metavar="DIR",
        help="encrypt TCP, and let in only who holds the key to a *.key file in DIR",
    )  # fmt: skip
    group.add_argument(
        "--publish-key", metavar="FILE",
        help="the publisher's secret key (default: what `capsule keygen` made)",
    )  # fmt: skip


def plan(args: argparse.Namespace) -> Publish | None:
    """What the options say, checked as far as it can be before the run; None: not published."""
    if not args.publish:
        for flag in ("publish_lossless", "authorized_keys", "publish_key"):
            if getattr(args, flag):
                raise UsageError(f"--{flag.replace('_', '-')} needs --publish URL")
        return None
    if args.publish_queue < 1:
        raise UsageError(f"--publish-queue {args.publish_queue}: give a number of messages")
    endpoints = tuple(parse_endpoint(url) for url in args.publish)
    for endpoint in endpoints:
        if endpoint.path is not None:
            prepare_socket_path(endpoint.path)
        elif not endpoint.local and not args.authorized_keys:
            raise UsageError(
                f"--publish {endpoint.url} can be reached from other machines, so it is "
                "encrypted and needs --authorized-keys DIR with the subscribers' public keys "
                "(`capsule keygen` makes them); or publish on tcp://127.0.0.1:PORT or ipc://PATH"
            )
    if not args.authorized_keys:
        if args.publish_key:
            raise UsageError("--publish-key needs --authorized-keys DIR")
        return Publish(endpoints, args.publish_lossless, queue=args.publish_queue)
    from capsule import curve

    secret = args.publish_key or f"{curve.default_base()}{curve.SECRET}"
    directory = Path(args.authorized_keys)
    curve.check_authorized(directory)
    return Publish(
        endpoints,
        args.publish_lossless,
        curve.load_pair(Path(secret)),
        directory.absolute(),
        args.publish_queue,
    )
