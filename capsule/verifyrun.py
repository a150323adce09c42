"""The verdict on a whole run, all its files, read from disk."""

from __future__ import annotations

from pathlib import Path

from capsule import logdir
from capsule.errors import CapsuleError
from capsule.verify import Pins, Report, Unreadable, Verifier

CHUNK = 1 << 18


def verify_run(path: Path, pins: Pins | None = None) -> Report:
    """Verify the run whose first log is `path`. CapsuleError when it cannot be read."""
    verifier = Verifier(Pins() if pins is None else pins)
    files = logdir.parts(path)
    try:
        for part, file in enumerate(files):
            if part and not verifier.next_part():
                break
            with file.open("rb") as log:
                while (chunk := log.read(CHUNK)) and verifier.feed(chunk):
                    pass
    except OSError as error:
        raise CapsuleError(f"cannot read {path}: {error.strerror}") from None
    except Unreadable as error:
        raise CapsuleError(str(error)) from None
    if (gone := logdir.missing_part(files)) is not None:
        verifier.missing_part(gone)
    return verifier.finish()
