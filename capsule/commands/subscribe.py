"""`capsule subscribe URL [TOPIC…]`: a published run's records, live."""

from __future__ import annotations

import argparse
import sys

from capsule.commands.tail import Printer
from capsule.errors import CapsuleError
from capsule.reassemble import Ended, Gap, Record
from capsule.streamverify import Checked, StreamVerifier
from capsule.subscriber import Silent, Subscription, subscribe
from capsule.verify import Verdict

INCOMPLETE = 3
PATIENCE_S = 3.0
"""How long nothing is heard at first until the user is told that we are waiting."""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "subscribe",
        help="follow a run that is published with --publish",
        description="Print the records of a run as they are logged, until it ends. TOPIC is a "
        "prefix: action.net, action.proc.exec, gap, event.openat; without one, every record.",
        epilog="exit status: 0 the run has ended and nothing is missing; 3 it was cut off, or "
        "records are missing; with --verify, 1 TAMPERED.",
    )
    parser.spill = "topics"  # type: ignore[attr-defined]
    parser.add_argument("url", metavar="URL", help="ipc://PATH or tcp://HOST:PORT")
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help="what to print")
    parser.add_argument("--json", action="store_true", help="the records' exact lines")
    parser.add_argument("--verify", action="store_true",
                        help="check the chain and the signatures of what comes")  # fmt: skip
    parser.add_argument("--from-start", action="store_true",
                        help="begin with what is in the log already")  # fmt: skip
    parser.add_argument("--log", metavar="FILE",
                        help="the run's log, if it is not where the publisher says")  # fmt: skip
    parser.add_argument("--server-key", metavar="KEY|FILE", help="the publisher's public key")
    parser.add_argument("--key", metavar="FILE",
                        help="our secret key (default: what `capsule keygen` made)")  # fmt: skip
    parser.add_argument("--timeout", metavar="SECONDS", type=float,
                        help="give up when no publisher is heard for so long")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print until the run ends; the exit status."""
    # Verifying takes every record, whatever is printed.
    wanted = () if args.verify else tuple(args.topics)
    if args.verify and any(topic.startswith("event") for topic in args.topics):
        raise CapsuleError("events are not in the log's chain; subscribe to them without --verify")
    with subscribe(
        args.url, wanted, from_start=args.from_start, log=args.log, key=args.key,
        server_key=args.server_key,
    ) as stream:  # fmt: skip
        out = Output(tuple(args.topics), json=args.json, verify=args.verify)
        try:
            _await(stream, args.timeout, out)
            _follow(stream, out)
        except Silent as error:
            _say(str(error))
        except KeyboardInterrupt:
            out.flush()
            return 128 + 2
        out.flush()
        return out.result(stream)


def _await(stream: Subscription, timeout_s: float | None, out: Output) -> None:
    """Wait for the publisher's first word."""
    patience_s = PATIENCE_S if timeout_s is None else min(PATIENCE_S, timeout_s)
    item = stream.poll(patience_s)
    if item is None and not stream.heard:
        if timeout_s is None or timeout_s > patience_s:
            _say(f"nothing is heard from {stream.url} yet; waiting")
            item = stream.poll(None if timeout_s is None else timeout_s - patience_s)
        if item is None and not stream.heard:
            raise CapsuleError(f"nothing is published on {stream.url}, or not to us")
    if item is not None:
        out.take(item)


def _follow(stream: Subscription, out: Output) -> None:
    while stream.ended is None:
        item = stream.poll()
        if item is None:
            out.flush()
            item = stream.poll(None)
        if item is not None:
            out.take(item)


class Output:
    """Prints what comes and remembers what was wrong."""

    def __init__(self, topics: tuple[str, ...], *, json: bool, verify: bool) -> None:
        self._topics = topics
        self._printer = Printer(json=json, live=True)
        self._verifier = StreamVerifier() if verify else None
        self.is_bad = False

    def take(self, item: Record | Gap | Ended) -> None:
        """Print a record; say of a gap on stderr."""
        if isinstance(item, Gap):
            self._gap(item)
        elif isinstance(item, Record):
            if self._verifier is not None and not self.is_bad and not self._verifier.feed(item):
                self.is_bad = True
                self.flush()
                _say(f"TAMPERED: {self._verifier.result(None).reason}")
            if not self._topics or f"{item.topic} ".startswith(self._topics):
                self._print(item)

    def _print(self, record: Record) -> None:
        if record.topic.startswith("event."):
            sys.stdout.buffer.write(record.line + b"\n")
        else:
            self._printer.print([record.line])

    def _gap(self, gap: Gap) -> None:
        self.flush()
        count = "an unknown number" if gap.count is None else f"{gap.count:,}"
        where = f"before record {gap.before}"
        if gap.filled:
            _say(f"{count} missed {where}, read from the log")
            return
        if self._verifier is not None:
            self._verifier.skip()
        _say(f"{count} missed {where}; they are not here, and the log is out of reach")

    def flush(self) -> None:
        """Let the reader see it now."""
        sys.stdout.buffer.flush()

    def result(self, stream: Subscription) -> int:
        """Say how it ended; the exit status."""
        ended = stream.ended
        if ended is not None and not ended.complete:
            _say(f"the run was cut off: {ended.why}")
        if self._verifier is not None:
            checked = self._verifier.result(ended)
            _say(_verdict(checked))
            return int(checked.verdict)
        return 0 if ended is not None and ended.complete and not stream.lost else INCOMPLETE


def _verdict(checked: Checked) -> str:
    word = {
        Verdict.INTACT: "intact and complete",
        Verdict.TAMPERED: "TAMPERED",
        Verdict.INCOMPLETE: "INCOMPLETE",
    }[checked.verdict]
    if checked.first_seq is None:
        return f"{word}: no record came"
    through = checked.authenticated_through
    return (
        f"records {checked.first_seq} to {checked.last_seq}: {word}"
        + (f" ({checked.reason})" if checked.reason else "")
        + f"; authenticated through {'nothing' if through is None else through}"
        + f"; head {checked.head}"
    )


def _say(text: str) -> None:
    print(f"capsule: {text}", file=sys.stderr, flush=True)
