"""Which ECS categories and types each kind of Action is (Elastic Common Schema 9.4).

`event.category` and `event.type` take only the words that ECS lists, and only some together; a
kind that fits none is `host` / `info`.
"""

from __future__ import annotations

from collections.abc import Mapping

VERSION = "9.4.0"

_BY_CATEGORY: Mapping[tuple[str, str], str] = {
    ("file", "access"): "file.open file.read file.stat file.access file.readlink dir.list",
    ("file", "change"): "file.write file.truncate file.copy file.rename file.chmod file.chown "
    "file.attr",
    ("file", "creation"): "file.create file.link dir.create",
    ("file", "deletion"): "file.delete dir.delete",
    ("file", "info"): "file.advise file.close file.fd file.lock file.seek file.sync file.watch "
    "dir.change dir.cwd dir.root",
    ("network", "start"): "net.connect net.accept",
    ("network", "connection"): "net.send net.recv",
    ("network", "end"): "net.shutdown",
    ("network", "info"): "net.bind net.listen net.option net.socket",
    ("process", "start"): "proc.exec proc.spawn thread.spawn",
    ("process", "end"): "proc.exit thread.exit",
    ("process", "access"): "proc.memory proc.ptrace",
    ("process", "change"): "cred.change cred.umask proc.group proc.kill proc.limit proc.namespace "
    "proc.option proc.signal mem.map mem.protect mem.unmap sys.sandbox",
    (
        "process",
        "info",
    ): "cred.read proc.info proc.wait proc.yield sys.exit thread.setup mem.advise "
    "mem.lock mem.policy ipc.event ipc.futex ipc.msg ipc.other ipc.pipe ipc.read ipc.sem ipc.shm "
    "ipc.write io.async io.uring io.wait sys.signal sys.random",
    ("driver", "change"): "sys.module",
    ("host", "access"): "dev.ioctl sys.ioport",
    ("host", "change"): "sys.bpf sys.clock sys.kexec sys.key sys.mount sys.name sys.quota "
    "sys.reboot sys.swap",
    ("host", "info"): "sys.info sys.library sys.log sys.note sys.obsolete sys.perf sys.probe "
    "sys.tty sys.unknown sys.unparsed time.get time.sleep time.timer",
}

KINDS: Mapping[str, tuple[str, str]] = {
    kind: pair for pair, kinds in _BY_CATEGORY.items() for kind in kinds.split()
}
"""Kind → event.category and event.type."""

UNKNOWN = ("host", "info")
"""What a kind is that is not in the table: a later version's log may hold one."""
