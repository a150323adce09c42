"""Tasks, targets and calls as the enricher's loop holds them; see capsule/_facts.pyx."""

from typing import Any

class Fs:
    """What CLONE_FS shares: working directory, root and umask; None is not known."""

    cwd: bytes | None
    root: bytes | None
    umask: int | None
    def __init__(
        self, cwd: bytes | None = None, root: bytes | None = None, umask: int | None = None
    ) -> None: ...
    def copy(self) -> Fs:
        """Return a copy that changes by itself."""

class Task:
    """One thread of execution (a pid of the trace) and what it may share with others."""

    tid: int
    proc: int
    process: Any
    fs: Fs
    files: Any
    def __init__(self, tid: int, process: Any, fs: Fs, files: Any) -> None: ...

class Target:
    """What a call acts on: its text (None: nothing), what class of object it is (0 file, 1 pipe
    or the like, 2 socket), how it was opened (1 read, 2 write, 3 both), a packed detail."""

    text: bytes | None
    cls: int
    access: int
    create: bool
    detail: bytes
    def __init__(
        self,
        text: bytes | None,
        cls: int = 0,
        access: int = 0,
        create: bool = False,
        detail: bytes = b"",
    ) -> None: ...

class Call:
    """One event, taken apart for the rules. `retval` None: no integer, or no result."""

    line: int
    ts_ns: int
    pid: int
    kind: int
    flags: int
    name_id: int
    retval: int | None
    name: bytes
    error: bytes | None
    ret: bytes
    text: bytes | None
    args: list[bytes]
