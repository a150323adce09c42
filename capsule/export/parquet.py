"""parquet: one of the tables, zstd-compressed, a row group every 32,768 rows."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

from capsule.export.options import Options
from capsule.export.runs import Run
from capsule.export.tables import TABLES, batches

GROUP_ROWS = 1 << 15


def write(runs: Sequence[Run], options: Options) -> Iterator[bytes]:
    """Return the table as a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        "integer": pa.int64(),
        "text": pa.string(),
        "texts": pa.list_(pa.string()),
        "integers": pa.list_(pa.int64()),
        "counts": pa.map_(pa.string(), pa.int64()),
        "time": pa.timestamp("ns", tz="UTC"),
    }
    table = TABLES[options.table]
    schema = pa.schema([(name, types[kind]) for name, kind in table.columns.items()])
    counts = [i for i, kind in enumerate(table.columns.values()) if kind == "counts"]
    buffer = _Drained()
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for batch in batches(table.rows(runs), GROUP_ROWS):
            columns: list[Sequence[Any]] = list(zip(*batch, strict=True))
            for index in counts:
                columns[index] = [value and list(value.items()) for value in columns[index]]
            arrays = [pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            batch.clear()  # or two groups would be held while the next one is read
            del columns, arrays
            yield buffer.drain()
    yield buffer.drain()


class _Drained(io.RawIOBase):
    """A file that is written to at one end and emptied at the other."""

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()
        self._taken = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held += data
        return len(data)

    def tell(self) -> int:
        return self._taken + len(self._held)

    def drain(self) -> bytes:
        """Return what was written since the last call."""
        data = bytes(self._held)
        self._held.clear()
        self._taken += len(data)
        return data
