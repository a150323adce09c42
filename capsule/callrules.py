"""What single calls change: processes, programs, directories, credentials, sockets.

`CallRules` is the `rules` object of the inner loop. A handler takes a `Call` and its `Task`,
writes the call's one row with `_emit` and returns True, or returns False to leave the row to
the routine.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from capsule import literals, redact
from capsule._enrich import Call, FactLoop, Fs, Target, Task
from capsule.events import NO_PID, NO_TIME, DetailValue, EventKind, pack_detail
from capsule.fdtable import FdTable
from capsule.lineage import Life, Lineage, Process
from capsule.procfs import ProcessFacts, ProcReader
from capsule.socketrules import SocketRules
from capsule.syscalls import KINDS
from capsule.targets import NOTHING, path_text, pid_in

Fields = list[tuple[str, DetailValue]]
Handler = Callable[[Call, Task], bool]

_KIND = {kind: index for index, kind in enumerate(KINDS)}
_FLAGS = re.compile(rb"flags=([A-Za-z0-9_|]+)")
_STATUS = re.compile(rb"exited with (-?\d+)")
_SIGNAL = re.compile(rb"(?:killed by|stopped by|---) (SIG\w+|\d+)")
_SENDER = re.compile(rb"si_pid=(\d+)")
_CODE = re.compile(rb"si_code=(\w+)")
_FOREVER = 2**62


class CallRules(SocketRules):
    """The rules of calls that change what is known, and of pids that nobody announced."""

    def __init__(self, lineage: Lineage, reader: ProcReader | None, hide: bool) -> None:
        super().__init__()
        self.lineage = lineage
        self.reader = reader
        self.redacted = 0
        self._hide = hide
        self._root: Process | None = None
        self._handlers: dict[bytes, Handler] = {}
        for names, handler in self._groups():
            for name in names.split():
                self._handlers[name.encode()] = handler

    def _groups(self) -> tuple[tuple[str, Handler], ...]:
        return (
            ("clone clone3 fork vfork", self._spawn),
            ("execve execveat execve#64 execveat#64", self._exec),
            ("chdir fchdir", self._chdir),
            ("chroot pivot_root", self._chroot),
            ("umask", self._umask),
            ("unshare", self._unshare),
            ("rename renameat renameat2 link linkat symlink symlinkat", self._two_paths),
            ("prctl", self._prctl),
            (
                "setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid "
                "capset setuid32 setgid32 setreuid32 setregid32 setresuid32 setresgid32 "
                "setgroups32 setfsuid32 setfsgid32",
                self._setid,
            ),
            (
                "getuid geteuid getgid getegid getresuid getresgid getuid32 geteuid32 getgid32 "
                "getegid32 getresuid32 getresgid32",
                self._getid,
            ),
            *self.socket_groups(),
            *self.fd_groups(),
        )

    def slow(self) -> dict[str, int]:
        """Return the names that have a handler; 2 for those asked only without `-y`."""
        decorated = {name for names, _ in self.fd_groups() for name in names.split()}
        return {name.decode(): 2 if name.decode() in decorated else 1 for name in self._handlers}

    def attach(self, loop: FactLoop) -> None:
        """Serve this loop."""
        self.loop = loop
        loop.tasks = self.lineage.tasks

    def special(self, call: Call, task: Task) -> bool:
        """Let the call's handler act. True if the row has been written."""
        handler = self._handlers.get(call.name)
        return handler is not None and handler(call, task)

    def _emit(
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
            process.uid, process.euid, process.suid = facts.uid, facts.euid, facts.suid
            process.gid, process.egid = facts.gid, facts.egid
            process.exe = facts.exe or process.exe
            process.argv = list(facts.argv) or process.argv
            process.comm = facts.comm
            fs.cwd, fs.umask = facts.cwd or fs.cwd, facts.umask
        self._announce(process)
        tid = NO_PID if pid is None else pid
        if process.pid is not None and process.pid != tid and tid != NO_PID:
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
        if self.reader is not None and self.lineage.expected:
            facts = self.reader.facts(pid)
            if facts is not None and (task := self._match_expected(pid, facts.ns_pid)):
                return task
        return None

    def hold(self, pid: int, line: int, batch: bytes, ended: bool) -> None:
        """Keep an event of a pid that has not been announced."""
        self.lineage.hold(pid, line, self.loop.mark, batch, ended)
        self._plan_expiry()

    def _plan_expiry(self) -> None:
        waiting = self.lineage.waiting
        self.loop.holding = bool(waiting)
        if waiting:
            life = next(iter(waiting.values()))
            full = self.lineage.held_events >= self.lineage.holding.events
            self.loop.hold_until = NO_TIME if full else life.deadline_ns
            self.loop.hold_line = life.line + self.lineage.holding.lines

    def expire(self) -> None:
        """Give the pids that have waited long enough a process of their own."""
        for life in self.lineage.overdue(self.loop.mark, self.loop.seen_line):
            self._explain(life.pid)
        self._plan_expiry()

    def give_up(self) -> None:
        """Explain every pid still held: the trace has ended."""
        while self.lineage.waiting:
            self._explain(next(iter(self.lineage.waiting.values())).pid)
            self.loop.drain()
        self._plan_expiry()

    def _explain(self, pid: int) -> None:
        root = self._root
        if root is not None and root.pid is None and NO_PID in root.tasks:
            # strace names the root only once it traces a second process
            root.pid = pid
            known = root.tasks[NO_PID]
            self.lineage.add_task(pid, root, known.fs, known.files)
            self._announce(root)
        elif pid not in self.lineage.tasks and self._match_expected(pid, None) is None:
            self.lineage.counts["unannounced"] += 1
            self._appear(pid, self.reader.facts(pid) if self.reader is not None else None)
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
        if call.error is not None or call.retval is None or call.retval <= 0:
            self._emit(call, kind, task, NOTHING, fields)
            return True
        number: int = call.retval
        here = pid_in(call.ret) or number
        abroad = task.process.ns_level > 0 and here == number
        if abroad:
            self._spawn_abroad(call, task, number, flags, kind, fields)
            return True
        old = self.lineage.tasks.get(here)
        if old is not None and old.process is task.process:
            self._emit(call, kind, task, NOTHING, fields)  # no process is its own child
            return True
        if old is not None and old.process.unseen and old.process is not self._root:
            child = self._acknowledge(task, old, flags)
        else:
            if old is not None:  # the number lives again, and its last end was not shown
                self.lineage.counts["pid_reused"] += 1
                self._end_unseen(old)
            child = self.lineage.child_of(task, here, flags)
        if kind == "proc.spawn":
            fields = [("child", child.proc), ("child_pid", here), *fields]
        else:
            fields = [("tid", here), *fields]
        self._emit(call, kind, task, Target(b"pid:%d" % here), fields)
        if kind == "proc.spawn":
            self._announce(child.process)
        if here in self.lineage.lives:
            self._replay(here)
        else:
            self.loop.forget_tasks()
        return True

    def _acknowledge(self, task: Task, old: Task, flags: bytes) -> Task:
        """A pid that appeared by itself is announced after all."""
        process: Process = old.process
        process.unseen = False
        process.parent = task.process.parent if b"CLONE_PARENT" in flags else task.proc
        if process.execs == 0:
            if old.fs.cwd is None:
                old.fs = task.fs if b"CLONE_FS" in flags else task.fs.copy()
            if process.exe is None:
                process.exe, process.argv = task.process.exe, task.process.argv
            if process.euid is None:
                process.uid, process.euid = task.process.uid, task.process.euid
                process.gid, process.egid = task.process.gid, task.process.egid
        return old

    def _end_unseen(self, old: Task) -> None:
        if self.lineage.remove_task(old):
            self.lineage.counts["end_unseen"] += 1
            self.loop.process_gone(old.proc)
        self.loop.forget_tasks()

    def _spawn_abroad(
        self, call: Call, task: Task, number: int, flags: bytes, kind: str, fields: Fields
    ) -> None:
        """A clone inside a pid namespace: its value is not the pid that strace will print."""
        child = self.lineage.child_of(task, None, flags)
        self.lineage.expected.append((child, number))
        if kind == "proc.spawn":
            fields = [("child", child.proc), *fields]
        self._emit(call, kind, task, NOTHING, [*fields, ("ns_pid", number)])
        if kind == "proc.spawn":
            self._announce(child.process)

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
        if self._hide:
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
        if process.unseen and process is not self._root:
            fields.append(("unseen", 1))
        if worked and target.text is not None:
            if self.reader is not None and process.pid is not None:
                program = self.reader.program(process.pid, target.text)
                if program.interpreter is not None:
                    fields.append(("interpreter", program.interpreter))
                if program.hash is not None:
                    fields.append(("hash", program.hash))
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

    # -- what a process carries ----------------------------------------------------------------

    def _chdir(self, call: Call, task: Task) -> bool:
        if not call.args:
            return False
        if call.name == b"fchdir":
            held = literals.decoration(call.args[0])
            target = Target(held) if held else self.fd_target(task, call.args[0])
        else:
            target = self.path_target(task, None, call.args[0], None, None)
        self._emit(call, "dir.change", task, target)
        if call.error is None and call.retval == 0 and target.text:
            known = target.text[:1] == b"/"
            task.fs.cwd = target.text if known else None
        return True

    def _chroot(self, call: Call, task: Task) -> bool:
        if not call.args:
            return False
        target = self.path_target(task, None, call.args[0], None, None)
        self._emit(call, "dir.root", task, target, [("call", call.name)])
        if call.error is None and call.retval == 0 and target.text:
            # After pivot_root the new root is where strace's own paths start from as well as
            # ours can: the old mount point's name. Inside, absolute names start there.
            if call.name == b"chroot":
                task.fs.root = None if target.text == b"/" else target.text
            else:
                task.fs.root = None
        return True

    def _umask(self, call: Call, task: Task) -> bool:
        if call.args and call.error is None:
            try:
                task.fs.umask = int(call.args[0], 8)
            except ValueError:
                task.fs.umask = None
        return False

    def _unshare(self, call: Call, task: Task) -> bool:
        if call.error is None and call.retval == 0 and call.args:
            flags = call.args[0]
            if b"CLONE_NEWPID" in flags:
                task.process.children_ns = True
            if b"CLONE_FS" in flags or b"CLONE_NEWNS" in flags:
                task.fs = task.fs.copy()
            if b"CLONE_FILES" in flags:
                task.files = task.files.copy()
        return False

    def _two_paths(self, call: Call, task: Task) -> bool:
        """rename and link: the new name is the `to` of the Action; of a symlink, its text."""
        name, args = call.name, call.args
        rename = name.startswith(b"rename")
        kind = "file.rename" if rename else "file.link"
        if name.startswith(b"symlink"):
            if len(args) < (3 if name.endswith(b"at") else 2):
                return False
            dirfd, path = (args[1], args[2]) if name.endswith(b"at") else (None, args[1])
            content = literals.unquote(args[0])
            target = self.path_target(task, dirfd, path, None, None)
            self._emit(call, kind, task, target, [("to", content[0])] if content else [])
            return True
        at = b"at" in name
        if len(args) < (4 if at else 2):
            return False
        old = self.path_target(task, args[0] if at else None, args[1 if at else 0], None, None)
        new_dir, new = (args[2], args[3]) if at else (None, args[1])
        text = literals.unquote(new)
        fields: Fields = []
        if text is not None:
            full, _ = path_text(task.fs.cwd, task.fs.root, self.base_of(task, new_dir), text[0])
            fields.append(("to", full))
        self._emit(call, kind, task, old, fields)
        return True

    def _prctl(self, call: Call, task: Task) -> bool:
        if len(call.args) > 1 and call.args[0] == b"PR_SET_NAME":
            name = literals.unquote(call.args[1])
            if name is not None and task.tid == task.process.pid:
                task.process.comm = name[0][:15]
        return False

    def _setid(self, call: Call, task: Task) -> bool:
        process: Process = task.process
        name = call.name.removesuffix(b"32")
        text = name + b"(" + b", ".join(call.args) + b")"
        if call.error is None and call.retval is not None:
            self._change_ids(process, name, call.args)
        self._emit(call, "cred.change", task, Target(text[:256]), [("call", name)])
        if call.error is None:
            self._announce(process)
        return True

    def _change_ids(self, process: Process, name: bytes, args: list[bytes]) -> None:
        """Apply setuid(2), setreuid(2), setresuid(2) and their gid kin."""
        ids = [int(arg) if arg.isdigit() else None for arg in args]  # -1 keeps
        user = name.endswith(b"uid")
        if name in (b"setuid", b"setgid") and ids and ids[0] is not None:
            privileged = process.euid in (0, None)
            if user:
                process.euid = ids[0]
                if privileged:
                    process.uid = process.suid = ids[0]
            else:
                process.egid = ids[0]
                if privileged:
                    process.gid = ids[0]
        elif name in (b"setreuid", b"setregid", b"setresuid", b"setresgid") and len(ids) >= 2:
            real, effective = ids[0], ids[1]
            if user:
                process.uid = process.uid if real is None else real
                process.euid = process.euid if effective is None else effective
                if len(ids) > 2 and ids[2] is not None:
                    process.suid = ids[2]
            else:
                process.gid = process.gid if real is None else real
                process.egid = process.egid if effective is None else effective

    def _getid(self, call: Call, task: Task) -> bool:
        """What a process is told about itself is true: it also shows a setuid exec."""
        process: Process = task.process
        name = call.name.removesuffix(b"32")
        before = process.euid
        if call.error is not None or call.retval is None:
            return False
        if name == b"getuid":
            process.uid = call.retval
            if process.euid is None:
                process.euid = call.retval
        elif name == b"geteuid":
            process.euid = call.retval
        elif name == b"getgid":
            process.gid = call.retval
        elif name == b"getegid":
            process.egid = call.retval
        else:
            ids = [int(arg.strip(b"[]")) for arg in call.args if arg.strip(b"[]").isdigit()]
            if len(ids) == 3:
                if name == b"getresuid":
                    process.uid, process.euid, process.suid = ids
                else:
                    process.gid, process.egid = ids[0], ids[1]
        if process.euid != before:
            self._announce(process)
        return False
