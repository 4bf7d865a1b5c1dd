"""Where results are logged: a viewer, or a file. Needs the Rerun SDK."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rerun as rr
import rerun.blueprint as rrb

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.rerun_bridge.archetypes import Entities, label_entities

APPLICATION = "clip_surgery"
"""By this name the viewer keeps how a user has arranged its views."""
TIMELINE = "stamp"
"""Stamps of the images' headers."""
FLUSH_S = 5.0
"""Longest wait for a viewer at the end, seconds: it may be gone."""


class Recording:
    """Takes entities at the stamps of their messages.

    :param stream: of Rerun.
    """

    def __init__(self, stream: rr.RecordingStream) -> None:
        self._stream = stream
        self._names: dict[str, tuple[str, ...]] = {}

    def log(self, entities: Entities, stamp_ns: int) -> None:
        """Log entities.

        :param stamp_ns: nanoseconds since the epoch; 0 for a picture that has no time.
        """
        if stamp_ns:
            self._stream.set_time(TIMELINE, timestamp=np.datetime64(stamp_ns, "ns"))
        for path, archetypes in entities.items():
            self._stream.log(path, *archetypes, static=not stamp_ns)

    def log_labels(self, camera: str, names: tuple[str, ...], stamp_ns: int) -> None:
        """Log the labels of a query, if they are not those of the last call.

        :param camera: entity of the camera.
        """
        if self._names.get(camera) != names:
            self._names[camera] = names
            self.log(label_entities(camera, names), stamp_ns)

    def log_static(self, entities: Entities) -> None:
        """Log entities that hold at all times."""
        self.log(entities, 0)


def views(camera: str) -> rrb.Blueprint:
    """Return how the viewer arranges a camera's entities, until its user changes that."""
    return rrb.Blueprint(
        rrb.Horizontal(
            rrb.Spatial2DView(origin=f"{camera}/image", name="image"),
            rrb.Vertical(
                rrb.Spatial3DView(
                    origin=f"{camera}/objects",
                    contents=["/tf/**", "/tracks/**", f"/{camera}/**"],
                    name="space",
                ),
                rrb.Tabs(
                    rrb.TextDocumentView(origin=f"{camera}/absent", name="absent"),
                    rrb.TextDocumentView(origin="tracks", name="tracks"),
                ),
            ),
            rrb.Vertical(
                rrb.TimeSeriesView(origin=f"{camera}/presence", name="presence"),
                rrb.TimeSeriesView(origin=f"{camera}/seconds", name="seconds"),
            ),
        ),
        collapse_panels=True,
    )


@contextmanager
def recorded_to(path: Path, camera: str) -> Iterator[Recording]:
    """Log to a file, which is complete at the end.

    :param camera: entity of the camera, which the views show.
    :raises ConfigError: the file cannot be written.
    """
    stream = rr.RecordingStream(APPLICATION)
    try:
        stream.save(path, default_blueprint=views(camera))
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error
    with _ended(stream):
        yield Recording(stream)


@contextmanager
def shown_in_viewer(url: str | None, camera: str) -> Iterator[Recording]:
    """Log to a viewer.

    :param url: of a viewer that runs, such as ``rerun+http://desk:9876/proxy``; None starts one
        on this machine, if none is there.
    :param camera: entity of the camera, which the views show.
    :raises ConfigError: the viewer cannot be started, or the address cannot be used.
    """
    stream = rr.RecordingStream(APPLICATION)
    try:
        if url is None:
            stream.spawn(default_blueprint=views(camera))
        else:
            stream.connect_grpc(url, default_blueprint=views(camera))
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"no viewer can be reached: {error}") from error
    with _ended(stream):
        yield Recording(stream)


@contextmanager
def _ended(stream: rr.RecordingStream) -> Iterator[None]:
    """Send everything and close the stream."""
    try:
        yield
    finally:
        stream.flush(timeout_sec=FLUSH_S)
        stream.disconnect()
