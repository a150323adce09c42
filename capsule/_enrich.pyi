"""The enricher's inner loop; see capsule/_enrich.pyx."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from capsule.syscalls import Row

RULES: dict[str, int]
AMOUNTS: dict[str, int]

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

class FactLoop:
    """Turns event batches into fact batches; `rules` decides what is not routine."""

    tasks: dict[int, Task]
    sockets: dict[bytes, Target]
    ready: deque[bytes]
    holding: bool
    hold_until: int
    hold_line: int
    mark: int
    events_in: int
    events_out: int
    seen_line: int
    def __init__(
        self,
        rules: Any,
        table: Sequence[Row],
        kinds: Sequence[str],
        by_class: Mapping[tuple[str, str], str],
        slow: Mapping[str, int],
    ) -> None: ...
    def process_fact(self, proc: int, pid: int, exe: bytes | None, uid: int) -> None:
        """Write who `proc` is from here on; `uid` -1 and `exe` None are not known."""
    def process_gone(self, proc: int) -> None:
        """Write that `proc` has ended and its number is not used again."""
    def emit(
        self,
        call: Call,
        kind: int,
        proc: int,
        target: Target,
        amount: int = -1,
        access: int = 0,
        detail: bytes = b"",
    ) -> None:
        """Write the one row of `call`."""
    def forget_tasks(self) -> None:
        """Drop the remembered task: the tasks have changed."""
    def feed(self, batch: bytes | memoryview) -> bytes:
        """Return the facts of one event batch. ValueError if it is not one."""
    def take(self) -> bytes:
        """Return what has been written since the last batch."""
    def drain(self) -> None:
        """Run the events of tasks that have just been identified."""
