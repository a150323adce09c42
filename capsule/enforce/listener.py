"""What a filter hands over instead of denying it: counted, and let go on (seccomp_unotify(2)).

Advisory: between our look at a call and the kernel's, another thread can change what it points to.
What is counted here, a number and arguments, cannot change.
"""

from __future__ import annotations

import mmap
import os
import select
import threading
import time
from collections import Counter
from collections.abc import Callable

from capsule.behaviour import Key
from capsule.enforce import _confine
from capsule.enforce.callrule import rule_for
from capsule.errors import TraceFailed

TAKE_OVER_S = 10.0


class Listener:
    """Counts the calls of one confined target, in a thread of its own."""

    def __init__(self, fd: int, allowed: frozenset[str]) -> None:
        self._fd = fd
        self._allowed = allowed
        self.counted: Counter[Key] = Counter()
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        while True:
            for _, event in poller.poll():
                if event & select.POLLIN:
                    call = _confine.next_call(self._fd)
                    if call is not None:
                        self.counted[rule_for(*call[1:], self._allowed)] += 1
                elif event:
                    return  # POLLHUP: nobody is left under the filter

    def finish(self) -> list[tuple[Key, int]]:
        """Return what was counted, most first, once the target has ended."""
        self._thread.join(TAKE_OVER_S)
        if not self._thread.is_alive():
            os.close(self._fd)
        return self.counted.most_common()


def take_over(
    page: mmap.mmap, pid: int, allowed: frozenset[str], is_dead: Callable[[], bool]
) -> Listener | None:
    """Return the listener of child `pid`, which waits for that; None if it has died.

    `allowed`: the calls that the policy allows, be it with some arguments only.
    """
    deadline_s = time.monotonic() + TAKE_OVER_S
    while True:
        try:
            fd = _confine.take_listener(page, pid)
        except OSError as error:
            raise TraceFailed(
                f"cannot take over the seccomp listener: {error.strerror}; --complain needs "
                "leave to ptrace the command (kernel.yama.ptrace_scope up to 1, or root)"
            ) from error
        if fd >= 0:
            return Listener(fd, allowed)
        if is_dead() or time.monotonic() > deadline_s:
            return None
        time.sleep(0.0002)
