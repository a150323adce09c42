"""Record the samples beside this file with the strace of this machine.

    python tests/data/parse/record.py [NAME…]

Each is a short real trace of calls.c or the shell. What they hold is checked by
tests/unit/test_parse_samples.py, so look at a new recording before it is committed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
QUIET = "-e trace=!mmap,mprotect,munmap,brk,pread64,arch_prctl,prlimit64,getrandom,rseq,access"

SAMPLES = {
    # name: options, command; `calls` is calls.c
    "base": (f"-f -ttt -s 128 -y {QUIET}", "sh -c 'ls /bin/true | cat; /bin/false'"),
    "thread-execve": (f"-f {QUIET}", "calls thread-execve"),
    "seccomp-kill": ("-f -e trace=prctl,mkdir,exit_group", "calls kill"),
    "seccomp-trap": ("-f -e trace=prctl,mkdir,exit_group,rt_sigreturn", "calls trap"),
    "paths-y": (f"-y {QUIET}", "calls names"),
    "paths-x": (f"-x -y {QUIET}", "calls names"),
    "paths-xx": (f"-xx -y {QUIET}", "calls names"),
    "sockets-yy": (f"-yy {QUIET}", "calls sockets"),
    "devices-yy": ("-yy -e trace=openat,write,dup2", "sh -c 'echo hi >/dev/null'"),
    "odd": ("-e trace=!mprotect", "calls odd"),
    "odd-verbose": ("-X verbose -v -s 8", "calls odd"),
    "odd-raw": ("-e raw=all -e trace=umask,fcntl,write", "calls odd"),
    "restart": (f"-f {QUIET}", "calls restart"),
    "all-prefixes": ("-f -Y -tt -r -T -n -i -y -e trace=openat,execve", "sh -c '/bin/true; true'"),
    "relative": ("-r -T -e trace=openat,close", "calls"),
    "nanoseconds": (
        "--absolute-timestamps=format:unix,precision:ns --syscall-times=ns -e trace=close",
        "calls",
    ),
    "seconds": ("-f --absolute-timestamps=format:unix,precision:s -e trace=close", "calls"),
    "stack": ("-k -e trace=umask", "calls odd"),
    "dump": ("-e write=1 -e trace=write", "calls odd"),
    "summary": ("-C -e trace=umask,close", "calls odd"),
    "summary-columns": ("-c -U name,calls,max-time", "calls odd"),
    "vectors": ("-e write=all -e trace=sendmsg", "calls sockets"),
    "inject": (
        "-e trace=umask,fcntl -e inject=umask:retval=7 -e inject=fcntl:error=EPERM:delay_exit=100",
        "calls odd",
    ),
    "abort": ("-f -e trace=exit_group", "calls abort"),
    "stop": ("-f -e trace=kill,wait4", "calls stop"),
    "pid-namespace": (
        "-f --decode-pids=pidns,comm -e trace=getpid,kill",
        "unshare --pid --fork sh -c 'kill -0 $$'",
    ),
}


def build(where: Path) -> None:
    """Compile calls.c in a directory."""
    subprocess.run(["cc", "-w", "-pthread", "-o", where / "calls", HERE / "calls.c"], check=True)


def record(name: str, where: Path, out: Path) -> None:
    """Record one sample into `out`; `where` has `calls` in it, and is where it runs."""
    options, command = SAMPLES[name]
    subprocess.run(
        ["sh", "-c", f"exec strace {options} -o {out} {command}"],
        cwd=where,
        env={**ENVIRONMENT, "PATH": f"{where}:{ENVIRONMENT['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )


def record_attach() -> None:
    """Attach in the middle of a call, and detach in it."""
    out = HERE / "attach.strace"
    target = subprocess.Popen(["sleep", "1000"])
    tracer = subprocess.Popen(["strace", "-o", out, "-p", str(target.pid)])
    while not (out.exists() and out.stat().st_size):
        time.sleep(0.01)
    tracer.send_signal(signal.SIGINT)
    tracer.wait()
    target.kill()
    target.wait()


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="samples-", dir="/tmp") as directory:
        where = Path(directory)
        build(where)
        for name in names or SAMPLES:
            out = HERE / f"{name}.strace"
            record(name, where, out)
            print(name, out.stat().st_size)
        if not names:
            record_attach()


if __name__ == "__main__":
    main(sys.argv[1:])
