"""A run in sentences: what it ran, how it ended, and what deserves a look, worst first."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from capsule.history import by_directory
from capsule.report.model import Model

_SEVERITY = (
    ("kernel.", "alert"), ("proc.mem", "alert"), ("proc.inject", "alert"),
    ("exec.memfd", "alert"), ("write.startup", "alert"), ("read.credentials", "alert"),
    ("priv.", "warn"), ("proc.ptrace", "warn"), ("write.system", "warn"), ("exec.tmp", "warn"),
    ("net.", "warn"), ("blindspot.", "warn"), ("proc.killed", "warn"), ("exec.failed", "warn"),
    ("probe.", "info"), ("io.", "info"),
)  # fmt: skip
"""How a tag begins → how it is told, the worst first. Tags of one's own rules are warnings."""

_OWN_RULES = (8, "warn")


@dataclass(frozen=True, slots=True)
class Note:
    """One thing worth a look. `level`: alert, warn, info. `link`: the page's own fragment.

    `seqs`: the first records behind it; `total`: how many Actions there are."""

    level: str
    text: str
    examples: tuple[str, ...] = ()
    seqs: tuple[int, ...] = ()
    total: int = 0
    tag: str = ""
    link: str = ""


def severity(tag: str) -> tuple[int, str]:
    """A tag's rank, 0 the worst, and level."""
    for rank, (beginning, level) in enumerate(_SEVERITY):
        if tag.startswith(beginning):
            return rank, level
    return _OWN_RULES


def plural(number: int, one: str, many: str = "") -> str:
    """`1 process`, `2,000 processes`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(size_bytes: int) -> str:
    """A size for a sentence: `12 B`, `1.4 MiB`."""
    number = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 10 else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:,.1f} TiB"


def took(duration_ns: int) -> str:
    """A time for a sentence: `310 µs`, `12.4 s`, `3 min 05 s`."""
    if duration_ns < 10**6:
        return f"{duration_ns / 1e3:.0f} µs"
    if duration_ns < 10**9:
        return f"{duration_ns / 1e6:.0f} ms"
    if duration_ns < 60 * 10**9:
        return f"{duration_ns / 1e9:.2f} s"
    minutes, seconds = divmod(duration_ns // 10**9, 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02} min {seconds:02} s" if hours else f"{minutes} min {seconds:02} s"
    )


def command(argv: Sequence[str]) -> str:
    """A command as a shell would take it."""
    return shlex.join(argv) or "(no command recorded)"


def ended(exit_: Any) -> tuple[str, bool]:
    """How the command ended, in words, and whether that was well."""
    if not isinstance(exit_, Mapping):
        return "how it ended is not known", True
    if exit_.get("signal"):
        return f"it was ended by {exit_['signal']}", False
    status = exit_.get("code", exit_.get("status"))
    return f"it ended with exit status {status}", status == 0


def sentences(model: Model, start: Mapping[str, Any], end: Mapping[str, Any] | None) -> list[str]:
    """The run in a few sentences."""
    found = model.digest
    out = []
    where = f" in {found.cwd}" if found.cwd else ""
    lasted = duration_ns(model, start, end)
    long = f" for {took(lasted)}" if lasted is not None else ""
    how = ended(end.get("exit"))[0] if end else "the log does not say how it ended"
    out.append(f"It ran{where}{long}; {how}.")
    text = f"{plural(found.processes, 'process', 'processes')} ran "
    text += plural(len(found.programs), "different program")
    out.append(f"{text}: {_most(found.programs)}." if found.programs else f"{text}.")
    inside = found.parts(found.written, within=True)
    outside = found.parts(found.written, within=False)
    read = found.parts(found.read, within=False)
    wrote = []
    if inside:
        wrote.append(f"{plural(len(inside), 'file')} in the working directory")
    if outside:
        wrote.append(f"{plural(len(outside), 'file')} outside it")
    changed = " and ".join(wrote) if wrote else "no file"
    out.append(f"It wrote or changed {changed}, and read {plural(len(read), 'file')} outside "
               "its working directory.")  # fmt: skip
    if found.hosts:
        moved = f"{size(found.bytes_sent)} went out over sockets"
        moved += f" and {size(found.bytes_received)} came in"
        out.append(f"It talked to {plural(len(found.hosts), 'address', 'addresses')}: "
                   f"{_most(found.hosts)}; {moved}.")  # fmt: skip
    else:
        out.append("It talked to no other address.")
    failures = sum(found.errors.values())
    if failures:
        out.append(f"{plural(failures, 'call')} failed: {_most(found.errors)}.")
    return out


def duration_ns(
    model: Model, start: Mapping[str, Any], end: Mapping[str, Any] | None
) -> int | None:
    """How long the run took, by the trace's own stamps, else by the log's."""
    if model.base_ns is not None and model.last_ns is not None:
        return model.last_ns - model.base_ns
    if end is None or "imported" in start:
        return None
    return int(end["time_ns"]) - int(start["time_ns"])


def _most(counts: Counter[str], most: int = 4) -> str:
    named = [name if n == 1 else f"{name} × {n:,}" for name, n in counts.most_common(most)]
    left = len(counts) - len(named)
    return ", ".join(named) + (f" and {left:,} more" if left > 0 else "")


def notes(model: Model, end: Mapping[str, Any] | None, whys: Mapping[str, str]) -> list[Note]:
    """What deserves a look, worst first. `whys`: tag → its rule's sentence."""
    found = model.digest
    out = []
    for gap in model.gaps:
        count = gap.get("count")
        lost = "An unknown number of events" if count is None else plural(count, "event")
        text = f"{lost} known to be missing: {gap.get('why', '')}"
        out.append(Note("alert", text, seqs=(gap["seq"],), total=1))
    how, well = ended(end.get("exit")) if end else ("", True)
    if not well:
        out.append(Note("warn", f"The command failed: {how}.", link="#failures"))
    for tag, seen in sorted(found.tags.items(), key=lambda item: severity(item[0])[0]):
        out.append(Note(
            severity(tag)[1],
            whys.get(tag) or "An Action has this tag.",
            tuple(what for what, _ in seen.most_common(3)),
            tuple(model.seqs.get(tag, ())),
            sum(seen.values()),
            tag,
            f"#tag={tag}",
        ))  # fmt: skip
    outside = found.parts(found.written, within=False)
    if outside:
        places = tuple(f"{where.rstrip('/')}/ ({n:,})" for where, n in by_directory(outside)[:3])
        text = f"{plural(len(outside), 'file')} outside the working directory written or changed."
        out.append(Note("info", text, places, link="#files"))
    if found.ends:
        total = sum(found.ends.values())
        text = f"{plural(total, 'process', 'processes')} ended badly."
        worst = tuple(f"{what} × {n:,}" if n > 1 else what for what, n in found.ends.most_common(3))
        out.append(Note("info", text, worst, link="#failures"))
    if found.redacted:
        text = f"{plural(found.redacted, 'secret')} in command lines hidden by Capsule."
        out.append(Note("info", text))
    order = {"alert": 0, "warn": 1, "info": 2}
    return sorted(out, key=lambda note: order[note.level])
