"""Logs for tests of the exporters: written by the real Logger, verified, and opened as runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson
from hypothesis import strategies as st

from capsule.export.formats import FORMATS
from capsule.export.options import Options
from capsule.export.runs import Run
from capsule.log import Logger
from capsule.syscalls import KINDS
from capsule.verifyrun import verify_run

RUN = "20260101T000000000Z-0123456789ab"
T0 = 1_767_225_600_000_000_000
HOSTILE = "/tmp/a\n\"b',</script>\\xff\u202e\u2028\t;`$(id)`"

Body = dict[str, Any]


def body(kind: str, **more: Any) -> Body:
    """An Action's members, in the order of the log."""
    base = {"kind": kind, "target": None, "count": 1, "first_ns": T0, "last_ns": T0 + 1500,
            "proc": 1, "pid": 100, "exe": "/bin/sh", "uid": 1000, "lines": [1, 1]}  # fmt: skip
    return {key: value for key, value in (base | more).items() if value is not None}


def every_kind() -> list[Body]:
    """Actions of every kind: with a target, without one, failed, of nobody."""
    bodies = [body("proc.exec", target="/bin/sh", argv=["sh", "-c", HOSTILE], cwd="/w", ppid=7)]
    for kind in (*KINDS, "later.kind"):
        target = "127.0.0.1:80" if kind.startswith("net.") else HOSTILE
        bodies += [
            body(kind, target=target, bytes=2**63 - 1, tags=["a.tag"]),
            body(kind, count=3, errors={"ENOENT": 2, "EACCES": 1}),
            body(kind, proc=None, pid=None, exe=None, uid=None, first_ns=None, last_ns=None),
        ]
    return bodies


def make_run(path: Path, bodies: Iterable[Body], *, seal: bool = True, **start: Any) -> Run:
    """Write a log of these Actions and open it as the command does."""
    facts = {"run": RUN, "argv": ["sh"], "cwd": "/w", "uid": 1000, "host": "here",
             "kernel": "Linux 6.1.0 x86_64", "boot_id": "b", "time_ns": T0, **start}  # fmt: skip
    log = Logger(path, facts, fsync="never")
    for one in bodies:
        log.feed(orjson.dumps(one) + b"\n")
    if seal:
        log.close({"exit": {"code": 0}, "time_ns": T0 + 10**9})
    else:
        log.abandon()
    return Run(path, verify_run(path))


def exported(form: str, runs: Run | Sequence[Run], **options: Any) -> bytes:
    """What the writer of a format makes of runs."""
    many = [runs] if isinstance(runs, Run) else runs
    return b"".join(FORMATS[form].write(many, Options(**options)))


def json_lines(data: bytes) -> list[dict[str, Any]]:
    assert data.endswith(b"\n")
    return [orjson.loads(line) for line in data.splitlines()]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
counts = st.integers(0, 10**18 - 1)
integers = st.integers(0, 2**63 - 1)
targets = st.one_of(
    texts,
    texts.map("/".__add__),
    st.sampled_from(["127.0.0.1:80", "[::1]:99999", "[fe80::1]:1", "unix:/run/x", "pid:12", ""]),
)
bodies = st.builds(
    body,
    kind=st.sampled_from([*KINDS, "later.kind"]),
    target=st.none() | targets,
    count=counts,
    bytes=st.none() | integers,
    errors=st.none() | st.dictionaries(st.sampled_from(["ENOENT", "EPERM", "133"]), counts),
    first_ns=st.none() | integers,
    proc=st.none() | st.integers(1, 4),
    pid=st.none() | st.integers(1, 2**22),
    exe=st.none() | texts,
    uid=st.none() | st.integers(0, 2**32 - 1),
    to=st.none() | targets,
    argv=st.none() | st.lists(texts, max_size=4),
    cwd=st.none() | texts,
    parent=st.none() | st.integers(1, 4),
    child=st.none() | st.integers(1, 4),
    status=st.none() | st.integers(0, 255),
    signal=st.none() | st.just("SIGKILL"),
    local=st.none() | targets,
    tags=st.none() | st.lists(texts, min_size=1, max_size=2),
)
"""Actions as no program of ours writes them, but a log may hold them."""
