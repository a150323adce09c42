"""The grammar of strace's text a second time: naive, whole texts at once, regular expressions.

It is the oracle of `capsule._parse`: slow, and meant to be seen to be right. It shares nothing
with the parser but the vocabulary. docs/parser.md has the rules in words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from capsule.events import Event, EventFlag, EventKind

# Each part may be absent; the order is strace's.
GROUPS = re.compile(rb"(?:\[ *[^\] ]+\] +)*")
TIME = re.compile(rb"(?:(?P<clock>\d{1,2}:\d{1,2}:\d{1,2}(?:\.\d+)?)|(?P<s>\d+(?:\.\d+)?))(?= )")
RELATIVE = re.compile(rb"\(\+ *\d+(?:\.\d+)?\) +")
NAME = re.compile(rb"([A-Za-z_?][A-Za-z0-9_?]{0,62})\(")
RESUMED = re.compile(rb"<\.\.\. ([A-Za-z_?][A-Za-z0-9_?]{0,62}) resumed>")
RETURN = re.compile(rb"\) *= (?=[0-9]|\?|-[0-9])")
INTEGER = re.compile(rb"(-?)(0x[0-9a-f]+|0[0-7]*|[1-9][0-9]*)(?= |<|$)")
ERRNO = re.compile(rb"E[A-Z0-9_]{0,31}(?= |$)|\(errno (\d{1,20})\)")
DURATION = re.compile(rb" <(\d{1,10}(?:\.\d{1,9})?)>$")
SECONDS = re.compile(rb"(\d{1,10})(?:\.(\d{1,9}))?$")
INJECTED = re.compile(rb" \(INJECTED(: args(, retval)?)?\)( \(DELAYED\))?$")
SIGNAL = re.compile(
    rb"--- (?:(?P<stop>stopped by )(?P<stopped>SIG\w*)|(?P<name>SIG[\w?]*)(?P<rest> .*)?"
    rb"|(?P<old>\{si_signo=(?P<oldname>SIG[\w?]*).*)) ---$",
    re.DOTALL,
)
EXIT = re.compile(
    rb"\+\+\+ (?:exited with (?P<status>\d{1,19})|superseded by execve in pid (?P<thread>\d{1,19})"
    rb"|killed by (?P<signal>SIG[\w?]*)(?P<core> \(core dumped\))?) \+\+\+$"
)
ENDING = re.compile(
    rb" ?<(?:(?P<pending>unfinished \.\.\.>|pid changed to )"
    rb"|(?P<never>unfinished \.\.\. exit status |detached \.\.\.>|Cannot restart pid ))"
)
NOTE = re.compile(
    rb" > | \| |strace: | VCPU|System call usage summary for "
    rb"| [*=] \d+ (?:bytes in buffer|buffers in vector) "
)
TITLES = re.compile(
    rb" *(?:(?:% time|seconds|usecs/call|calls|errors|syscall|shortest|longest"
    rb"|wall-(?:total|min|max|avg))(?: +|$)){2,}$"
)
DIVIDER = re.compile(rb"-[- ]*$")
NOTE_AFTER_PREFIX = re.compile(
    rb"\[ Process PID=.* \]$|Process \d+ (attached|detached|suspended|resumed)", re.DOTALL
)
GLUED = re.compile(rb"strace: Process \d* attached$")
NEAR_OPEN_CALLS = 64
PEEK_LIMIT = 512


def syscall_numbers() -> dict[bytes, set[int]]:
    """Numbers of each call on x86-64 and i386. The table itself is held to the kernel's headers
    by tests/unit/test_reference.py."""
    table = Path(__file__).resolve().parents[1] / "capsule/_numbers.pxd"
    rows = re.findall(r'\{"(\w+)", (-?\d+), (-?\d+)\}', table.read_text())
    return {name.encode(): {int(wide), int(narrow)} - {-1} for name, wide, narrow in rows}


NUMBERS = syscall_numbers()


@dataclass
class Head:
    """The prefix of a line."""

    line: int
    pid: int | None = None
    ts: bytes | None = None
    ts_ns: int | None = None


@dataclass
class Waiting:
    """A call whose end is not known: open, or complete but held."""

    head: Head
    text: bytes
    flags: EventFlag
    held: Event | None = None


@dataclass
class Torn:
    head: Head
    raw: bytes
    text: bytes
    flags: EventFlag


def nanoseconds(text: bytes) -> int | None:
    """Seconds with up to nine decimals; None if they do not fit."""
    found = SECONDS.match(text)
    if found is None or int(found[1]) >= 9223372036:
        return None
    return int(found[1]) * 10**9 + int((found[2] or b"").ljust(9, b"0"))


def after_string(text: bytes, at: int) -> int | None:
    """Where the string ends whose opening quote is before `at`."""
    while at < len(text):
        if text[at : at + 1] == b"\\":
            at += 2
        elif text[at : at + 1] == b'"':
            return at + 1
        else:
            at += 1
    return None


def after_comment(text: bytes, at: int) -> int | None:
    """Where the comment ends whose `/*` is before `at`; comments nest."""
    depth = 1
    while at < len(text):
        if text[at : at + 2] == b"*/":
            at += 2
            depth -= 1
            if depth == 0:
                return at
        elif text[at : at + 2] == b"/*":
            at += 2
            depth += 1
        else:
            at += 1
    return None


def after_decoration(text: bytes, at: int) -> int | None:
    """Where the decoration ends whose `<` is before `at`."""
    path = text[at : at + 1] == b"/"
    angles, squares = 1, 0
    while at < len(text):
        here = text[at : at + 1]
        if here == b"\\":
            at += 2
            continue
        if here == b"<":
            angles += 1
        elif here == b">" and squares == 0:
            angles -= 1
            if angles == 0:
                return at + 1
        elif not path and here == b'"':
            end = after_string(text, at + 1)
            if end is None:
                return None
            at = end
            continue
        elif not path and here == b"[" and (squares or text[at - 1 : at] == b":"):
            squares += 1
        elif not path and here == b"]" and squares:
            squares -= 1
        at += 1
    return None


def split(text: bytes, start: int) -> tuple[list[bytes], int | None]:
    """The arguments from `start`, and where the value after them begins, if there is one."""
    args: list[bytes] = []
    fallback: tuple[list[bytes], int] | None = None
    depth, begin, at = 0, start, start
    comments = decorations = True
    while at < len(text):
        here = text[at : at + 1]
        after: int | None = at + 1
        if here == b'"':
            after = after_string(text, at + 1)
            if after is None:
                break
        elif here == b"," and depth == 0:
            args.append(text[begin:at].strip(b" "))
            begin = at + 1
        elif here in (b"(", b"[", b"{"):
            depth += 1
        elif here in (b")", b"]", b"}"):
            found = RETURN.match(text, at)
            if found and depth == 0:
                return with_last(args, text[begin:at]), found.end()
            if found:
                fallback = with_last(args, text[begin:at]), found.end()
            depth = max(depth - 1, 0)
        elif here == b"<" and decorations and text[at + 1 : at + 2] != b"<":
            before = text[start:at]
            if before[-1:].isdigit() or before.endswith(b"AT_FDCWD"):
                after = after_decoration(text, at + 1)
                if after is None:
                    decorations, after = False, at + 1
        elif text[at : at + 2] == b"/*" and comments:
            after = after_comment(text, at + 2)
            if after is None:
                comments, after = False, at + 1
        at = after
    if fallback:
        return fallback
    return with_last(args, text[begin:]), None


def with_last(args: list[bytes], last: bytes) -> list[bytes]:
    last = last.rstrip(b" ").removesuffix(b"<unfinished ...>").strip(b" ")
    return [*args, last] if last else list(args)


def is_own_number(name: bytes, value: int | None) -> bool:
    return value is not None and value >= 0 and value & ~0x40000000 in NUMBERS.get(name, ())


def returned(head: Head, name: bytes, text: bytes, start: int, flags: EventFlag) -> Event | None:
    """The event of a call whose arguments begin at `start`, if the text holds its return."""
    args, value_at = split(text, start)
    if value_at is None:
        return None
    ret = text[value_at:].rstrip(b" ")
    dur_ns = None
    if (found := DURATION.search(ret)) and (dur_ns := nanoseconds(found[1])) is not None:
        ret = ret[: found.start()].rstrip(b" ")
    retval = errno = None
    token = b"?" if ret[:1] == b"?" else None
    if found := INTEGER.match(ret):
        base = 16 if found[2].startswith(b"0x") else 8 if found[2].startswith(b"0") else 10
        magnitude = int(found[2], base)
        if magnitude < 2**63:
            token = found[0]
            retval = -magnitude if found[1] else magnitude
            flags |= EventFlag.RETVAL
    if token is not None:
        rest = ret[len(token) :]
        if INJECTED.search(rest):
            flags |= EventFlag.INJECTED
        if rest[:1] == b" " and (found := ERRNO.match(rest, 1)):
            errno = found[1] or found[0]
    return Event(
        line=head.line, pid=head.pid, ts=head.ts, ts_ns=head.ts_ns, kind=EventKind.SYSCALL,
        name=name, args=tuple(args), ret=ret, retval=retval, errno=errno, dur_ns=dur_ns, raw=None,
        flags=flags,
    )  # fmt: skip


def plain_event(head: Head, kind: EventKind, **fields: object) -> Event:
    empty: dict[str, object] = dict.fromkeys(("name", "ret", "retval", "errno", "dur_ns", "raw"))
    empty |= {"args": (), "flags": EventFlag(0)}
    return Event(
        line=head.line, pid=head.pid, ts=head.ts, ts_ns=head.ts_ns, kind=kind, **(empty | fields)
    )  # type: ignore[arg-type]


def read_prefix(line: bytes, head: Head) -> bytes:
    """Fill `head`; what is left of the line."""
    at = 0
    if line[:1].isdigit() or line[:1] == b"[":
        found = re.compile(rb"\[pid +(\d{1,7})(?!\d)|(\d{1,7})(?!\d)").match(line)
        if found:
            end: int | None = found.end()
            if line[found.end() : found.end() + 1] == b"<":
                end = after_decoration(line, found.end() + 1)
            tail = rb"\] +" if found[1] else rb" +"
            if end is not None and (blanks := re.compile(tail).match(line, end)):
                head.pid = int(found[1] or found[2])
                at = blanks.end()
    else:
        at = len(line) - len(line.lstrip(b" "))
    at = GROUPS.match(line, at).end()  # type: ignore[union-attr]
    found = TIME.match(line, at)
    if found and len(found[0]) <= 30:
        head.ts = found[0]
        if found["s"] and len(found["s"].partition(b".")[0]) >= 8:
            head.ts_ns = nanoseconds(found["s"])
        at = found.end()
        at = len(line) - len(line[at:].lstrip(b" "))
    if found := RELATIVE.match(line, at):
        at = found.end()
    return line[GROUPS.match(line, at).end() :]  # type: ignore[union-attr]


def read_ending(text: bytes) -> tuple[str, bytes]:
    """How a call line without a value ends, and the text before that."""
    last = text.rfind(b"<")
    if text.endswith(b">") and last >= 0:
        begin = last - 1 if text[last - 1 : last] == b" " else last
        if found := ENDING.match(text, begin):
            return ("pending" if found["pending"] else "never"), text[: found.start()]
    return "", text


@dataclass
class Reference:
    """One text; `parse` gives its events."""

    max_line: int = 1 << 28
    events: list[Event] = field(default_factory=list)
    waiting: dict[int | None, Waiting] = field(default_factory=dict)
    torn: Torn | None = None
    table: str = ""

    def parse(self, data: bytes) -> list[Event]:
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        for number, line in enumerate(lines, 1):
            if len(line) > self.max_line:
                head = Head(number)
                if NAME.match(read_prefix(line[: self.max_line][:PEEK_LIMIT], head)):
                    self.seen(head.pid)
                for at in range(0, len(line), self.max_line):
                    raw = line[at : at + self.max_line]
                    self.events.append(plain_event(Head(number), EventKind.UNPARSED, raw=raw))
            else:
                self.take(number, line.removesuffix(b"\r"))
        self.drop_torn()
        for pid in sorted(self.waiting, key=lambda pid: self.waiting[pid].head.line):
            self.give_up(pid)
        return self.events

    def take(self, number: int, raw: bytes) -> None:
        line = re.sub(rb"\x1b\[[0-9;:]*m", b"", raw)
        head = Head(number)
        rest = read_prefix(line, head)
        if (
            self.take_call(head, line, rest)
            or self.take_resumed(head, rest)
            or self.take_signal(head, rest)
            or self.take_exit(head, rest)
        ):
            self.table = ""
        elif NOTE.match(line) or NOTE_AFTER_PREFIX.match(rest) or self.in_table(line):
            self.events.append(plain_event(Head(number), EventKind.NOTE, raw=raw))
        else:
            if not self.join_torn(line):
                self.events.append(plain_event(Head(number), EventKind.UNPARSED, raw=raw))
            self.table = ""

    def in_table(self, line: bytes) -> bool:
        """A table is: head, divider, rows, divider, total."""
        if self.table in ("", "head") and TITLES.match(line):
            self.table = "head"
        elif self.table == "head" and DIVIDER.match(line):
            self.table = "rows"
        elif self.table == "rows":
            self.table = "total" if DIVIDER.match(line) else "rows"
        elif self.table == "total":
            self.table = ""
        else:
            return False
        return True

    # Calls that wait.

    def add(self, event: Event, text: bytes = b"") -> None:
        """Add a call; hold it if its value may be its own number."""
        assert event.name is not None
        if is_own_number(event.name, event.retval) and event.pid not in self.waiting:
            head = Head(event.line, event.pid)
            self.waiting[event.pid] = Waiting(head, text, event.flags, event)
        else:
            self.events.append(event)

    def seen(self, pid: int | None, *, sigsys: bool = False) -> None:
        """A line of this tracee begins."""
        for key in {pid: None, None: None}:
            call = self.waiting.get(key)
            if call is None or call.held is None:
                continue
            del self.waiting[key]
            event = call.held
            if sigsys and key == pid:
                flags = event.flags & ~EventFlag.RETVAL | EventFlag.SELF_NUMBER
                event = replace(event, retval=None, flags=flags)
            self.events.append(event)

    def give_up(self, pid: int | None) -> None:
        """The end of an open call will not come."""
        call = self.waiting.pop(pid, None)
        if call is None:
            return
        if call.held is not None:
            self.events.append(call.held)
            return
        name = NAME.match(call.text)
        assert name is not None
        self.endless(call.head, name[1], call.text, name.end(), call.flags)

    def endless(self, head: Head, name: bytes, text: bytes, start: int, flags: EventFlag) -> None:
        args, _ = split(text, start)
        flags |= EventFlag.ORPHAN
        self.events.append(
            plain_event(head, EventKind.SYSCALL, name=name, args=tuple(args), ret=b"?", flags=flags)
        )

    # Kinds of lines. Each returns whether it was one.

    def take_call(self, head: Head, line: bytes, text: bytes) -> bool:
        name = NAME.match(text)
        if name is None:
            return False
        self.seen(head.pid)
        self.give_up(head.pid)
        self.drop_torn()
        event = returned(head, name[1], text, name.end(), EventFlag(0))
        if event:
            self.add(event)
            return True
        ending, text = read_ending(text)
        if ending == "pending":
            self.waiting[head.pid] = Waiting(head, text, EventFlag(0))
        elif ending == "never":
            self.endless(head, name[1], text, name.end(), EventFlag(0))
        else:
            self.torn = Torn(head, line, GLUED.sub(b"", text), EventFlag(0))
        return True

    def find_half(self, pid: int | None, name: bytes) -> int | bool | None:
        """The key of the open call that a second half ends; False if there is none."""

        def fits(key: int | None) -> bool:
            call = self.waiting.get(key)
            if call is None or call.held is not None:
                return False
            return call.text.startswith((b"?", name + b"("))

        if fits(pid):
            return pid
        if pid is not None:
            return None if fits(None) else False
        near = list(self.waiting)[::-1][:NEAR_OPEN_CALLS]
        return next((key for key in near if fits(key)), False)

    def take_resumed(self, head: Head, text: bytes) -> bool:
        found = RESUMED.match(text)
        if found is None:
            return False
        name, rest = found[1], text[found.end() :]
        if rest.startswith(b" ") and not rest.startswith((b" =>", b" /*")):
            rest = rest[1:]
        self.seen(head.pid)
        ending, rest = read_ending(rest)
        key = self.find_half(head.pid, name)
        if key is not False and len(self.waiting[key].text) + len(rest) > self.max_line:
            key = False
        if key is False:
            return self.take_orphan(head, name, rest, ending)
        self.drop_torn()
        call = self.waiting[key]
        call.flags |= EventFlag.JOINED
        if call.text.startswith(b"?"):
            call.text = name + call.text[call.text.index(b"(") :]
        call.text += rest
        if call.head.pid is None and head.pid is not None:
            self.give_up(head.pid)
            self.rekey(None, head.pid)
        if ending == "pending":
            return True
        if ending == "never":
            self.give_up(call.head.pid)
            return True
        del self.waiting[call.head.pid]
        event = returned(call.head, name, call.text, len(name) + 1, call.flags)
        if event:
            self.add(event)
        else:
            self.torn = Torn(call.head, call.text, GLUED.sub(b"", call.text), call.flags)
        return True

    def take_orphan(self, head: Head, name: bytes, rest: bytes, ending: str) -> bool:
        rest = rest.removeprefix(b",")
        event = returned(head, name, rest, 0, EventFlag.ORPHAN)
        if not ending and event is None:
            return False
        self.give_up(head.pid)
        self.drop_torn()
        if ending == "pending":
            self.waiting[head.pid] = Waiting(head, name + b"(" + rest, EventFlag.ORPHAN)
        elif ending == "never":
            self.endless(head, name, rest, 0, EventFlag(0))
        elif event:
            self.add(event)
        return True

    def rekey(self, old: int | None, new: int | None) -> None:
        """Give an open call to another pid; its place in the order stays."""
        self.waiting[old].head.pid = new
        self.waiting = {new if key == old else key: call for key, call in self.waiting.items()}

    def take_signal(self, head: Head, text: bytes) -> bool:
        found = SIGNAL.match(text)
        name = found and (found["stopped"] or found["name"] or found["oldname"])
        if not found or not name or len(name) > 64:
            return False
        self.drop_torn()
        self.seen(head.pid, sigsys=name == b"SIGSYS" and b"si_code=SI_" not in text)
        info = (found["old"] or found["rest"] or b"").strip(b" ")
        kind = EventKind.STOPPED if found["stop"] else EventKind.SIGNAL
        self.events.append(plain_event(head, kind, name=name, args=(info,) if info else ()))
        return True

    def take_exit(self, head: Head, text: bytes) -> bool:
        text = text.rstrip(b" ")
        if (duration := DURATION.search(text)) and nanoseconds(duration[1]) is not None:
            text = text[: duration.start()].rstrip(b" ")
        found = EXIT.match(text)
        if found is None or (found["signal"] and len(found["signal"]) > 64):
            return False
        number = found["status"] or found["thread"]
        if number and int(number) >= 2**63:
            return False
        self.drop_torn()
        self.seen(head.pid, sigsys=found["signal"] == b"SIGSYS")
        self.give_up(head.pid)
        if found["signal"]:
            flags = EventFlag.CORE if found["core"] else EventFlag(0)
            event = plain_event(head, EventKind.KILLED, name=found["signal"], flags=flags)
        else:
            assert number is not None
            kind = EventKind.SUPERSEDED if found["thread"] else EventKind.EXIT
            value = {"ret": number, "retval": int(number), "flags": EventFlag.RETVAL}
            event = plain_event(head, kind, **value)
        self.events.append(event)
        if found["thread"]:
            thread = int(found["thread"])
            self.seen(thread)
            if thread in self.waiting:
                self.rekey(thread, head.pid)
        return True

    # Calls that other text broke.

    def drop_torn(self) -> None:
        if self.torn:
            head = Head(self.torn.head.line)
            self.events.append(plain_event(head, EventKind.UNPARSED, raw=self.torn.raw))
            self.torn = None

    def join_torn(self, line: bytes) -> bool:
        torn = self.torn
        if torn is None:
            return False
        ending, line = read_ending(line)
        if not ending and split(line, 0)[1] is None:
            return False
        text = torn.text + line
        flags = torn.flags | EventFlag.TORN | EventFlag.JOINED
        name = NAME.match(text)
        assert name is not None
        if ending == "pending":
            self.give_up(torn.head.pid)
            self.waiting[torn.head.pid] = Waiting(torn.head, text, flags)
        elif ending == "never":
            self.endless(torn.head, name[1], text, name.end(), flags)
        else:
            event = returned(torn.head, name[1], text, name.end(), flags)
            if event is None:
                return False
            self.add(event)
        self.torn = None
        return True


def parse(data: bytes, *, max_line: int = 1 << 28) -> list[Event]:
    """The events of a whole strace text."""
    return Reference(max_line).parse(data)
