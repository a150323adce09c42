"""What single calls change: directories, credentials, names; and which rule each call has.

`CallRules` is the `rules` object of the inner loop. A handler takes a `Call` and its `Task`,
writes the call's one row with `_emit` and returns True, or returns False to leave the row to
the routine.
"""

from __future__ import annotations

from capsule import literals
from capsule._enrich import FactLoop
from capsule._facts import Call, Target, Task
from capsule.lineage import Lineage, Process
from capsule.procfs import ProcReader
from capsule.socketrules import SocketRules
from capsule.targets import Fields, Handler, path_text


def user_id(text: bytes) -> int | None:
    """Return the uid or gid that a text is; None if it is none, or -1 (credentials(7))."""
    return int(text) if text.isdigit() and len(text) < 11 and int(text) < 2**32 - 1 else None


def _kept(process: Process, name: bytes, args: list[bytes]) -> bool:
    """Say whether a process is known to have had all ids that a call sets: nothing changes."""
    had = [process.uid, process.euid, process.suid]
    if name in (b"setuid", b"setreuid"):  # these may set the saved id too
        had = had[:1] * len(args) if had == had[:1] * 3 else []
    elif name == b"setresgid":
        had = [process.gid, process.egid, None]
    elif name != b"setresuid" or None in had:  # getuid(2) alone has the others guessed
        return False
    return len(had) >= len(args) > 0 and all(
        arg == b"-1" or (has is not None and user_id(arg) == has)
        for arg, has in zip(args, had, strict=False)
    )


class CallRules(SocketRules):
    """The rules of calls that change what is known, and of pids that nobody announced."""

    def __init__(self, lineage: Lineage, reader: ProcReader | None, hide: bool) -> None:
        super().__init__(lineage, reader)
        self.hide = hide
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
            ("setns", self._setns),
            ("rename renameat renameat2 link linkat symlink symlinkat", self._two_paths),
            ("prctl", self._prctl),
            (
                (
                    "setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid "
                    "setfsgid capset setuid32 setgid32 "
                    " setreuid32 setregid32 setresuid32 setresgid32 "
                    "setgroups32 setfsuid32 setfsgid32"
                ),
                self._setid,
            ),
            (
                (
                    "getuid geteuid getgid getegid getresuid getresgid getuid32 geteuid32 getgid32 "
                    "getegid32 getresuid32 getresgid32"
                ),
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
            if b"CLONE_NEWNS" in flags:
                task.process.own_mounts = True
            if b"CLONE_FS" in flags or b"CLONE_NEWNS" in flags:
                task.fs = task.fs.copy()
            if b"CLONE_FILES" in flags:
                task.files = task.files.copy()
        return False

    def _setns(self, call: Call, task: Task) -> bool:
        """The type says which namespace it is; where that is 0, the descriptor's name does."""
        if call.error is None and call.retval == 0 and len(call.args) == 2:
            name = literals.decoration(call.args[0]) or b""
            if b"CLONE_NEWNS" in call.args[1] or name.startswith(b"mnt:") or not name:
                task.process.own_mounts = True
            if b"CLONE_NEWPID" in call.args[1] or name.startswith(b"pid:"):
                task.process.children_ns = True
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
        fields: Fields = [("call", name)]
        if call.error is None and call.retval is not None:
            if _kept(process, name, call.args):
                fields.append(("kept", 1))
            self._change_ids(process, name, call.args)
        self._emit(call, "cred.change", task, Target(text[:256]), fields)
        if call.error is None:
            self._announce(process)
        return True

    def _change_ids(self, process: Process, name: bytes, args: list[bytes]) -> None:
        """Apply setuid(2), setreuid(2), setresuid(2) and their gid kin."""
        ids = [user_id(arg) for arg in args]  # -1 keeps
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
        one = user_id(b"%d" % call.retval)
        if name == b"getuid":
            process.uid = one
            if process.euid is None:
                process.euid = one
        elif name == b"geteuid":
            process.euid = one
        elif name == b"getgid":
            process.gid = one
        elif name == b"getegid":
            process.egid = one
        else:
            ids = [user_id(arg.strip(b"[]")) for arg in call.args]
            if len(ids) == 3 and None not in ids:
                if name == b"getresuid":
                    process.uid, process.euid, process.suid = ids
                else:
                    process.gid, process.egid = ids[0], ids[1]
        if process.euid != before:
            self._announce(process)
        return False
