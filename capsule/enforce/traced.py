"""A confined run under trace: as `capsule trace`, but confined between the gate and execve."""

from __future__ import annotations

import errno
import signal
from dataclasses import replace
from typing import Any

from capsule.enforce.confinement import Confinement
from capsule.enforce.listener import Listener, take_over
from capsule.gate import Command
from capsule.supervise import Outcome
from capsule.target import TracedRun


class EnforcedRun(TracedRun):
    """One run of `command` under `confinement`, with all that `TracedRun` takes.

    `timeout_s`: kill the command and all it started after so long.
    """

    def __init__(
        self,
        *args: Any,
        command: Command,
        confinement: Confinement,
        timeout_s: float | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*args, command=replace(command, enter=confinement.enter), **more)
        self.confinement = confinement
        self.timeout_s = timeout_s
        self.timed_out = False
        self.listener: Listener | None = None

    def _launch(self) -> None:
        super()._launch()
        self.confinement.forked()
        if self.timeout_s is not None:
            # SIGALRM of the kernel's own comes by this timer alone.
            signal.setitimer(signal.ITIMER_REAL, self.timeout_s)
        if self.confinement.listens and self._target is not None:
            self.listener = take_over(
                self.confinement.page, self._target, self.confinement.calls, self._is_dead
            )

    def _is_dead(self) -> bool:
        self.reap()
        return self._target_status is not None

    def on_signal(self, signo: int, *, from_terminal: bool) -> None:
        """As the base; and the time is up."""
        if signo == signal.SIGALRM and from_terminal and self.timeout_s is not None:
            self.timed_out = True
            self._kill_tree(None)
        else:
            super().on_signal(signo, from_terminal=from_terminal)

    def ended(self) -> dict[str, Any]:
        """As the base, with what the command was under."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        enforced = {**self.confinement.facts, "set": self.confinement.is_set()}
        if self.listener is not None:
            counted = self.listener.finish()
            enforced["complaints"] = [[*key, count] for key, count in counted]
        return {**super().ended(), "enforced": enforced}

    def outcome(self) -> Outcome:
        """As the base; a command that could not be confined has not run."""
        failure = self.confinement.failure()
        if failure is not None:
            return replace(super().outcome(), status=125, failure=failure)
        code = self.confinement.exec_errno()
        outcome = super().outcome()
        if code is None or outcome.failure is not None:
            return outcome
        return replace(outcome, exec_errno=code, status=127 if code == errno.ENOENT else 126)
