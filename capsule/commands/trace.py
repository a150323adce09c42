"""`capsule trace [--] CMD…`: run a program (or attach to one) and log all it does."""

from __future__ import annotations

import argparse
import errno
import os
import resource
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from capsule.commands import _finish, _logoptions, _publish, _status
from capsule.errors import CapsuleError, TraceFailed, UsageError
from capsule.filtered import NO_NEW_PRIVS_BEFORE, FilteredRun, check_filter
from capsule.gate import Command, find_user
from capsule.logdir import log_dir, new_run_id, open_log_dir
from capsule.pipeline import Pipeline
from capsule.placement import ANYWHERE, Placement, on_one_cpu, stages_on_one_cpu
from capsule.proclimit import UNLIMITED, ProcLimit, limit_processes
from capsule.start import start_record
from capsule.supervise import Outcome, block_signals
from capsule.target import TracedRun
from capsule.topology import Plan
from capsule.tracer import (
    filtered_argv,
    find_strace,
    looks_like_text,
    open_trace_pipe,
    resolve_command,
    strace_argv,
)

MAX_PID = 1 << 22
"""proc_sys_kernel(5): the highest pid_max."""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "trace",
        help="run a command and log what it does",
        usage="capsule trace [options] [--] COMMAND [ARG…]\n       capsule trace [options] -p PID",
        description="Run COMMAND unaltered, follow all it starts, and write a verifiable log.",
        epilog="Exit status: the command's own; 128+N when signal N killed it; 127 not found, "
        "126 not executable, 125 when Capsule itself failed.",
    )
    parser.usage_status = 125  # type: ignore[attr-defined]
    parser.add_argument(
        "-p",
        "--pid",
        action="append",
        type=_pid,
        default=[],
        help="attach to this running process instead (repeatable); Ctrl-C lets go of it",
    )
    parser.add_argument(
        "--syscalls",
        metavar="SET",
        default="all",
        help="trace only these, which is faster: security, network, file, process, or a list as "
        "strace -e trace= takes it (default: all; allow-lists need all)",
    )
    add_command_options(parser)
    parser.set_defaults(run=run)


