"""A systemd of its own: pid 1 of new namespaces, with one service, this machine's programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_BOOT = r"""
set -eu
root=$1 where=$2
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p usr proc sys dev run home tmp var/tmp var/log root srv etc/systemd/system ".$where"
for name in bin sbin lib lib64; do ln -s usr/$name $name; done
mount --rbind /usr usr
cp -a /etc/passwd /etc/group /etc/nsswitch.conf /etc/ld.so.cache /etc/alternatives etc/
echo secret > etc/shadow
echo 0123456789abcdef0123456789abcdef > etc/machine-id
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs tmpfs dev
for name in null zero full random urandom tty; do
  : > dev/$name; mount --bind /dev/$name dev/$name
done
mkdir dev/pts dev/shm dev/mqueue
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs tmpfs run
chmod 1777 tmp var/tmp
mount --bind "$where" ".$where"
cp -r "$where"/units/. etc/systemd/system/
exec chroot . env -i container=test PATH=/usr/sbin:/usr/bin LC_ALL=C \
  /lib/systemd/systemd --system --unit=probe.service --log-target=null --show-status=no
"""

_SERVICE = """\
[Unit]
DefaultDependencies=no
SuccessAction=exit
FailureAction=exit
[Service]
Type=exec
Environment=PATH=/usr/bin LC_ALL=C HOME={where}
WorkingDirectory=/
ExecStart=/bin/sh {where}/script
StandardOutput=append:{where}/output
StandardError=append:{where}/output
"""


@dataclass(frozen=True, slots=True)
class Done:
    """What the service left: its status, 226 and the like if it was not started; its output."""

    returncode: int
    output: str


class Manager:
    """Runs a shell script as a service; `where` is all of the disk that it may keep."""

    def __init__(self, where: Path) -> None:
        self.where, self.units = where, where / "units"
        (self.units / "probe.service.d").mkdir(parents=True)
        (where / "root").mkdir()

    def run(self, script: str, drop_in: str = "") -> Done:
        (self.where / "script").write_text(script)
        (self.where / "output").write_text("")
        (self.units / "probe.service").write_text(_SERVICE.format(where=self.where))
        (self.units / "probe.service.d/capsule.conf").write_text(drop_in)
        top = Path("/sys/fs/cgroup/unified")
        cgroup = (top if top.is_dir() else top.parent) / f"capsule-test-{os.getpid()}"
        cgroup.mkdir()
        words = ["unshare", "-Cmpfui", "sh", "-c", _BOOT, "sh", str(self.where / "root"),
                 str(self.where)]  # fmt: skip
        enter = 'echo $$ > "$0/cgroup.procs"; exec "$@"'
        try:
            done = subprocess.run(
                ["sh", "-c", enter, str(cgroup), *words], timeout=60, check=False,
                stdin=subprocess.DEVNULL, capture_output=True,
            )  # fmt: skip
        finally:
            for directory, _, _ in os.walk(cgroup, topdown=False):
                Path(directory).rmdir()
        told = (self.where / "output").read_text() + done.stderr.decode(errors="replace")
        return Done(done.returncode, told)


def found() -> bool:
    return Path("/lib/systemd/systemd").exists() and shutil.which("unshare") is not None
