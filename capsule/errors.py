"""Errors that speak to a person: one line of what is wrong and what to do next."""


class CapsuleError(Exception):
    """A failure the user can act on. Its text is printed as is, without a traceback.

    `exit_status` is what the command returns for it: 125 under `trace` (Capsule
    itself failed, the command's own statuses are left alone), 2 elsewhere.
    """

    exit_status = 2


class UsageError(CapsuleError):
    """The words of the command line do not fit together."""


class RunNotFound(CapsuleError):
    """No log answers to the name that was given."""


class LogDirRefused(CapsuleError):
    """The log directory cannot be used: a link, someone else's, not writable."""


class TraceFailed(CapsuleError):
    """Capsule, strace or the machine failed; the target did not run, or was killed."""

    exit_status = 125


class LogFailed(CapsuleError):
    """The log cannot be written, or was changed under us. What was written stays valid."""

    exit_status = 125
