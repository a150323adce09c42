"""The formats there are: name → who writes it, and what has to be known of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from capsule.errors import CapsuleError
from capsule.export import (
    csvfile,
    dot,
    ecs,
    intoto,
    jsonl,
    ocsf,
    otlp,
    parquet,
    perfetto,
    stracetext,
)
from capsule.export.options import Options
from capsule.export.runs import Run

Writer = Callable[[Sequence[Run], Options], Iterator[bytes]]


class Format(NamedTuple):
    """`media`: its media type. `streaming`: what is held does not grow with the Actions, but at
    most with the processes. `many`: several runs make one output. `binary`: no terminal can show
    it. `needs`: the module of the library it is made with.
    """

    write: Writer
    media: str
    what: str
    streaming: bool = True
    many: bool = True
    binary: bool = False
    needs: str | None = None


FORMATS: Mapping[str, Format] = {
    "jsonl": Format(jsonl.write, "application/jsonl", "the log's records as they are"),
    "ocsf": Format(ocsf.write, "application/jsonl", "Open Cybersecurity Schema Framework events"),
    "ecs": Format(ecs.write, "application/jsonl", "Elastic Common Schema documents"),
    "otlp": Format(otlp.write, "application/jsonl", "OpenTelemetry spans and log records"),
    "in-toto": Format(
        intoto.write, "application/vnd.in-toto+json", "a runtime-trace statement", streaming=False
    ),
    "csv": Format(csvfile.write, "text/csv", "a table (--table)"),
    "parquet": Format(
        parquet.write, "application/vnd.apache.parquet", "a table (--table)",
        binary=True, needs="pyarrow",
    ),
    "dot": Format(dot.write, "text/vnd.graphviz", "the process tree for Graphviz"),
    "perfetto": Format(
        perfetto.write, "application/x-perfetto-trace", "a timeline for ui.perfetto.dev",
        many=False, binary=True, needs="perfetto.protos.perfetto.trace.perfetto_trace_pb2",
    ),
    "strace": Format(stracetext.write, "text/plain", "strace's own text (trace --keep-raw)"),
}  # fmt: skip


def require(name: str) -> None:
    """CapsuleError where the library that a format is made with is not installed."""
    needs = FORMATS[name].needs
    if needs is None:
        return
    try:
        importlib.import_module(needs)
    except ImportError:
        library = needs.partition(".")[0]
        raise CapsuleError(
            f"{name} needs {library}; install it with: pip install 'capsule-runtime[export]'"
        ) from None
