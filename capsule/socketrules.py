"""What calls say about sockets and descriptors.

With `-y` a socket is `socket:[inode]` wherever it goes: across dup, fork and SCM_RIGHTS. Its
peer is what connect, accept or getpeername said of that inode; `-yy` would say it on every
line, at 70 times the cost. Without `-y` the descriptor tables stand in.
"""

from __future__ import annotations

import re
from collections import deque

from capsule import literals
from capsule._facts import Call, Target, Task
from capsule.liferules import LifeRules
from capsule.lineage import Lineage
from capsule.procfs import ProcReader
from capsule.targets import Fields, Handler, pid_in

SOCKET_LIMIT = 8192
_RIGHTS = re.compile(rb"SCM_RIGHTS, cmsg_data=\[([^\]]*)\]")
_NAME = re.compile(rb"msg_name=(\{[^}]*\})")
_NUMBER = re.compile(rb"\d+")


class SocketRules(LifeRules):
    """Handlers of calls that make, name and pass on descriptors."""

    def __init__(self, lineage: Lineage, reader: ProcReader | None) -> None:
        super().__init__(lineage, reader)
        self._in_flight: dict[bytes, deque[list[Target | None]]] = {}

    def socket_groups(self) -> tuple[tuple[str, Handler], ...]:
        """Return the handlers of calls that always say something about sockets."""
        return (
            ("socket", self._socket),
            ("connect", self._connect),
            ("bind", self._bind),
            ("listen", self._listen),
            ("accept accept4", self._accept),
            ("getsockname", self._getsockname),
            ("getpeername", self._getpeername),
            ("sendmsg recvmsg sendmsg#64 recvmsg#64", self._message),
            ("pipe pipe2 socketpair", self._pair),
        )

    def fd_groups(self) -> tuple[tuple[str, Handler], ...]:
        """Return the handlers asked only when strace did not name the descriptors itself."""
        return (
            ("close", self._close),
            ("close_range", self._close_range),
            ("dup dup2 dup3", self._dup),
            ("fcntl fcntl64", self._fcntl),
        )

    # -- what is known of a descriptor -------------------------------------------------------

    def _label(self, text: bytes) -> bytes | None:
        """Return `socket:[1]` of `3<socket:[1]>`."""
        name = literals.decoration(text) if b"<" in text else None
        return name if name is not None and literals.classify(name) == literals.SOCKET else None

    def _learn(self, task: Task, fd_text: bytes, target: Target) -> None:
        """Let a socket descriptor stand for an address from now on."""
        target = Target(target.text, literals.SOCKET)  # its family was told once, that is enough
        label = self._label(fd_text)
        if label is not None:
            if len(self.loop.sockets) >= SOCKET_LIMIT:
                self.loop.sockets.pop(next(iter(self.loop.sockets)))
            self.loop.sockets[label] = target
        elif (fd := pid_in(fd_text)) is not None and b"<" not in fd_text:
            task.files.set(fd, target, fd in task.files.cloexec)

    def _known(self, task: Task, fd_text: bytes) -> Target:
        """Return what a socket descriptor stands for."""
        label = self._label(fd_text)
        if label is not None:
            known: Target | None = self.loop.sockets.get(label)
            return known if known is not None else self.decoration_target(b"<" + label + b">")
        if b"<" in fd_text:
            return self.decoration_target(fd_text[fd_text.find(b"<") :])
        return self.fd_target(task, fd_text)

    def opened(self, task: Task, fd: int, target: Target, flags: bytes) -> None:
        """An open whose value strace did not decorate."""
        if target.text is not None:
            task.files.set(fd, Target(target.text), b"O_CLOEXEC" in flags)

    # -- calls --------------------------------------------------------------------------------

    def _socket(self, call: Call, task: Task) -> bool:
        family = call.args[0] if call.args else b""
        target = Target(family[:64] or None)
        fields: Fields = [("call", b", ".join(call.args[1:])[:128])] if call.args[1:] else []
        self._emit(call, "net.socket", task, target, fields)
        if call.error is None and call.retval is not None and call.retval >= 0:
            label = self._label(call.ret)
            if label is not None:
                self.loop.sockets.pop(label, None)  # the inode number may be a dead socket's
            elif b"<" not in call.ret:
                name = b"socket:#%d" % call.line
                task.files.set(
                    call.retval, Target(name, literals.SOCKET),
                    len(call.args) > 1 and b"SOCK_CLOEXEC" in call.args[1],
                )  # fmt: skip
        return True

    def _connect(self, call: Call, task: Task) -> bool:
        if len(call.args) < 2:
            return False
        target = self.address_target(call.args[1])
        self._emit(call, "net.connect", task, target)
        if target.text is not None and call.error in (None, b"EINPROGRESS", b"EISCONN", b"EINTR"):
            if target.text == b"unspec":
                self._learn(task, call.args[0], Target(b"socket", literals.SOCKET))
            else:
                self._learn(task, call.args[0], target)
        return True

    def _bind(self, call: Call, task: Task) -> bool:
        if len(call.args) < 2:
            return False
        target = self.address_target(call.args[1])
        self._emit(call, "net.bind", task, target)
        if call.error is None and target.text is not None:
            self._learn(task, call.args[0], target)
        return True

    def _listen(self, call: Call, task: Task) -> bool:
        if not call.args:
            return False
        self._emit(call, "net.listen", task, self._known(task, call.args[0]))
        return True

    def _accept(self, call: Call, task: Task) -> bool:
        if not call.args:
            return False
        local = self._known(task, call.args[0])
        target = self.address_target(call.args[1]) if len(call.args) > 1 else Target(None)
        worked = call.error is None and call.retval is not None and call.retval >= 0
        if target.text is None and worked:
            label = self._label(call.ret)
            target = Target(label, literals.SOCKET)
        fields: Fields = [("local", local.text)] if local.text else []
        self._emit(call, "net.accept", task, target, fields)
        if worked and target.text is not None:
            if b"<" in call.ret:
                self._learn(task, call.ret, target)
            else:
                assert call.retval is not None
                cloexec = b"SOCK_CLOEXEC" in b"".join(call.args[3:])
                task.files.set(call.retval, target, cloexec)
        return True

    def _getsockname(self, call: Call, task: Task) -> bool:
        """The kernel's choice of port, where bind said 0."""
        if call.error is None and len(call.args) > 1:
            known = self._known(task, call.args[0])
            found = self.address_target(call.args[1])
            if known.text is not None and found.text is not None and known.text.endswith(b":0"):
                self._learn(task, call.args[0], found)
        return False

    def _getpeername(self, call: Call, task: Task) -> bool:
        if call.error is None and len(call.args) > 1:
            found = self.address_target(call.args[1])
            if found.text not in (None, b"unix:"):
                self._learn(task, call.args[0], found)
        return False

    def _message(self, call: Call, task: Task) -> bool:
        """sendmsg and recvmsg: an address of their own, and descriptors that travel."""
        if len(call.args) < 2:
            return False
        text = call.args[1]
        sends = call.name.startswith(b"send")
        fields: Fields = []
        rights = _RIGHTS.search(text)
        if rights is not None and call.error is None:
            fields.append(("fds", rights.group(1)[:1024]))
            if b"<" not in rights.group(1):
                self._pass_on(task, call.args[0], rights.group(1), sends)
        name = _NAME.search(text)
        if name is None and not fields:
            return False
        target = self.address_target(name.group(1)) if name else self._known(task, call.args[0])
        amount = call.retval if call.error is None and call.retval is not None else -1
        self._emit(call, "net.send" if sends else "net.recv", task, target, fields, amount)
        return True

    def _pass_on(self, task: Task, socket: bytes, numbers: bytes, sends: bool) -> None:
        """SCM_RIGHTS without `-y`: match what is sent with what is received, in order."""
        fds = [int(number) for number in _NUMBER.findall(numbers)]
        channel = self._known(task, socket).text or b""
        if sends:
            if len(self._in_flight) < 1024:
                queue = self._in_flight.setdefault(channel, deque(maxlen=1024))
                queue.append([task.files.entries.get(fd) for fd in fds])
            return
        waiting = self._in_flight.get(channel)
        if waiting:
            for fd, target in zip(fds, waiting.popleft(), strict=False):
                if target is not None:
                    task.files.set(fd, target)
            if not waiting:
                del self._in_flight[channel]

    def _pair(self, call: Call, task: Task) -> bool:
        """pipe and socketpair; without `-y` both ends are named for the line."""
        pair = next((arg for arg in call.args if arg.startswith(b"[")), b"")
        if call.error is not None or b"<" in pair:
            return False
        fds = [int(number) for number in _NUMBER.findall(pair)]
        pipe = call.name.startswith(b"pipe")
        name = (b"pipe:#%d" if pipe else b"socketpair:#%d") % call.line
        cls = literals.PIPE if pipe else literals.SOCKET
        cloexec = b"CLOEXEC" in b"".join(call.args)
        for fd in fds[:2]:
            task.files.set(fd, Target(name, cls), cloexec)
        return False

    # -- without -y ---------------------------------------------------------------------------

    def _close(self, call: Call, task: Task) -> bool:
        fd = pid_in(call.args[0]) if call.args else None
        if fd is None or fd not in task.files.entries:
            return False
        target = task.files.entries[fd]
        self._emit(call, "file.close", task, target)
        if call.error is None:
            task.files.close(fd)
        return True

    def _close_range(self, call: Call, task: Task) -> bool:
        if len(call.args) >= 2 and call.error is None:
            first, last = pid_in(call.args[0]), pid_in(call.args[1])
            if first is not None and b"CLOEXEC" not in b"".join(call.args[2:]):
                task.files.close_range(first, 2**32 if last is None or last < 0 else last)
        return False

    def _dup(self, call: Call, task: Task) -> bool:
        old = pid_in(call.args[0]) if call.args else None
        if old is not None and call.error is None and call.retval is not None:
            task.files.duplicate(old, call.retval, b"O_CLOEXEC" in b"".join(call.args[2:]))
        return False

    def _fcntl(self, call: Call, task: Task) -> bool:
        if len(call.args) < 2 or call.error is not None or call.retval is None:
            return False
        fd = pid_in(call.args[0])
        if fd is None:
            return False
        command = call.args[1]
        if command.startswith(b"F_DUPFD"):
            task.files.duplicate(fd, call.retval, command == b"F_DUPFD_CLOEXEC")
        elif command == b"F_SETFD" and fd in task.files.entries:
            if b"FD_CLOEXEC" in b"".join(call.args[2:]):
                task.files.cloexec.add(fd)
            else:
                task.files.cloexec.discard(fd)
        return False
