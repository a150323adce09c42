"""strace text in, event batches out."""

from collections.abc import Sequence

class Parser:
    """Turns the text that strace writes into event batches (layout: `capsule.events`).

    It understands what strace 4.5 to 7.x prints with any of its output options; docs/parser.md
    has the grammar. Any chunking of the same bytes gives the same events. It never raises on any
    bytes, and holds no more than the calls that are open and the line that has not ended.

    Events come in the order of completion; `line` is the line that opened the event.

    - `syscall`: `args` are the top-level argument texts without outer blanks; `ret` is all that
      follows `= ` but a duration (`-1 ENOENT (No such file or directory)`, `3</etc/passwd>`,
      `1 ([{fd=3, revents=POLLIN}])`), `?` when the call never returned; `retval` is its integer
      (of `0x…` and of octal too), `errno` the ENAME (the digits of `(errno N)`).
      `ts` is the absolute stamp, or the relative one when there is no other.
    - `signal`: `name` is SIGCHLD, `args` one text, `{si_signo=SIGCHLD, …}`.
    - `exit`: `ret` and `retval` are the status.
    - `killed`: `name` is the signal; flag CORE.
    - `stopped`: `name` is the signal.
    - `superseded`: `ret` and `retval` are the pid whose execve it was.
    - `note`, `unparsed`: `raw` is the whole line without its terminator.

    Flags: JOINED, from more than one line. ORPHAN, a half was never seen. TORN, other text broke
    the line. SELF_NUMBER, seccomp stopped the call: it has no `retval`, and `ret` is the call's
    own number; such a value is held back until the tracee's next line begins.
    """

    def __init__(self, names: Sequence[str | bytes] = (), *, max_line: int = 268435456) -> None:
        """`names[i]` gets `name_id` i + 1. A line longer than `max_line` bytes becomes pieces
        of that size, each `unparsed`.

        Raises ValueError for more than 65535 names or `max_line` outside 1 … 2**28.
        """

    def feed(self, data: bytes | bytearray | memoryview) -> bytes:
        """Take the next bytes, at most 1 GiB; one batch, `b""` when they complete no event.

        Raises MemoryError, and OverflowError if one batch would hold more than 4 GiB of text;
        the parser is of no use after either.
        """

    def finish(self) -> bytes:
        """The end of the text: the last line if it has no newline, then calls that never
        returned, by line, with `ret` `?`.
        """

    def counters(self) -> dict[str, int]:
        """Counts so far; `lines_in + cut == events + joined + open`.

        bytes_in, lines_in; cut: pieces beyond the first of lines over `max_line`; events;
        joined: lines that continued an event; open: calls that wait for their end (0 after
        `finish`); unparsed, notes, orphans: that many of the events.
        """
