"""Files of the Rerun viewer, read by Rerun's own reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import rerun.chunk

TIMELINE = "stamp"


def read_rrd(path: Path) -> dict[str, dict[str, list]]:
    """Return the values of a file: by entity and component, a list with an entry for each row.

    Stamps are nanoseconds.
    """
    reader = rerun.chunk.RrdReader(path)
    chunks = []
    for chunk in reader.stream(store=reader.recordings()[0]):
        batch = chunk.to_record_batch()
        columns = {
            name: column.cast(pyarrow.int64())
            if pyarrow.types.is_timestamp(column.type)
            else column
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }
        values = {name: column.to_pylist() for name, column in columns.items()}
        chunks.append((chunk.entity_path.lstrip("/"), values))
    found: dict[str, dict[str, list]] = {}
    for entity, values in sorted(chunks, key=lambda each: each[1].get(TIMELINE, [0])):
        for name, rows in values.items():
            found.setdefault(entity, {}).setdefault(name, []).extend(rows)
    return found


def pixels_of(entity: dict[str, list], archetype: str, dtype: type, row: int = 0) -> np.ndarray:
    """Return the (H, W) pixels of an image that is not compressed."""
    (layout,) = entity[f"{archetype}:format"][row]
    (data,) = entity[f"{archetype}:buffer"][row]
    return np.frombuffer(bytes(data), dtype).reshape(layout["height"], layout["width"])
