"""The shell's job that we are started as: leaving its process group, stopping as it does."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from contextlib import suppress


class Job:
    """Our process group as it was given, while we may be in another one.

    `blocked`: signals that stay blocked but for the moment of a stop.
    """

    def __init__(self, blocked: Collection[int]) -> None:
        self._group = os.getpgrp()
        self._blocked = blocked

    def leave(self, beside: int) -> None:
        """Move to the group of the process `beside`: what is sent to the job passes us by."""
        with suppress(PermissionError):  # a session leader cannot, and no shell watches it
            os.setpgid(0, beside)

    def rejoin(self) -> None:
        with suppress(PermissionError):  # the group has ended, and nobody waits for it
            os.setpgid(0, self._group)

    def stop(self, signo: int, beside: int) -> None:
        """Stop by `signo` as a member of the job, so that its fg wakes us too."""
        self.rejoin()
        os.kill(os.getpid(), signo)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signo})
        signal.pthread_sigmask(signal.SIG_BLOCK, self._blocked)
        self.leave(beside)

    def has_terminal(self) -> bool:
        """Whether the terminal's keys go to the job: it is the foreground group (tcgetpgrp(3))."""
        with suppress(OSError):
            tty = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
            try:
                return os.tcgetpgrp(tty) == self._group
            finally:
                os.close(tty)
        return False
