"""`capsule run --no-trace`: confinement alone."""

from __future__ import annotations

import argparse
import errno
import os
from dataclasses import replace

from capsule.commands import _finish
from capsule.commands import trace as tracing
from capsule.enforce.confinement import Confinement
from capsule.enforce.untraced import Ended, UntracedRun
from capsule.errors import TraceFailed
from capsule.gate import find_user
from capsule.logdir import new_run_id
from capsule.proclimit import UNLIMITED, limit_processes
from capsule.supervise import block_signals


def run_untraced(args: argparse.Namespace, words: list[bytes], confinement: Confinement) -> int:
    """Run the command; its status."""
    tracing.occupy_standard_fds()
    user = None if args.user is None else find_user(args.user)
    try:
        command = tracing.resolve(words)
    except OSError as error:
        return tracing.cannot_run(error.errno or errno.ENOENT, words)
    _finish.try_summary(args.summary)
    proc_limit = UNLIMITED if not args.max_procs else limit_processes(
        new_run_id(), args.max_procs, user=os.getuid() if user is None else user.uid
    )  # fmt: skip
    signals, mask = block_signals()
    run = UntracedRun(
        signals,
        replace(command, mask=mask, user=user),
        confinement,
        proc_limit=proc_limit,
        timeout_s=args.timeout,
        detach_on_exit=args.detach_on_exit,
    )
    try:
        ended = run.run()
    finally:
        proc_limit.close()
    if ended.failure is not None:
        raise TraceFailed(ended.failure)
    _tell(args, words, ended, run)
    if ended.interrupted_by is not None:
        tracing.die_of(ended.interrupted_by)
    return ended.status


def _tell(args: argparse.Namespace, words: list[bytes], ended: Ended, run: UntracedRun) -> None:
    if ended.exec_errno is not None:
        tracing.cannot_run(ended.exec_errno, words)
    if ended.timed_out and not args.quiet:
        _finish.say(f"killed after {args.timeout:g} s (--timeout)")
    complaints = run.listener.finish() if run.listener is not None else []
    if not args.quiet:
        for (kind, what), count in complaints:
            _finish.say(f"would be denied: {kind} {what}, {count:,} x: no {kind} rule allows it")
    if args.summary:
        enforced = {**run.confinement.facts, "set": run.confinement.is_set()}
        if run.listener is not None:
            enforced["complaints"] = [[*key, count] for key, count in complaints]
        _finish.write_summary(
            {"status": ended.status, "timed_out": ended.timed_out, "enforced": enforced},
            args.summary,
        )
