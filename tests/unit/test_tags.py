"""Every shipped rule: lines that trip it, and lines that look alike and do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from capsule.aggregate import Aggregator
from capsule.errors import UsageError
from capsule.tags import glob, load_rules, parse_rules, shipped_rules
from tests.unit.stages import Run, actions

EXEC = 'execve("{}", ["x"], 0x1 /* 2 vars */) = 0'
ADDRESS = '{{sa_family=AF_INET, sin_port=htons({}), sin_addr=inet_addr("{}")}}, 16'


def opened(path: str, flags: str) -> str:
    return f'openat(AT_FDCWD</w>, "{path}", {flags}) = 3<{path}>'


def connect(port: int, host: str) -> str:
    return f"connect(3<socket:[7]>, {ADDRESS.format(port, host)}) = 0"


def bind(port: int, host: str = "127.0.0.1") -> str:
    return f"bind(3<socket:[7]>, {ADDRESS.format(port, host)}) = 0"


EACCES = "= -1 EACCES (Permission denied)"
ENOENT = "= -1 ENOENT (No such file or directory)"

CASES = {
    "exec.tmp": (EXEC.format("/tmp/a.out"), EXEC.format("/usr/bin/tmp")),
    "exec.memfd": (
        'execveat(5</memfd:x>, "", ["x"], 0x1 /* 2 vars */, AT_EMPTY_PATH) = 0',
        EXEC.format("/opt/memfd"),
    ),
    "exec.failed": (
        f'execve("/srv/x", ["x"], 0x1 /* 2 vars */) {EACCES}',
        f'execve("/srv/x", ["x"], 0x1 /* 2 vars */) {ENOENT}',
    ),
    "read.credentials": (
        opened("/home/a/.ssh/id_ed25519", "O_RDONLY"),
        opened("/home/a/.ssh/id_ed25519.pub", "O_RDONLY"),
    ),
    "write.system": (
        opened("/etc/hosts", "O_WRONLY|O_CREAT|O_TRUNC"),
        opened("/etc/hosts", "O_RDONLY|O_CLOEXEC"),
    ),
    "write.system 2": ('unlink("/usr/bin/ls") = 0', f'unlink("/usr/bin/ls") {ENOENT}'),
    "write.startup": (
        opened("/home/a/.bashrc", "O_WRONLY|O_APPEND"),
        opened("/home/a/.bashrc", "O_RDONLY"),
    ),
    "net.outbound": (connect(443, "203.0.113.7"), connect(443, "127.0.0.1")),
    "net.outbound 2": (
        f'sendto(3<socket:[7]>, "x", 1, 0, {ADDRESS.format(53, "203.0.113.7")}) = 1',
        'sendto(3<socket:[7]>, "x", 1, 0, NULL, 0) = 1',
    ),
    "net.privileged-port": (bind(80), bind(8080)),
    "net.listen-all": (
        f"{bind(8080, '0.0.0.0')}\nlisten(3<socket:[7]>, 5) = 0",
        f"{bind(8080)}\nlisten(3<socket:[7]>, 5) = 0",
    ),
    "net.raw": (
        "socket(AF_INET, SOCK_RAW|SOCK_CLOEXEC, IPPROTO_ICMP) = 3<socket:[7]>",
        "socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3<socket:[7]>",
    ),
    "net.raw 2": (
        "socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_ALL)) = 3<socket:[7]>",
        "socket(AF_UNIX, SOCK_DGRAM, 0) = 3<socket:[7]>",
    ),
    "priv.change": (
        "getresuid([0], [1000], [0]) = 0\nsetresuid(-1, 0, -1) = 0",
        "getresuid([1000], [0], [0]) = 0\nsetresuid(-1, 0, -1) = 0",
    ),
    "priv.namespace": ("unshare(CLONE_NEWNS) = 0", "getpid() = 10"),
    "priv.chroot": ('chroot("/srv/jail") = 0', 'chdir("/srv/jail") = 0'),
    "priv.mount": (
        'mount("tmpfs", "/mnt", "tmpfs", 0, NULL) = 0',
        'statfs("/mnt", {f_type=TMPFS_MAGIC}) = 0',
    ),
    "proc.ptrace": ("ptrace(PTRACE_ATTACH, 77) = 0", "kill(77, 0) = 0"),
    "proc.mem": (
        (
            "process_vm_readv(77, [{iov_base=0x1, iov_len=8}], 1, "
            "[{iov_base=0x2, iov_len=8}], 1, 0) = 8"
        ),
        'readv(3</x>, [{iov_base="x", iov_len=8}], 1) = 8',
    ),
    "proc.mem 2": (opened("/proc/77/mem", "O_RDWR"), opened("/proc/77/maps", "O_RDONLY")),
    "proc.inject": (
        "mprotect(0x7f0000000000, 4096, PROT_READ|PROT_WRITE|PROT_EXEC) = 0",
        "mprotect(0x7f0000000000, 4096, PROT_READ|PROT_EXEC) = 0",
    ),
    "proc.killed": ("+++ killed by SIGKILL +++", "+++ exited with 1 +++"),
    "kernel.module": (
        'finit_module(3</srv/x.ko>, "", 0) = 0',
        opened("/proc/modules", "O_RDONLY"),
    ),
    "kernel.bpf": ("bpf(BPF_PROG_LOAD, {prog_type=1}, 128) = 4", "brk(NULL) = 0x1"),
    "kernel.kexec": (
        "reboot(LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_RESTART) = 0",
        "sync() = 0",
    ),
    "kernel.ioport": ("iopl(3) = 0", "ioctl(1</dev/tty>, TCGETS, {B38400}) = 0"),
    "io.large": (
        'write(3</srv/x>, "x"..., 10485760) = 10485760',
        'write(3</srv/x>, "x"..., 10485760) = 10485759',
    ),
    "probe.failed": (
        f'openat(AT_FDCWD</w>, "/srv/x", O_RDONLY) {EACCES}',
        f'openat(AT_FDCWD</w>, "/srv/x", O_RDONLY) {ENOENT}',
    ),
    "blindspot.io_uring": ("io_uring_setup(8, {flags=0}) = 4", "io_setup(8, [0x7f]) = 0"),
    "blindspot.untraced": (
        "clone(child_stack=NULL, flags=CLONE_UNTRACED|SIGCHLD) = 11",
        "clone(child_stack=NULL, flags=SIGCHLD) = 11",
    ),
    "blindspot.32-bit": (
        "[ Process PID=10 runs in 32 bit mode. ]",
        "[ Process PID=32 runs in 64 bit mode. ]",
    ),
    "blindspot.nested-ptrace": (
        "ptrace(PTRACE_TRACEME) = -1 EPERM (Operation not permitted)",
        "ptrace(PTRACE_CONT, 77, NULL, 0) = -1 ESRCH (No such process)",
    ),
    "blindspot.unparsed": ("words of the program", "--- SIGCHLD {si_signo=SIGCHLD} ---"),
}


def tags_of(lines: str) -> set[str]:
    text = "".join(f"10 {line}\n" for line in lines.splitlines())
    return {tag for action in actions(text) for tag in action.get("tags", ())}


@pytest.mark.parametrize("case", CASES)
def test_rule_is_tripped_by_this_and_not_by_that(case: str) -> None:
    tag = case.partition(" ")[0]
    this, that = CASES[case]
    assert tag in tags_of(this)
    assert tag not in tags_of(that)


def test_every_shipped_rule_has_a_case() -> None:
    tags = [rule.tag for rule in shipped_rules()]
    cases = [case.partition(" ")[0] for case in CASES]
    cases.append("blindspot.setuid")  # needs a file: test_enrich_live
    assert sorted(tags) == sorted(cases)
    assert all(rule.why for rule in shipped_rules())


@pytest.mark.parametrize(
    ("before", "call", "kept"),
    [
        ("getresuid([7], [7], [7])", "setuid(7)", True),
        ("getresuid([7], [7], [0])", "setuid(7)", False),
        ("getresuid([7], [7], [7])", "setreuid(-1, 7)", True),
        ("getresuid([7], [7], [0])", "setreuid(-1, 7)", False),
        ("getresgid([7], [8], [9])", "setresgid(7, 8, -1)", True),
        ("getresgid([7], [8], [9])", "setresgid(7, 8, 9)", False),
        ("getuid()", "setresuid(-1, 0, -1)", False),
        ("getresuid([7], [7], [7])", "setgid(7)", False),
        ("getresuid([7], [7], [7])", "setgroups(0, NULL)", False),
    ],
)
def test_only_ids_that_a_process_surely_had_are_no_change(
    before: str, call: str, kept: bool
) -> None:
    *_, changed = actions(f"10 {before} = 0\n10 {call} = 0\n")
    assert changed["kind"] == "cred.change"
    assert changed.get("kept", False) is kept
    assert ("priv.change" in changed.get("tags", ())) is not kept


def test_own_rules_add_to_the_shipped_ones(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        '[[rule]]\ntag = "own.hosts"\nkind = "file.*"\ntarget = "/etc/hosts"\nuid = 7\n'
    )
    done = Run(aggregator=Aggregator(load_rules([str(path)])))
    done.feed('10 geteuid() = 7\n10 stat("/etc/hosts", {st_mode=S_IFREG}) = 0\n')
    done.feed('10 geteuid() = 8\n10 stat("/etc/hosts", {st_mode=S_IFREG}) = 0\n')
    done.finish()
    stats = [action for action in done.actions() if action["kind"] == "file.stat"]
    assert [action.get("tags") for action in stats] == [["own.hosts"], None]
    assert done.aggregator.summary()["tags"] == {"own.hosts": 1}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x", "not TOML"),
        ("[rules]", "only [[rule]] tables"),
        ('[[rule]]\nkind = "proc.exec"', "tag must be"),
        ('[[rule]]\ntag = "a.b"', "kind is missing"),
        ('[[rule]]\ntag = "a.b"\nkind = "proc.dance"', "no Action has the kind proc.dance"),
        ('[[rule]]\ntag = "a.b"\nkind = "proc.exec"\ntargets = "/x"', "unknown key targets"),
        ('[[rule]]\ntag = "a.b"\nkind = "proc.exec"\nport_below = "x"', "port_below must be int"),
        ('[[rule]]\ntag = "a.b"\nkind = "file.open"\naccess = "rw"', "access is read, write"),
        ('[[rule]]\ntag = "a.b"\nkind = "file.open"\nuid = "root"', "uid must be a number"),
        ('[[rule]]\ntag = "a.b"\nkind = "file.open"\ndetail = 1', "detail must be a table"),
        ('[[rule]]\ntag = "a.b"\nkind = "file.open"\ndetail_not = 1', "detail_not must be a"),
    ],
)
def test_rule_that_cannot_be_used_is_named(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=r"own\.toml") as caught:
        parse_rules(text, "own.toml")
    assert complaint in str(caught.value)


def test_rule_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_rules([str(tmp_path / "none.toml")])


def test_globs() -> None:
    pattern = glob(["/etc/*.conf", "**/.ssh/id_?"])
    assert pattern.fullmatch(b"/etc/a.conf")
    assert not pattern.fullmatch(b"/etc/a/b.conf")
    assert pattern.fullmatch(b"/home/a/.ssh/id_x")
    assert not pattern.fullmatch(b"/home/a/.ssh/id_xy")
    assert not glob(["/a.b"]).fullmatch(b"/axb")
