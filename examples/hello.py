#!/usr/bin/env python3
"""A little of everything that Capsule sees; prints the same lines every time.

Reads a file, talks to a socket that it serves itself, forks, executes a program, and gives up
its user id in a child where that is allowed (as root).
"""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

NOBODY = 65534


def fork(work: Callable[[], int]) -> int:
    """Run `work` in a child process; return the child's pid at once."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = work()
        finally:
            os._exit(status)
    return pid


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def read_a_file() -> None:
    first = Path("/etc/passwd").read_text(encoding="utf-8").partition(":")[0]
    print(f"read     /etc/passwd: its first user is {first}")


def talk_to_a_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()

        def client() -> int:
            with socket.create_connection(address) as peer:
                peer.sendall(b"hello\n")
                return 0 if peer.recv(64) == b"HELLO\n" else 1

        pid = fork(client)
        with listener.accept()[0] as peer:
            peer.sendall(peer.recv(64).upper())
        status = wait(pid)
    print(f"connect  127.0.0.1: the child said hello and left with {status}")


def execute_a_program() -> None:
    def echo() -> int:
        return os.execv("/bin/echo", ["echo", "exec     /bin/echo: this line is its own"])

    wait(fork(echo))


def change_uid() -> None:
    def drop() -> int:
        try:
            os.setuid(NOBODY)
        except PermissionError:
            return 1
        return 0

    print("setuid   nobody:", "not allowed" if wait(fork(drop)) else "done, in a child")


if __name__ == "__main__":
    read_a_file()
    talk_to_a_socket()
    execute_a_program()
    change_uid()
