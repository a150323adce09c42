"""The log directory: where it is, whether it can be trusted, and which run is meant.

A directory in /tmp can be prepared by anyone, so it is used only if it is a real directory
of our own that nobody else may enter. Files are created with O_EXCL and O_NOFOLLOW.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from pathlib import Path

from capsule.errors import LogDirRefused, RunNotFound

SUFFIX = ".jsonl"
LATEST = "latest"
_PART = re.compile(r"(?P<run>.+)\.(?P<part>[1-9][0-9]*)")


def log_dir(flag: str | None) -> Path:
    """The directory to use: `flag`, else CAPSULE_LOG_DIR, else /tmp/capsule-<uid>."""
    chosen = flag or os.environ.get("CAPSULE_LOG_DIR")
    return Path(chosen) if chosen else Path(f"/tmp/capsule-{os.getuid()}")


def open_log_dir(path: Path) -> Path:
    """Create `path` (0700) if it is missing, and refuse it unless it is ours alone.

    Raises LogDirRefused. A missing parent is not created: a mistyped name should be seen.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise LogDirRefused(
            f"cannot create the log directory {path}: {error.strerror}; "
            "name another with --log-dir or CAPSULE_LOG_DIR"
        ) from None
    _check(path)
    return path


def _check(path: Path) -> None:
    try:
        found = path.lstat()
    except OSError as error:
        raise LogDirRefused(f"cannot look at the log directory {path}: {error.strerror}") from None
    what, todo = "", "remove it or name another with --log-dir"
    if stat.S_ISLNK(found.st_mode):
        what, todo = "is a symbolic link", "name the directory itself with --log-dir"
    elif not stat.S_ISDIR(found.st_mode):
        what = "is not a directory"
    elif found.st_uid != os.geteuid():
        what = f"belongs to uid {found.st_uid}, not to you (uid {os.geteuid()})"
        todo = "name another with --log-dir"
    elif found.st_mode & 0o077:
        what = f"is open to others (mode {stat.S_IMODE(found.st_mode):04o})"
        todo = f"run `chmod 700 {path}` if what is in it is yours"
    elif not os.access(path, os.W_OK | os.X_OK):
        what, todo = "is not writable", f"run `chmod 700 {path}` or name another with --log-dir"
    elif _anyone_can_replace(path):
        what = "can be replaced by anyone: its parent is writable by all and not sticky"
        todo = "name another with --log-dir"
    if what:
        raise LogDirRefused(f"the log directory {path} {what}; {todo}")


def _anyone_can_replace(path: Path) -> bool:
    mode = path.absolute().parent.stat().st_mode
    return bool(mode & stat.S_IWOTH and not mode & stat.S_ISVTX)


def new_run_id() -> str:
    """A name for a run: UTC to the millisecond, which sorts, and 48 random bits."""
    seconds, ns = divmod(time.time_ns(), 10**9)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
    return f"{stamp}{ns // 10**6:03d}Z-{os.urandom(6).hex()}"


def log_path(directory: Path, run: str, part: int = 0) -> Path:
    """The file of `run`; rotation adds `.1`, `.2`, … before the suffix."""
    return directory / (f"{run}.{part}{SUFFIX}" if part else f"{run}{SUFFIX}")


def create_log(path: Path) -> int:
    """Create the log file `path` (0600) and return its descriptor, which appends.

    Raises LogDirRefused if the name is taken or the directory does not allow it.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_APPEND
    try:
        return os.open(path, flags, 0o600)
    except FileExistsError:
        raise LogDirRefused(f"{path} exists already; a log is never written over") from None
    except OSError as error:
        raise LogDirRefused(f"cannot create the log {path}: {error.strerror}") from None


def set_latest(path: Path) -> None:
    """Point `latest` beside `path` at it, in one step; readers see the old or the new one."""
    link = path.with_name(LATEST)
    fresh = path.with_name(f".{LATEST}.{os.urandom(6).hex()}")
    fresh.symlink_to(path.name)
    try:
        fresh.replace(link)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise


def split_name(path: Path) -> tuple[str, int]:
    """A log file's run and part: `<run>.jsonl` is part 0, `<run>.3.jsonl` part 3."""
    stem = path.name.removesuffix(SUFFIX)
    match = _PART.fullmatch(stem)
    return (match["run"], int(match["part"])) if match else (stem, 0)


def parts(path: Path) -> list[Path]:
    """Every file of the run that `path` belongs to, in order, up to the first that is missing."""
    run, part = split_name(path)
    first = log_path(path.parent, run)
    if path.name == run or (part and not first.exists()):
        return [path]
    found = [first]
    while (following := log_path(path.parent, run, len(found))).exists():
        found.append(following)
    return found


def missing_part(files: list[Path]) -> int | None:
    """The number of a rotated run's file that is missing though a later one is there."""
    run, part = split_name(files[-1])
    pattern = re.compile(re.escape(run) + r"\.([1-9][0-9]*)" + re.escape(SUFFIX))
    try:
        names = os.listdir(files[-1].parent)
    except OSError:
        return None
    later = [int(match[1]) for name in names if (match := pattern.fullmatch(name))]
    return part + 1 if files[-1].name.endswith(SUFFIX) and max(later, default=0) > part else None


def runs(directory: Path) -> list[Path]:
    """The first file of every run in `directory`, newest first."""
    try:
        names = sorted((entry.name for entry in os.scandir(directory)), reverse=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LogDirRefused(
            f"cannot read the log directory {directory}: {error.strerror}"
        ) from None
    return [
        directory / name
        for name in names
        if name.endswith(SUFFIX) and not name.startswith(".") and not split_name(Path(name))[1]
    ]


def find_run(name: str | None, directory: Path) -> Path:
    """The log that `name` means: None the latest; else a path, a run id or a unique prefix.

    A name with a slash, or ending in .jsonl, is a path. Raises RunNotFound.
    """
    if name is None:
        found = runs(directory)
        link = directory / LATEST
        if link.is_symlink() and link.exists():
            return directory / os.readlink(link)
        if not found:
            raise RunNotFound(
                f"no run in {directory}; record one with `capsule trace -- COMMAND`, "
                "or name the directory with --log-dir"
            )
        return found[0]
    if "/" in name or name.endswith(SUFFIX):
        path = Path(name)
        if not path.exists() and "/" not in name and (directory / name).exists():
            path = directory / name
        if not path.exists():
            raise RunNotFound(f"no such log: {name}; `capsule runs` lists them")
        return path
    if name == LATEST:
        return find_run(None, directory)
    exact = log_path(directory, name)
    if exact.exists():
        return exact
    found = [path for path in runs(directory) if path.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    if Path(name).is_file():
        return Path(name)
    if not found:
        raise RunNotFound(f"no run {name} in {directory}; `capsule runs` lists them")
    raise RunNotFound(
        f"{name} could be {len(found)} runs, {split_name(found[-1])[0]} among them; "
        "give more of the name"
    )
