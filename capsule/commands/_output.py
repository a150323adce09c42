"""Where a command writes what it makes: a file, whole or not at all, or standard output."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from capsule.errors import CapsuleError


@contextlib.contextmanager
def output(name: str | None) -> Iterator[Callable[[bytes], int]]:
    """A function that writes. A regular file appears, or is replaced, when all is written."""
    if name is None or name == "-":
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    path = Path(os.path.realpath(name))
    special = path.exists() and not path.is_file()  # a device or a pipe is written to as it is
    part = path if special else path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("wb" if special else "xb") as file:
            yield file.write
        if not special:
            part.replace(path)
    except OSError as error:
        raise CapsuleError(f"cannot write {name}: {error.strerror}") from None
    finally:
        if not special:
            part.unlink(missing_ok=True)
