"""A run's records as columns: what the page's script searches, draws and counts.

Every text stands once, in `strings`; an Action is a row over the columns. Times are whole
microseconds since `Model.base_ns`; `first` and `seq` are differences to the row before, which
deflate well. `None` stands for a time that the trace does not have.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from capsule.history import Digest, Forest, Node, Record, digest

OWN_COLUMNS = frozenset((
    "seq", "type", "kind", "target", "count", "bytes", "errors", "first_ns", "last_ns", "proc",
    "pid", "exe", "lines", "tags", "prev", "hash",
))  # fmt: skip
"""Members of an Action that `more` does not repeat; `lines` is for `capsule show --raw`."""

SEQS_KEPT = 6
"""How many records the summary names behind a tag."""


class Strings:
    """Texts by number, each once; number 0 is the empty text."""

    def __init__(self) -> None:
        self.texts = [""]
        self._number = {"": 0}

    def number(self, text: str) -> int:
        """The number of `text`, a new one if it has none."""
        found = self._number.setdefault(text, len(self.texts))
        if found == len(self.texts):
            self.texts.append(text)
        return found


@dataclass(slots=True)
class Columns:
    """The Actions. Numbers of `kind`, `target`, `errors`, `tags` and `more` are of `Strings`;
    `errors` and `tags` are JSON, `more` is JSON of the members that are no column."""

    seq: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    count: list[int] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)
    tags: list[int] = field(default_factory=list)
    first: list[int | None] = field(default_factory=list)
    took: list[int] = field(default_factory=list)
    node: list[int] = field(default_factory=list)
    more: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Model:
    """One run. `seqs`: tag → the first records that have it; `last_ns`: the latest stamp."""

    digest: Digest = field(default_factory=Digest)
    strings: Strings = field(default_factory=Strings)
    actions: Columns = field(default_factory=Columns)
    nodes: list[Node] = field(default_factory=list)
    forest: Forest = field(default_factory=Forest)
    gaps: list[Record] = field(default_factory=list)
    seqs: dict[str, list[int]] = field(default_factory=dict)
    base_ns: int | None = None
    last_ns: int | None = None


def collect(records: Iterable[Record]) -> Model:
    """Read a run's records, in order."""
    model = Model()
    model.digest = digest(_Collector(model).watch(records))
    return model


class _Collector:
    def __init__(self, model: Model) -> None:
        self._model = model
        self._number: dict[int, int] = {}  # id of a node → its row
        self._seq = 0
        self._first = 0

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            kind = record.get("type")
            if kind == "action":
                self._action(record)
            elif kind == "gap":
                self._model.gaps.append(record)
            yield record

    def _action(self, record: Record) -> None:
        model, rows = self._model, self._model.actions
        number = model.strings.number
        node = model.forest.feed(record)
        seq = record["seq"]
        rows.seq.append(seq - self._seq)
        self._seq = seq
        rows.kind.append(number(record["kind"]))
        target = record.get("target")
        rows.target.append(0 if target is None else number(str(target)))
        rows.count.append(record.get("count", 0))
        rows.bytes.append(record.get("bytes", 0))
        rows.errors.append(self._json(record.get("errors")))
        tags = record.get("tags")
        rows.tags.append(self._json(tags))
        for tag in tags or ():
            seqs = model.seqs.setdefault(tag, [])
            if len(seqs) < SEQS_KEPT:
                seqs.append(seq)
        self._time(record, rows)
        rows.node.append(-1 if node is None else self._row(node))
        more = {name: value for name, value in record.items() if name not in OWN_COLUMNS}
        if node is None and "pid" in record:
            more["pid"] = record["pid"]
        if node is not None and record.get("exe") not in (None, node.exe):
            more["exe"] = record["exe"]
        rows.more.append(self._json(more))

    def _json(self, value: Any) -> int:
        return self._model.strings.number(orjson.dumps(value).decode()) if value else 0

    def _row(self, node: Node) -> int:
        found = self._number.setdefault(id(node), len(self._number))
        if found == len(self._model.nodes):
            self._model.nodes.append(node)
        return found

    def _time(self, record: Record, rows: Columns) -> None:
        model, first, last = self._model, record.get("first_ns"), record.get("last_ns")
        if not isinstance(first, int) or not isinstance(last, int):
            rows.first.append(None)
            rows.took.append(0)
            return
        if model.base_ns is None:
            model.base_ns = model.last_ns = first
        model.last_ns = max(model.last_ns or last, last)
        at = (first - model.base_ns) // 1000
        rows.first.append(at - self._first)
        self._first = at
        rows.took.append((last - first) // 1000)


def plain(model: Model) -> dict[str, Any]:
    """The model as JSON has it: `strings`, `actions` (columns), `nodes` (columns)."""
    rows = model.actions
    nodes = model.nodes
    known = {id(node) for node in nodes}
    parents = {}
    pending = list(model.forest.roots.values())
    while pending:
        node = pending.pop()
        for child in node.children:
            parents[id(child)] = node
            pending.append(child)
            if id(child) not in known:  # born, and never heard of again
                known.add(id(child))
                nodes.append(child)
    index = {id(node): row for row, node in enumerate(nodes)}
    base = model.base_ns or 0

    def micros(stamp: int | None) -> int | None:
        return None if stamp is None else (stamp - base) // 1000

    number = model.strings.number
    columns = {
        "proc": [node.proc for node in nodes],
        "pid": [node.pid for node in nodes],
        "parent": [index.get(id(parents.get(id(node))), -1) for node in nodes],
        "argv": [number(orjson.dumps(node.argv).decode()) for node in nodes],
        "exe": [number(node.exe or "") for node in nodes],
        "first": [micros(node.first_ns) for node in nodes],
        "last": [micros(node.last_ns) for node in nodes],
        "end": [number(node.end or "") for node in nodes],
        "forked": [int(node.born) for node in nodes],
    }
    return {
        "base_ns": None if model.base_ns is None else str(model.base_ns),
        "actions": {name: getattr(rows, name) for name in Columns.__dataclass_fields__},
        "nodes": columns,
        "strings": model.strings.texts,
    }


def packed(data: Any) -> str:
    """JSON, deflated (RFC 1950), as base64: what stands in the page."""
    return base64.b64encode(zlib.compress(orjson.dumps(data), 9)).decode()


def unpacked(text: str) -> Any:
    """What `packed` packed."""
    return orjson.loads(zlib.decompress(base64.b64decode(text)))
