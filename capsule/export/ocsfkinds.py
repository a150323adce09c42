"""Which OCSF class and activity each kind of Action is (schema.ocsf.io, 1.8.0).

A kind that OCSF has no activity for is 99 (Other) of the class that its target belongs to; what
is a plain request to the kernel is Kernel Activity: Invoke.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VERSION = "1.8.0"
OTHER = 99


@dataclass(frozen=True, slots=True, eq=False)
class Class:
    """An event class: its number, its name, and the names of the activities that we use."""

    uid: int
    name: str
    activities: Mapping[int, str]


FILE = Class(1001, "File System Activity", {
    1: "Create", 2: "Read", 3: "Update", 4: "Delete", 5: "Rename", 6: "Set Attributes",
    7: "Set Security", 8: "Get Attributes", 14: "Open",
})  # fmt: skip
EXTENSION = Class(1002, "Kernel Extension Activity", {1: "Load"})
KERNEL = Class(1003, "Kernel Activity", {1: "Create", 2: "Read", 3: "Delete", 4: "Invoke"})
MEMORY = Class(1004, "Memory Activity", {1: "Allocate Page", 2: "Modify Page", 3: "Delete Page"})
PROCESS = Class(1007, "Process Activity", {
    1: "Launch", 2: "Terminate", 3: "Open", 5: "Set User ID",
})  # fmt: skip
NETWORK = Class(4001, "Network Activity", {1: "Open", 2: "Close", 6: "Traffic", 7: "Listen"})

CATEGORIES = {1: "System Activity", 4: "Network Activity"}
"""By the thousands of a class's number."""

_BY_CLASS: Mapping[Class, Mapping[int, str]] = {
    FILE: {
        1: "file.create file.link dir.create",
        2: "file.read dir.list",
        3: "file.write file.truncate file.copy",
        4: "file.delete dir.delete",
        5: "file.rename",
        6: "file.attr",
        7: "file.chmod file.chown",
        8: "file.stat file.access file.readlink dir.cwd",
        14: "file.open dir.change",
        OTHER: "dir.root file.advise file.close file.fd file.lock file.seek file.sync file.watch",
    },
    EXTENSION: {OTHER: "sys.module"},
    KERNEL: {
        1: "ipc.pipe ipc.event ipc.msg ipc.sem ipc.shm net.socket",
        2: "ipc.read cred.read sys.info sys.random sys.log",
        4: "cred.umask dev.ioctl io.async io.uring io.wait ipc.futex ipc.other ipc.write "
        "net.option sys.bpf sys.clock sys.exit sys.ioport sys.kexec sys.key sys.library sys.mount "
        "sys.name sys.obsolete sys.perf sys.probe sys.quota sys.reboot sys.sandbox sys.signal "
        "sys.swap sys.tty sys.unknown time.get time.sleep time.timer",
        OTHER: "sys.note sys.unparsed",
    },
    MEMORY: {
        1: "mem.map",
        2: "mem.protect",
        3: "mem.unmap",
        OTHER: "mem.advise mem.lock mem.policy",
    },
    PROCESS: {
        1: "proc.exec proc.spawn",
        2: "proc.exit",
        5: "cred.change",
        OTHER: "proc.group proc.info proc.kill proc.limit proc.memory proc.namespace proc.option "
        "proc.ptrace proc.signal proc.wait proc.yield thread.exit thread.setup thread.spawn",
    },
    NETWORK: {
        1: "net.connect net.accept",
        2: "net.shutdown",
        6: "net.send net.recv",
        7: "net.listen",
        OTHER: "net.bind",
    },
}

KINDS: Mapping[str, tuple[Class, int]] = {
    kind: (one, activity)
    for one, activities in _BY_CLASS.items()
    for activity, kinds in activities.items()
    for kind in kinds.split()
}
"""Kind → class and activity."""

WITHOUT_TARGET = (KERNEL, 4)
"""What a file or network kind is where its target is not known (`sync()`, `socketpair()`), and a
kind that is not in the table: a later version's log may hold one."""
