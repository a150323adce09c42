"""The file system as it is now, as a Landlock plan asks for it."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator

from capsule import generalise
from capsule.enforce.landlock import Kind
from capsule.text import escape_arg, unescape_arg


class Disk:
    """`landlock.Tree` of this machine. What cannot be looked at is not there.

    Paths are what a log and a policy write: escaped (`capsule.text`).
    """

    def kind(self, path: str) -> Kind | None:
        try:
            mode = os.stat(unescape_arg(path)).st_mode
        except (OSError, ValueError):
            return None
        if stat.S_ISDIR(mode):
            return "dir"
        return "device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "file"

    def link(self, path: str) -> str | None:
        try:
            return escape_arg(os.readlink(unescape_arg(path)))
        except (OSError, ValueError):
            return None

    def links(self, directory: str) -> Iterator[str]:
        try:
            with os.scandir(unescape_arg(directory)) as entries:
                yield from (escape_arg(one.path) for one in entries if one.is_symlink())
        except (OSError, ValueError):
            return

    def is_shared(self, path: str) -> bool:
        try:
            return bool(os.stat(unescape_arg(path)).st_mode & stat.S_ISVTX)
        except (OSError, ValueError):
            return False

    def matching(self, pattern: str) -> Iterator[str]:
        wild = "*".join(glob.escape(unescape_arg(part)) for part in pattern.split("*"))
        for path in map(escape_arg, glob.iglob(wild, include_hidden=True)):
            if generalise.matches(pattern, path):
                yield path
