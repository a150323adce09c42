"""Attacks the Capsule that traces it, as a program of the same user can. Prints what worked.

attack.py look             what of ours it can read, open, ptrace or connect to
attack.py SIGNAL NAME      sends SIGNAL to supervisor, strace, or a stage; then runs on
attack.py log HOW PATH     unlink, replace, append, truncate, overwrite the log; then runs on
"""

import ctypes
import glob
import os
import re
import signal
import socket
import sys
from pathlib import Path


def status(pid: int | str, key: str) -> int:
    return int(re.search(rf"^{key}:\s*(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)[1])


def ours() -> dict[str, int]:
    """The supervisor, strace and the stages, by name."""
    supervisor = os.getppid()
    found = {"supervisor": supervisor, "strace": status("self", "TracerPid")}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                comm = (entry / "comm").read_text().strip()
                if comm.startswith("capsule-") and status(entry.name, "PPid") == supervisor:
                    found[comm.removeprefix("capsule-")] = int(entry.name)
            except OSError:
                continue
    return found


def tries(pid: int) -> list[str]:
    worked = []
    for name, flags in (("mem", os.O_RDWR), ("environ", os.O_RDONLY), ("maps", os.O_RDONLY)):
        try:
            fd = os.open(f"/proc/{pid}/{name}", flags)
            if name == "mem" or os.read(fd, 1):
                worked.append(name)
        except OSError:
            pass
    for fd in range(64):
        try:
            os.open(f"/proc/{pid}/fd/{fd}", os.O_WRONLY)
            worked.append(f"fd {fd}")
        except OSError:
            pass
    libc = ctypes.CDLL(None)
    for name, request in (("attach", 16), ("seize", 0x4206)):
        if libc.ptrace(request, pid, 0, 0) == 0:
            worked.append(f"ptrace {name}")
    local, remote = ctypes.create_string_buffer(1), (ctypes.c_void_p(0x400000), ctypes.c_size_t(1))
    here = (ctypes.c_void_p * 2)(ctypes.addressof(local), 1)
    there = (ctypes.c_void_p * 2)(remote[0].value, 1)
    if libc.process_vm_readv(pid, here, 1, there, 1, 0) >= 0:
        worked.append("process_vm_readv")
    return worked


def look() -> None:
    for name, pid in sorted(ours().items()):
        for what in tries(pid):
            print(f"{name}: {what}")
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        path = line.split()[7] if len(line.split()) > 7 else ""
        if "/capsule-" in path:
            try:
                socket.socket(socket.AF_UNIX).connect(path)
                print(f"connected to {path}")
            except OSError:
                pass
    for place in (os.environ.get("TMPDIR", "/tmp"), "/tmp"):
        for path in glob.glob(f"{place}/capsule-*/[0-9]"):
            print(f"socket left: {path}")


def change(how: str, path: str) -> None:
    if how == "unlink":
        os.unlink(path)
    elif how == "replace":
        Path(path + ".new").write_bytes(Path(path).read_bytes())
        os.replace(path + ".new", path)
    elif how == "append":
        with open(path, "ab") as file:
            file.write(b'{"forged":true}\n')
    elif how == "truncate":
        os.truncate(path, os.path.getsize(path) // 2)
    elif how == "overwrite":
        with open(path, "r+b") as file:
            file.seek(200)
            file.write(b"FORGED")
        sys.exit(0)  # no size and no name has changed: this is for verify to find


def run_on() -> None:
    """Seen work for ever: a log that is checked at all is checked during it."""
    while True:
        with open("/etc/hostname", "rb") as file:
            file.read()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["look"]:
            look()
        case ["log", how, path]:
            change(how, path)
            run_on()
        case [signo, name]:
            os.kill(ours()[name], signal.Signals[signo])
            run_on()
