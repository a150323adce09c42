"""Who is who: processes as identities that survive pid reuse, threads and exec.

The trace itself says nearly everything: clone and its kin name the child, exec its program,
`+++ exited` its end. What a trace does not order is told apart here: a child's lines may
come before its parent's clone returns, so a pid that nobody has announced is held back
until somebody does, or until `Holding` says to wait no longer.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from capsule._facts import Fs, Task
from capsule.fdtable import FdTable
from capsule.procfs import ProcessFacts

ENDED_LIMIT = 4096
"""Processes remembered that ended before their parent's clone returned."""


@dataclass(slots=True)
class Process:
    """One process. `proc` is its number in the order seen; ids are None while unknown."""

    proc: int
    pid: int | None
    parent: int | None = None  # proc of the creator, kept when that process ends
    exe: bytes | None = None
    argv: list[bytes] = field(default_factory=list)
    comm: bytes | None = None
    uid: int | None = None
    euid: int | None = None
    suid: int | None = None
    gid: int | None = None
    egid: int | None = None
    execs: int = 0
    ns_level: int = 0  # pid namespaces entered below the tracer's, as far as is known
    own_mounts: bool = False  # its names may be other files than ours
    children_ns: bool = False  # unshare(CLONE_NEWPID): the next children go one level down
    outer: ProcessFacts | None = None  # what /proc said of a process older than the trace
    first_line: int = 0  # where a process that nobody announced first shows
    unseen: bool = False  # nobody announced it: its parent is not known
    tasks: dict[int, Task] = field(default_factory=dict)


@dataclass(slots=True)
class Life:
    """Events of a pid that nobody has announced yet, in order, each a batch of one."""

    serial: int
    pid: int
    line: int
    deadline_ns: int
    batches: list[bytes] = field(default_factory=list)
    ended: bool = False
    asked: int = -1  # `births_abroad` when it was last looked for among those expected


@dataclass(frozen=True, slots=True)
class Holding:
    """How long an unannounced pid waits for its parent: event time, events, input lines."""

    wait_ns: int
    events: int = 4096
    lines: int = 65536


