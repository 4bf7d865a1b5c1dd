"""Ids that last over a bag, given in one pass over the results of all items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from clip_surgery_ros.core.types import FrameResult
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.recorded.frames import LabelledFrame
from clip_surgery_ros.ros.places import lift_settings
from clip_surgery_ros.tracks.boxes import TrackBoxes
from clip_surgery_ros.tracks.numbers import Numbers
from clip_surgery_ros.tracks.tracker import Tracker
from clip_surgery_ros.tracks.types import Observation, Remembered, TrackState, View


def followed(frames: Iterable[LabelledFrame], config: Config) -> Iterator[LabelledFrame]:
    """Yield images with the objects that their segments are, as the node with ``tracking``.

    Each bag begins without objects. Numbers are used once in all bags, and 0 stands for objects
    that are not confirmed. Objects are followed in space where they have places in a frame that
    does not move with the camera, else in the picture.

    :param frames: bag by bag, each in the order of time.
    :param config: has the target frame, and the kind of boxes.
    """
    numbers, bag, tracker = Numbers(), "", Tracker()
    settings = lift_settings(config, config.target_frame)
    boxes = TrackBoxes(settings.box_mode, settings.up)
    for frame in frames:
        if frame.item.bag != bag:
            bag, tracker = frame.item.bag, Tracker(numbers=numbers)
        if frame.result is None:
            yield frame
            continue
        result, tracks = _follow(frame, frame.result, tracker)
        remembered = Remembered(tracks, config.target_frame, boxes)
        yield replace(frame, result=result, remembered=remembered)


def _follow(
    frame: LabelledFrame, result: FrameResult, tracker: Tracker
) -> tuple[FrameResult, tuple[TrackState, ...]]:
    """Return an image's result with ids, and all objects."""
    view, observations = _seen(frame, result)
    # A driver that has no clock leaves the stamp 0.
    stamp_ns = frame.stamp or frame.log_time
    tracked = tracker.update(stamp_ns, view, observations, result.query.names)
    segments = tuple(
        replace(segment, id=number)
        for segment, number in zip(result.segments, tracked.numbers, strict=True)
    )
    return replace(result, segments=segments), tracked.tracks


def _seen(frame: LabelledFrame, result: FrameResult) -> tuple[View, list[Observation]]:
    """Return what an image shows, for a tracker."""
    camera, scene = frame.item.topic, frame.scene
    if scene is None or scene.found.failure is not None or scene.found.depth is None:
        view = View(camera, result.size_hw, motion=frame.motion)
        return view, [Observation.of(segment) for segment in result.segments]
    depth, to_common = scene.found.depth, scene.to_target
    view = View(camera, result.size_hw, depth, to_common, motion=frame.motion)
    pairs = zip(result.segments, scene.found.lifted, strict=True)
    return view, [Observation.of(segment, lifted) for segment, lifted in pairs]
