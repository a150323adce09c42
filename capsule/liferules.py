"""How processes begin, change their program and end: clone, execve, `+++ exited`, signals."""

from __future__ import annotations

import re

from capsule import literals, redact
from capsule._facts import Call, Target, Task
from capsule.events import EventFlag, EventKind
from capsule.identity import Identity
from capsule.lineage import Process
from capsule.procfs import ProcessFacts, ProcReader
from capsule.targets import NOTHING, Fields, Targets, pid_in

PID_LIMIT = 1 << 31
EXPECTED_LIMIT = 1024
"""Children of other pid namespaces whose first line is waited for."""

_FLAGS = re.compile(rb"flags=([A-Za-z0-9_|]+)")
_STATUS = re.compile(rb"exited with (-?\d{1,18})\b")
_SIGNAL = re.compile(rb"(?:killed by|stopped by|---) (SIG\w+|\d+)")
_SENDER = re.compile(rb"si_pid=(\d{1,18})\b")
_NAMED = re.compile(rb"\[ Process PID=(\d{1,9}) ")
_CODE = re.compile(rb"si_code=(\w+)")


def _outer_fields(facts: ProcessFacts) -> Fields:
    """What only /proc knows of a process older than the trace."""
    fields: Fields = []
    if facts.cgroup is not None:
        fields.append(("cgroup", facts.cgroup))
    if facts.namespaces:
        fields.append(("namespaces", list(facts.namespaces)))
    if facts.started_ns is not None:
        fields.append(("started_ns", facts.started_ns))
    return fields


