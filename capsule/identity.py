"""Who is it: the process behind a pid, also one that no clone has announced.

Where the trace is silent the reader of /proc is asked, in a running trace only.
"""

from __future__ import annotations

from capsule._detail import pack_detail
from capsule._enrich import FactLoop
from capsule._facts import Call, Fs, Target, Task
from capsule.events import NO_PID, NO_TIME
from capsule.fdtable import FdTable
from capsule.lineage import Life, Lineage, Process
from capsule.procfs import ProcessFacts, ProcReader
from capsule.syscalls import KINDS
from capsule.targets import NOTHING, Fields

_KIND = {kind: index for index, kind in enumerate(KINDS)}


PATIENCE_NS = 1_000_000_000
"""How much longer a pid is waited for of which /proc knows nothing: it has ended already."""


class Identity:
    """What the inner loop asks about pids, and the writing of rows."""

    loop: FactLoop

    def __init__(self, lineage: Lineage, reader: ProcReader | None) -> None:
        self.lineage = lineage
        self.reader = reader
        self._root: Process | None = None

    def _emit(  # noqa: PLR0917 - every handler's last word
        self, call: Call, kind: str, task: Task | None, target: Target = NOTHING,
        fields: Fields | None = None, amount: int = -1,
    ) -> None:  # fmt: skip
        detail = target.detail or b""
        if fields:
            detail += pack_detail(fields)
        self.loop.emit(call, _KIND[kind], 0 if task is None else task.proc, target, amount,
                       target.access, detail)  # fmt: skip

    def _announce(self, process: Process) -> None:
        self.loop.process_fact(
            process.proc,
            NO_PID if process.pid is None else process.pid,
            process.exe,
            -1 if process.euid is None else process.euid,
        )

    # -- who is it -------------------------------------------------------------------------

    def start_root(self, pid: int | None, facts: ProcessFacts | None) -> Task:
        """Create the process the trace starts with."""
        task = self._appear(pid, facts)
        self._root = task.process
        return task

    def _appear(self, pid: int | None, facts: ProcessFacts | None) -> Task:
        """Create a process that no clone announced."""
        if facts is not None and facts.tgid != pid and facts.tgid in self.lineage.tasks:
            leader = self.lineage.tasks[facts.tgid]
            self.lineage.counts["threads"] += 1
            assert pid is not None
            return self.lineage.add_task(pid, leader.process, leader.fs, leader.files)
        parent = None
        if facts is not None and facts.ppid in self.lineage.tasks:
            parent = self.lineage.tasks[facts.ppid]
        process = self.lineage.new_process(pid, None if parent is None else parent.process)
        fs = Fs() if parent is None else parent.fs.copy()
        files = FdTable() if parent is None else parent.files.copy()
        process.unseen = True
        if facts is not None:
            process.pid = facts.tgid
            process.outer = facts
            process.uid, process.euid, process.suid = facts.uid, facts.euid, facts.suid
            process.gid, process.egid = facts.gid, facts.egid
            process.exe = facts.exe or process.exe
            process.argv = list(facts.argv) or process.argv
            process.comm = facts.comm
            fs.cwd, fs.umask = facts.cwd or fs.cwd, facts.umask
        self._announce(process)
        tid = NO_PID if pid is None else pid
        if process.pid is not None and tid not in {process.pid, NO_PID}:
            self.lineage.add_task(process.pid, process, fs, files)
        return self.lineage.add_task(tid, process, fs, files)

    def unknown(self, pid: int) -> Task | None:
        """Return the task of a pid seen for the first time; None to hold its events back."""
        if self._root is None:
            if pid == NO_PID:
                return self.start_root(None, None)
            return self.start_root(pid, self.reader.facts(pid) if self.reader else None)
        if pid == NO_PID:  # strace leaves the pid out when it traces one process only
            alive = list(self.lineage.processes.values())
            if len(alive) == 1 and alive[0].tasks:
                return next(iter(alive[0].tasks.values()))
            return self._appear(None, None)
        return None

    def hold(self, pid: int, line: int, batch: bytes, ended: bool) -> None:
        """Keep an event of a pid that has not been announced."""
        life = self.lineage.hold(pid, line, self.loop.mark, batch, ended)
        if self.lineage.expected:
            self._try_expected(life)
        if len(life.batches) == 1 or self.lineage.held_events >= self.lineage.holding.events:
            self._plan_expiry()  # another event of a life that is held changes nothing else

    def _try_expected(self, life: Life) -> None:
        """See whether a held pid is a child whose clone returned a pid of another namespace."""
        if life.asked == self.lineage.births_abroad:
            return
        life.asked = self.lineage.births_abroad
        facts = self.reader.facts(life.pid) if self.reader is not None else None
        if facts is not None and facts.ns_pid is not None:
            found = self._match_expected(life.pid, facts.ns_pid)
        elif (
            len(self.lineage.waiting) + len(self.lineage.patient) == len(self.lineage.expected) == 1
        ):
            found = self._match_expected(life.pid, None)
        else:
            return
        if found is not None:
            self._replay(life.pid)

    def _plan_expiry(self) -> None:
        life = self.lineage.next_due()
        self.loop.holding = life is not None
        if life is not None:
            full = self.lineage.held_events >= self.lineage.holding.events
            self.loop.hold_until = NO_TIME if full else life.deadline_ns
            self.loop.hold_line = life.line + self.lineage.holding.lines

    def expire(self) -> None:
        """Give the pids that have waited long enough a process of their own."""
        for life in self.lineage.overdue(self.loop.mark, self.loop.seen_line):
            facts = self.reader.facts(life.pid) if self.reader is not None else None
            first = life.serial in self.lineage.waiting
            if (
                self.reader is not None
                and facts is None
                and first
                and not (self.lineage.full(life, self.loop.seen_line) or self.lineage.expected)
            ):
                self.lineage.be_patient(life, self.loop.mark + PATIENCE_NS)
            else:
                self._explain(life.pid, facts)
        self._plan_expiry()

    def give_up(self) -> None:
        """Explain every pid still held: the trace has ended."""
        while (life := self.lineage.next_due()) is not None:
            self._explain(life.pid, self.reader.facts(life.pid) if self.reader else None)
            self.loop.drain()
        self._plan_expiry()

    def _explain(self, pid: int, facts: ProcessFacts | None) -> None:
        root = self._root
        if root is not None and root.pid is None and NO_PID in root.tasks:
            # strace names the root only once it traces a second process
            root.pid = pid
            known = root.tasks[NO_PID]
            self.lineage.add_task(pid, root, known.fs, known.files)
            self._announce(root)
        elif pid not in self.lineage.tasks and self._match_expected(pid, None) is None:
            self.lineage.counts["unannounced"] += 1
            task = self._appear(pid, facts)
            if task.process.first_line == 0:
                task.process.first_line = self.lineage.lives[pid][0].line
        self._replay(pid)

    def _replay(self, pid: int) -> None:
        life: Life | None = self.lineage.release(pid)
        self.loop.forget_tasks()
        if life is not None:
            self.loop.ready.extend(life.batches)
        self._plan_expiry()

    def _match_expected(self, pid: int, ns_pid: int | None) -> Task | None:
        """Give `pid` to a child whose clone returned a pid of another namespace."""
        expected = self.lineage.expected
        for index, (task, number) in enumerate(expected):
            if ns_pid is None or number == ns_pid:
                del expected[index]
                process: Process = task.process
                if process.pid is None:
                    process.pid = pid
                self._announce(process)
                return self.lineage.add_task(pid, process, task.fs, task.files)
        return None