class Lineage:
    """The processes alive in the trace, and the pids not yet explained."""

    def __init__(self, holding: Holding) -> None:
        self.tasks: dict[int, Task] = {}
        self.processes: dict[int, Process] = {}  # by proc, alive
        self.lives: dict[int, deque[Life]] = {}  # by pid, first line first
        # by their serial, which is also the order of their deadlines
        self.waiting: OrderedDict[int, Life] = OrderedDict()
        self.patient: OrderedDict[int, Life] = OrderedDict()  # /proc knows nothing of them
        self.last_life = 0
        self.holding = holding
        self.held_events = 0
        self.last_proc = 0
        self.expected: deque[tuple[Task, int]] = deque()  # children known by another pid
        # pids of processes that ended before anybody announced them → proc, first line
        self.ended: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self.births_abroad = 0  # how many were ever expected
        self.counts = {
            "processes": 0, "threads": 0, "execs": 0, "unannounced": 0, "held": 0,
            "pid_reused": 0, "end_unseen": 0,
        }  # fmt: skip

    def new_process(self, pid: int | None, parent: Process | None) -> Process:
        """Number a new process, which inherits what fork(2) says a child inherits."""
        self.last_proc += 1
        process = Process(self.last_proc, pid)
        if parent is not None:
            process.parent = parent.proc
            process.exe, process.argv, process.comm = parent.exe, parent.argv, parent.comm
            process.uid, process.euid, process.suid = parent.uid, parent.euid, parent.suid
            process.gid, process.egid = parent.gid, parent.egid
            process.ns_level = parent.ns_level + parent.children_ns
            process.own_mounts = parent.own_mounts
        self.processes[process.proc] = process
        self.counts["processes"] += 1
        return process

    def add_task(self, tid: int, process: Process, fs: Fs, files: FdTable) -> Task:
        """Let `tid` be a thread of `process`; an older bearer of the number has ended unseen."""
        task = Task(tid, process, fs, files)
        self.tasks[tid] = task
        process.tasks[tid] = task
        return task

    def child_of(self, task: Task, pid: int | None, flags: bytes) -> Task:
        """Create the task that a clone with these `flags` (strace's text) made.

        `pid` None: it is not known yet; the task is not entered anywhere.
        """
        files = task.files if b"CLONE_FILES" in flags else task.files.copy()
        fs = task.fs if b"CLONE_FS" in flags else task.fs.copy()
        if b"CLONE_THREAD" in flags:
            self.counts["threads"] += 1
            process: Process = task.process
            return self._enter(pid, process, fs, files)
        process = self.new_process(pid, task.process)
        if b"CLONE_NEWPID" in flags:
            process.ns_level += 1
        if b"CLONE_NEWNS" in flags:
            process.own_mounts = True
        if b"CLONE_PARENT" in flags:
            process.parent = task.process.parent
        return self._enter(pid, process, fs, files)

    def _enter(self, pid: int | None, process: Process, fs: Fs, files: FdTable) -> Task:
        if pid is None:
            return Task(0, process, fs, files)
        return self.add_task(pid, process, fs, files)

    def remove_task(self, task: Task) -> bool:
        """Forget a thread that has ended. True when its process ended with it."""
        process: Process = task.process
        if self.tasks.get(task.tid) is task:
            del self.tasks[task.tid]
        process.tasks.pop(task.tid, None)
        if process.tasks and task.tid != process.pid:
            return False
        # strace reports the leader's end after that of every other thread
        for tid, other in process.tasks.items():
            if self.tasks.get(tid) is other:
                del self.tasks[tid]
        process.tasks.clear()
        if process.unseen and process.first_line and process.pid is not None:
            self.ended[process.pid] = (process.proc, process.first_line)
            if len(self.ended) > ENDED_LIMIT:
                self.ended.popitem(last=False)
        return self.processes.pop(process.proc, None) is not None

    def alone(self, task: Task) -> Task:
        """After an exec the process has one thread, its leader (execve(2)): return it."""
        process: Process = task.process
        pid = process.pid if process.pid is not None else task.tid
        for tid, other in list(process.tasks.items()):
            if other is not task and self.tasks.get(tid) is other:
                del self.tasks[tid]
        if self.tasks.get(task.tid) is task:
            del self.tasks[task.tid]
        process.tasks.clear()
        files = task.files.copy()
        files.close_on_exec()
        return self.add_task(pid, process, task.fs.copy(), files)

    # -- pids that nobody has announced ----------------------------------------------------

    def hold(self, pid: int, line: int, now_ns: int, batch: bytes, ended: bool) -> Life:
        """Keep one event of an unannounced pid; return the life it belongs to."""
        lives = self.lives.get(pid)
        if lives is None:
            lives = self.lives[pid] = deque()
        if not lives or lives[-1].ended:
            self.last_life += 1
            lives.append(Life(self.last_life, pid, line, now_ns + self.holding.wait_ns))
            self.waiting[self.last_life] = lives[-1]
            self.counts["held"] += 1
        life = lives[-1]
        life.batches.append(batch)
        life.ended = ended
        self.held_events += 1
        return life

    def release(self, pid: int) -> Life | None:
        """Return the oldest life held for `pid`, which is now explained."""
        lives = self.lives.get(pid)
        if not lives:
            return None
        life = lives.popleft()
        if not lives:
            del self.lives[pid]
        if self.waiting.pop(life.serial, None) is None:
            del self.patient[life.serial]
        self.held_events -= len(life.batches)
        return life

    def be_patient(self, life: Life, deadline_ns: int) -> None:
        """Let a life wait for its parent's clone once more: nothing else can tell of it."""
        life.deadline_ns = deadline_ns
        del self.waiting[life.serial]
        self.patient[life.serial] = life

    def next_due(self) -> Life | None:
        """Return the life whose wait is over first."""
        firsts = [next(iter(q.values())) for q in (self.waiting, self.patient) if q]
        return min(firsts, key=lambda life: life.deadline_ns, default=None)

    def full(self, life: Life, line: int) -> bool:
        """Say whether a life may be held no longer, whatever its deadline."""
        return line >= life.line + self.holding.lines or self.held_events >= self.holding.events

    def overdue(self, now_ns: int, line: int) -> Iterator[Life]:
        """Yield each life that has waited long enough; the caller releases it or is patient."""
        while (life := self.next_due()) is not None:
            if now_ns < life.deadline_ns and not self.full(life, line):
                return
            yield life