class LifeRules(Targets, Identity):
    """Rows of spawn, exec, exit and signals, and what they change."""

    redacted = 0
    hide = True

    # -- events that are no calls ------------------------------------------------------------

    def other(self, call: Call, task: Task | None) -> None:
        """Write the row of a signal, an end, a note or a line nobody understood."""
        text = call.text or b""
        kind = call.kind
        if kind in (EventKind.EXIT, EventKind.KILLED):
            assert task is not None
            self._end(call, task, text)
        elif kind in (EventKind.SIGNAL, EventKind.STOPPED):
            name = _SIGNAL.search(text)
            fields: Fields = []
            if sender := _SENDER.search(text):
                fields.append(("sender", int(sender.group(1))))
            if code := _CODE.search(text):
                fields.append(("code", code.group(1)))
            elif kind == EventKind.STOPPED:
                fields.append(("code", b"stopped"))
            signal = Target(name.group(1)) if name else NOTHING
            self._emit(call, "proc.signal", task, signal, fields)
        elif kind == EventKind.SUPERSEDED:
            self._emit(call, "thread.exit", task, NOTHING, [("text", text)])
        elif kind == EventKind.NOTE:
            if task is None and (named := _NAMED.search(text)):
                task = self.lineage.tasks.get(int(named.group(1)))
            self._emit(call, "sys.note", task, NOTHING, [("text", text[:4096])])
        else:
            self._emit(call, "sys.unparsed", task, NOTHING, [("text", text[:4096])])

    def _end(self, call: Call, task: Task, text: bytes) -> None:
        process: Process = task.process
        fields: Fields = []
        if status := _STATUS.search(text):
            fields.append(("status", int(status.group(1))))
        elif signal := _SIGNAL.search(text):
            fields.append(("signal", signal.group(1)))
            if b"core dumped" in text:
                fields.append(("core", 1))
        whole = self.lineage.remove_task(task)
        if not whole:
            fields.insert(0, ("tid", task.tid))
        self._emit(call, "proc.exit" if whole else "thread.exit", task, NOTHING, fields)
        self.loop.forget_tasks()
        if whole:
            self.loop.process_gone(process.proc)

    # -- processes ---------------------------------------------------------------------------

    def _spawn(self, call: Call, task: Task) -> bool:
        match = _FLAGS.search(b", ".join(call.args))
        flags = match.group(1) if match else b""
        if call.name == b"vfork":
            flags = b"CLONE_VM|CLONE_VFORK|SIGCHLD"
        kind = "thread.spawn" if b"CLONE_THREAD" in flags else "proc.spawn"
        fields: Fields = [("flags", flags)] if flags else []
        number = call.retval if call.error is None and call.retval is not None else -1
        here = pid_in(call.ret) or number
        if not 0 < number < PID_LIMIT or not 0 < here < PID_LIMIT:
            self._emit(call, kind, task, NOTHING, fields)
            return True
        abroad = task.process.ns_level > 0 and here == number and number not in self.lineage.lives
        if abroad:
            self._spawn_abroad(call, task, number, flags=flags, kind=kind, fields=fields)
            return True
        old = self.lineage.tasks.get(here)
        if old is not None and old.process is task.process and kind == "proc.spawn":
            self._emit(call, kind, task, NOTHING, fields)  # no process is its own child
            return True
        child = self._child(call, task, here, flags, old)
        if kind == "proc.spawn":
            fields = [("child", child), ("child_pid", here), *fields]
        else:
            fields = [("tid", here), *fields]
        self._emit(call, kind, task, Target(b"pid:%d" % here), fields)
        if kind == "proc.spawn" and (process := self.lineage.processes.get(child)):
            self._announce(process)
        if here in self.lineage.lives:
            self._replay(here)
        else:
            self.loop.forget_tasks()
        return True

    def _child(self, call: Call, task: Task, pid: int, flags: bytes, old: Task | None) -> int:
        """Return the proc of the child that a clone made, which may have shown itself before."""
        if old is not None and old.process is task.process:
            return task.proc  # a thread that /proc has told of already
        if old is not None and self._can_be_of(call, old.process.first_line):
            return self._acknowledge(task, old, flags)
        if old is not None:  # the number lives again, and its last end was not shown
            self.lineage.counts["pid_reused"] += 1
            self._end_unseen(old)
        elif pid not in self.lineage.lives and pid in self.lineage.ended:
            proc, first_line = self.lineage.ended[pid]
            if self._can_be_of(call, first_line):
                del self.lineage.ended[pid]
                return proc
        return int(self.lineage.child_of(task, pid, flags).proc)

    def _can_be_of(self, call: Call, first_line: int) -> bool:
        """Say whether one that nobody announced can be the child of this clone.

        A child's first line comes after the one that opened its clone. 0: it was announced.
        """
        return first_line > call.line or (first_line > 0 and bool(call.flags & EventFlag.ORPHAN))

    def _acknowledge(self, task: Task, old: Task, flags: bytes) -> int:
        """A pid that appeared by itself is announced after all."""
        process: Process = old.process
        if b"CLONE_THREAD" in flags:
            if self.lineage.remove_task(old):
                self.lineage.ended.pop(old.tid, None)
                self.loop.process_gone(process.proc)
            return int(self.lineage.child_of(task, old.tid, flags).proc)
        process.unseen, process.first_line = False, 0
        process.parent = task.process.parent if b"CLONE_PARENT" in flags else task.proc
        if process.execs == 0:
            if old.fs.cwd is None:
                old.fs = task.fs if b"CLONE_FS" in flags else task.fs.copy()
            if process.exe is None:
                process.exe, process.argv = task.process.exe, task.process.argv
            if process.euid is None:
                process.uid, process.euid = task.process.uid, task.process.euid
                process.gid, process.egid = task.process.gid, task.process.egid
        return process.proc

    def _end_unseen(self, old: Task) -> None:
        if self.lineage.remove_task(old):
            self.lineage.counts["end_unseen"] += 1
            self.loop.process_gone(old.proc)
        self.loop.forget_tasks()

    def _spawn_abroad(
        self, call: Call, task: Task, number: int, *, flags: bytes, kind: str, fields: Fields
    ) -> None:
        """A clone inside a pid namespace: its value is not the pid that strace will print."""
        child = self.lineage.child_of(task, None, flags)
        if len(self.lineage.expected) >= EXPECTED_LIMIT:
            lost, _ = self.lineage.expected.popleft()
            if not lost.process.tasks:
                self.lineage.processes.pop(lost.proc, None)
                self.loop.process_gone(lost.proc)
        self.lineage.expected.append((child, number))
        self.lineage.births_abroad += 1
        if kind == "proc.spawn":
            fields = [("child", child.proc), *fields]
        self._emit(call, kind, task, NOTHING, [*fields, ("ns_pid", number)])
        if kind == "proc.spawn":
            self._announce(child.process)
        for life in list(self.lineage.waiting.values())[:64]:
            if life.line > call.line:  # a child's first line comes after its clone began
                self._try_expected(life)

    def _program_fields(
        self, process: Process, pid: int, path: bytes, reader: ProcReader
    ) -> Fields:
        """What only the file itself says of the program that is run."""
        # Below mounts of its own the same name may be another file here.
        program = reader.program(b"/proc/%d/root%s" % (pid, path) if process.own_mounts else path)
        fields: Fields = []
        if program.setid and (facts := reader.facts(pid)) is not None:
            process.uid, process.euid, process.suid = facts.uid, facts.euid, facts.suid
            process.gid, process.egid = facts.gid, facts.egid
            if program.setuid_owner not in (None, facts.euid):
                fields.append(("setuid_ignored", 1))
        if program.interpreter is not None:
            fields.append(("interpreter", program.interpreter))
        if program.hash is not None:
            fields.append(("blake3", program.hash))
        return fields

    def _exec(self, call: Call, task: Task) -> bool:
        process: Process = task.process
        at = call.name.startswith(b"execveat")
        args = call.args
        position = 1 if at else 0
        if len(args) <= position:
            self._emit(call, "proc.exec", task)
            return True
        dirfd = args[0] if at else None
        target = self.path_target(task, dirfd, args[position], None, None)
        parsed = literals.strings(args[position + 1]) if len(args) > position + 1 else None
        argv, cut = parsed if parsed is not None else ([], False)
        hidden = 0
        if self.hide:
            argv, hidden = redact.arguments(argv)
            self.redacted += hidden
        worked = call.error is None and call.retval == 0
        base = self.base_of(task, dirfd)
        if at and base is not None and task.fs.cwd is None and args[0].startswith(b"AT_FDCWD"):
            task.fs.cwd = base
        fields: Fields = []
        if argv:
            fields.append(("argv", argv))
        if cut:
            fields.append(("argv_cut", 1))
        if task.fs.cwd is not None:
            fields.append(("cwd", task.fs.cwd))
        if task.fs.root is not None:
            fields.append(("root", task.fs.root))
        if process.parent is not None:
            fields.append(("parent", process.parent))
            parent = self.lineage.processes.get(process.parent)
            if parent is not None and parent.pid is not None:
                fields.append(("ppid", parent.pid))
        elif process.outer is not None and process.outer.ppid is not None:
            fields.append(("ppid", process.outer.ppid))
        if process.outer is not None and process.execs == 0:
            fields += _outer_fields(process.outer)
        if process.unseen and process is not self._root:
            fields.append(("unseen", 1))
        if worked and target.text is not None:
            if self.reader is not None and process.pid is not None:
                fields += self._program_fields(process, process.pid, target.text, self.reader)
            process.exe = target.text
        if hidden:
            fields.append(("redacted", hidden))
        if worked:
            process.argv = argv
            process.execs += 1
            process.comm = (target.text or b"").rpartition(b"/")[2][:15]
            self.lineage.alone(task)
            self.loop.forget_tasks()
            self.lineage.counts["execs"] += 1
            self._announce(process)
        self._emit(call, "proc.exec", task, target, fields)
        return True