def add_command_options(parser: argparse.ArgumentParser) -> None:
    """The options of a command that runs another under trace, and that command."""
    parser.add_argument(
        "--detach-on-exit",
        action="store_true",
        help="stop following what COMMAND left running once it has ended itself",
    )
    parser.add_argument(
        "-u",
        "--user",
        "--log-user",
        metavar="USER",
        help="as root: run COMMAND as USER, who can touch neither the log nor Capsule",
    )
    parser.add_argument(
        "--pin",
        choices=("stages", "auto", "off"),
        default="stages",
        help="stages: Capsule's own processes share one CPU; auto: strace and COMMAND share one "
        "too, mostly twice as fast, but COMMAND sees that it has only one (default: stages)",
    )
    parser.add_argument(
        "--max-procs",
        metavar="N",
        type=_positive,
        help="let COMMAND have at most N processes and threads at once",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no summary at the end")
    parser.add_argument("--summary", metavar="FILE", help="write the summary to FILE as JSON")
    parser.add_argument(
        "--status-fd",
        metavar="N",
        type=int,
        help="tell how the run goes on this descriptor, as JSON lines, and nothing on stderr",
    )
    parser.add_argument(
        "--hash-exe", action="store_true", help="record the BLAKE3 of every program that is run"
    )
    add_log_options(parser)
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _pid(text: str) -> int:
    pid = int(text)
    if not 0 < pid <= MAX_PID:
        raise argparse.ArgumentTypeError(f"no such process: {pid}")
    return pid


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """The options that say where and how the log is written."""
    parser.add_argument("--log-dir", metavar="DIR", help="where logs are kept (0700, yours)")
    parser.add_argument(
        "--fsync",
        choices=("always", "checkpoint", "never"),
        default="checkpoint",
        help="when the log is forced to disk (default: at each checkpoint)",
    )
    parser.add_argument(
        "--keep-raw",
        action="store_true",
        help="store strace's own lines too, compressed, for `capsule show`",
    )
    parser.add_argument(
        "--rules",
        metavar="FILE",
        action="append",
        default=[],
        help="more tag rules (TOML; docs/actions.md), repeatable",
    )
    parser.add_argument(
        "--no-redact",
        action="store_true",
        help="record secrets in command lines as they are, not as [redacted]",
    )
    _logoptions.add(parser)
    _publish.add(parser)


def told(args: argparse.Namespace) -> dict[str, Any]:
    """What `add_log_options` tells the stages. UsageError if a rule file cannot be used."""
    rules = tuple(os.path.abspath(path) for path in args.rules)
    if rules:
        from capsule.tags import load_rules

        load_rules(rules)
    return {
        "rules": rules,
        "redact": not args.no_redact,
        **_logoptions.told(args),
        "publish": _publish.plan(args),
    }


def run(args: argparse.Namespace) -> int:
    words = command_words(args)
    with trace_failures():
        tell_there(args)
        if bool(words) == bool(args.pid):
            raise UsageError("give either a command or -p PID; see capsule trace --help")
        return trace(args, words)


def command_words(args: argparse.Namespace) -> list[bytes]:
    """The command to run, as the kernel takes it."""
    words = args.words[1:] if args.words[:1] == ["--"] else args.words
    return [os.fsencode(word) for word in words]


def tell_there(args: argparse.Namespace) -> None:
    """Have what Capsule says go where --status-fd says. UsageError if it is not open."""
    if args.status_fd is not None:
        _logoptions.check_fd("--status-fd", args.status_fd)
        _status.redirect(args.status_fd)


@contextmanager
def trace_failures() -> Iterator[None]:
    """Whatever goes wrong in here is a failure of Capsule itself: status 125."""
    try:
        yield
    except CapsuleError as error:
        raise TraceFailed(str(error)) from error
    except (OSError, MemoryError) as error:
        raise TraceFailed(too_little(error)) from error


def die_of(signo: int) -> None:
    """End as the target did, by the terminal's Ctrl-C: else a shell's script would go on."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signo, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signo})
    os.kill(os.getpid(), signo)


def occupy_standard_fds() -> None:
    """Where one of 0, 1, 2 came closed, keep our own files off it; the target gets it closed."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free one, and close-on-exec


def too_little(error: OSError | MemoryError) -> str:
    """One line for what the system would not give."""
    if isinstance(error, MemoryError):
        return "out of memory (ulimit -v)"
    where = f": {error.filename}" if error.filename else ""
    limits = {
        errno.EMFILE: "; allow more open files (ulimit -n)",
        errno.ENFILE: "; the system has too many open files",
        errno.EAGAIN: "; allow more processes (ulimit -u)",
        errno.ENOMEM: "; out of memory (ulimit -v)",
    }
    return f"{error.strerror or error}{where}{limits.get(error.errno or 0, '')}"


def _placement(pin: str) -> Placement:
    available = os.sched_getaffinity(0)
    if pin == "auto":
        return on_one_cpu(available)
    return stages_on_one_cpu(available, os.getpid()) if pin == "stages" else ANYWHERE


def trace(
    args: argparse.Namespace,
    argv: list[bytes],
    *,
    traced: Callable[..., TracedRun] = TracedRun,
    told_before: Mapping[str, object] = MappingProxyType({}),
    done: Callable[[Outcome, Path], None] = lambda outcome, log: None,
) -> int:
    """Run `argv`, or attach, as the options say, by `traced`.

    `told_before` goes into the log's start record; `done` is called before the summary is given.
    """
    occupy_standard_fds()
    strace = find_strace()
    filtered = args.syscalls != "all"
    if filtered and (args.pid or args.detach_on_exit or args.user is not None):
        raise UsageError("--syscalls goes with none of -p, --detach-on-exit and --log-user")
    if args.max_procs and (args.pid or filtered):
        raise UsageError("--max-procs goes with neither -p nor --syscalls")
    if args.pin == "auto" and args.pid:
        raise UsageError("--pin auto goes with a command, not with -p")
    if args.user is not None and args.pid:
        raise UsageError("--log-user goes with a command, not with -p")
    user = None if args.user is None else find_user(args.user)
    command = None
    if argv:
        try:
            command = resolve(argv)
        except OSError as error:
            return cannot_run(error.errno or errno.ENOENT, argv)
    _finish.try_summary(args.summary)
    directory = open_log_dir(log_dir(args.log_dir))
    run_id = new_run_id()
    options = strace_argv(strace, "PIPE", args.pid, detachable=not command or args.detach_on_exit)
    if filtered:
        check_filter(strace, args.syscalls)
        options = filtered_argv(strace, "PIPE", args.syscalls, detached=True)
        if strace.version < NO_NEW_PRIVS_BEFORE and not args.quiet:
            _finish.say(
                f"note: strace {strace.version_text} with --syscalls sets no_new_privs: "
                "setuid programs run without their privilege"
            )
    details: dict[str, object] = {
        "syscalls": args.syscalls,
        "strace": {"version": strace.version_text, "argv": options},
    }
    details.update(told_before)
    if user is not None:
        details["user"] = {"name": user.name, "uid": user.uid, "gid": user.gid}
    if args.pid:
        details["attached"] = args.pid
    proc_limit: ProcLimit = UNLIMITED
    if args.max_procs:
        uid = user.uid if user is not None else os.getuid()
        proc_limit = limit_processes(run_id, args.max_procs, user=uid)
        details["max_procs"] = {"count": args.max_procs, "by": proc_limit.by}
        if not args.quiet:
            _finish.say(f"note: --max-procs is held by {proc_limit.by}")
    signals, mask = block_signals()
    trace_pipe = open_trace_pipe()
    plan = Plan(
        source=trace_pipe[0],
        log_path=directory / f"{run_id}.jsonl",
        start=start_record(run_id, argv, **details),
        live=True,
        gated=command is not None and not filtered,
        fsync=args.fsync,
        keep_raw=args.keep_raw,
        hash_exe=args.hash_exe,
        **told(args),
    )
    _status.tell({"run": run_id, "log": os.path.abspath(plan.log_path)})
    traced_run = partial(FilteredRun, syscalls=args.syscalls) if filtered else traced
    try:
        outcome = traced_run(
            Pipeline(plan),
            signals,
            strace,
            trace_pipe,
            command=replace(command, mask=mask, user=user) if command else None,
            pids=args.pid,
            detach_on_exit=args.detach_on_exit,
            proc_limit=proc_limit,
            keep_fds=() if args.status_fd is None else (args.status_fd,),
            placement=_placement(args.pin),
        ).run()
    finally:
        proc_limit.close()
    if outcome.exec_errno is not None:
        cannot_run(outcome.exec_errno, argv)
    done(outcome, plan.log_path)
    finish(args, outcome, plan.log_path)
    if outcome.interrupted_by is not None:
        die_of(outcome.interrupted_by)
    return outcome.status


def finish(args: argparse.Namespace, outcome: Outcome, log_path: Path) -> None:
    """Tell the user how it ended, as the options ask."""
    facts = _finish.summary(outcome, log_path)
    if outcome.failure is not None and args.quiet:
        _finish.say(outcome.failure)
    if not args.quiet:
        _finish.print_summary(facts)
    if args.summary:
        _finish.write_summary(facts, args.summary)
    _status.tell({"summary": facts})


def resolve(argv: list[bytes]) -> Command:
    """What `argv` runs, with the environment as given. Raises OSError as execvp(3) would."""
    # Python may have changed os.environ's locale (PEP 538); the kernel's copy is as given.
    env = [entry for entry in Path("/proc/self/environ").read_bytes().split(b"\0") if entry]
    search = next((e[5:] for e in env if e.startswith(b"PATH=")), b"/bin:/usr/bin")
    path = resolve_command(argv[0], search)
    return Command(path, argv, env, script=looks_like_text(path))


def cannot_run(code: int, argv: list[bytes]) -> int:
    """Say why the command could not be run; 127 when there is none of that name, else 126."""
    name = os.fsdecode(argv[0])
    missing = code == errno.ENOENT
    text = "command not found" if missing else f"cannot execute: {os.strerror(code)}"
    if missing and os.path.exists(argv[0]):
        text = "cannot execute: the interpreter that its first line names is missing"
    _finish.say(f"{name}: {text}")
    return 127 if missing else 126
