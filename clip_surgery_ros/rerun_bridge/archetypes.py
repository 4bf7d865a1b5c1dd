"""The node's messages as what Rerun logs. Needs the Rerun SDK.

Each function returns entities, by their paths, with what is logged to them. Frames of ROS are
coordinate frames of Rerun with the same names; ``/tf`` connects them.

Entities below a camera's (``camera``, or ``camera/front`` of the camera ``front``):

- ``image``: the image; ``image/masks``, ``image/boxes`` and ``image/points`` about it,
- ``depth``: the depth image,
- ``objects``: boxes in space,
- ``presence/LABEL`` and ``seconds/STAGE``: numbers over time,
- ``absent``: labels that were not found, with the reasons, as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import rerun as rr
from numpy.typing import NDArray

from clip_surgery_ros.core.masks import class_mask
from clip_surgery_ros.core.types import NO_LABEL, Segment
from clip_surgery_ros.msg import Segment as SegmentMessage
from clip_surgery_ros.msg import SegmentArray, Track, TrackArray
from clip_surgery_ros.pictures.render import PALETTE
from clip_surgery_ros.ros.results import segment_of

Entities: TypeAlias = Mapping[str, Sequence[Any]]
"""Archetypes by the path of their entity."""
JPEG_QUALITY = 90
"""Of images: differences are hardly visible, at a tenth of the bytes."""
NO_CLASS = 0
"""Pixels of ``masks`` without a label; a label's class is its place in the query, from 1."""
ON_IMAGE = ("masks", "boxes", "points")
"""What is drawn on an image: entities below it."""
_ON_OBJECT, _OFF_OBJECT = (0, 255, 0), (255, 0, 0)
_UNSEEN_ALPHA, _SEEN_ALPHA = 90, 255
"""Boxes of objects that are not seen now are paler."""


def camera_entity(name: str) -> str:
    """Return the path below which everything of a camera is.

    :param name: of the camera; empty for the only one.

    >>> camera_entity(""), camera_entity("front")
    ('camera', 'camera/front')
    """
    return f"camera/{name}" if name else "camera"


def image_entities(camera: str, image_rgb: NDArray[np.uint8]) -> Entities:
    """Return an image, as JPEG of :data:`JPEG_QUALITY`.

    :param camera: entity of the camera.
    :param image_rgb: (H, W, 3) uint8 RGB.
    """
    return {f"{camera}/image": [rr.Image(image_rgb).compress(jpeg_quality=JPEG_QUALITY)]}


def depth_entities(camera: str, metres: NDArray[np.float32]) -> Entities:
    """Return a depth image.

    :param camera: entity of the camera.
    :param metres: (H, W) float32, 0 where nothing was measured.
    """
    return {f"{camera}/depth": [rr.DepthImage(metres, meter=1.0)]}


def camera_model_entities(entity: str, info: Any, drawn: Sequence[str] = ()) -> Entities:
    """Return the model of a camera, which places its image in space.

    :param entity: of the image.
    :param drawn: names of entities below it, which are in its plane. A frame that has a name does
        not pass to the entities below.
    :param info: sensor_msgs/CameraInfo; without a model (zeros in ``k``) there is nothing.
    """
    matrix = np.array(info.k, np.float64).reshape(3, 3)
    if not matrix[0, 0] > 0:
        return {}
    plane = f"{info.header.frame_id}/{entity}"
    pinhole = rr.Pinhole(
        image_from_camera=matrix,
        resolution=[info.width, info.height],
        camera_xyz=rr.ViewCoordinates.RDF,
        parent_frame=info.header.frame_id,
        child_frame=plane,
    )
    frame = rr.CoordinateFrame(plane)
    return {entity: [pinhole, frame], **{f"{entity}/{name}": [frame] for name in drawn}}


def transform_entities(transforms: Iterable[Any]) -> Entities:
    """Return geometry_msgs/TransformStamped of ``/tf``."""
    return {
        f"tf/{rr.escape_entity_path_part(each.child_frame_id)}": [
            rr.Transform3D(
                translation=_xyz(each.transform.translation),
                quaternion=rr.Quaternion(xyzw=_xyzw(each.transform.rotation)),
                parent_frame=each.header.frame_id,
                child_frame=each.child_frame_id,
            )
        ]
        for each in transforms
    }


def label_entities(camera: str, names: Sequence[str]) -> Entities:
    """Return the names and colours of a query's labels, for :func:`result_entities`."""
    classes: list[tuple[int, str, tuple[int, ...]]] = [(NO_CLASS, "", (0, 0, 0, 0))]
    classes += [(i + 1, name, PALETTE[i % len(PALETTE)]) for i, name in enumerate(names)]
    curves = {
        _presence_entity(camera, name): [rr.SeriesLines(colors=[colour], names=[name])]
        for _, name, colour in classes[1:]
    }
    return {camera: [rr.AnnotationContext(classes)], **curves}


def result_entities(
    camera: str, message: SegmentArray, size_hw: tuple[int, int] | None
) -> Entities:
    """Return everything about the result of an image but the image.

    :param camera: entity of the camera.
    :param size_hw: of the image; None if that is not known: then there are no masks.
    :raises ValueError: the message contradicts itself.
    """
    segments = [segment_of(each) for each in message.segments]
    found: dict[str, Sequence[Any]] = {
        f"{camera}/image/boxes": [_boxes(segments)],
        f"{camera}/image/points": [_points(segments)],
        f"{camera}/absent": [_absent_text(message)],
        f"{camera}/objects": _objects(message.segments, segments),
        **{
            f"{camera}/seconds/{rr.escape_entity_path_part(name)}": [rr.Scalars(seconds)]
            for name, seconds in zip(message.stage_names, message.stage_seconds, strict=True)
        },
        **{
            _presence_entity(camera, label): [rr.Scalars(presence)]
            for label, presence in _presences(message).items()
        },
    }
    if size_hw is not None:
        labels = class_mask(segments, size_hw).astype(np.uint16)
        classes = np.where(labels == NO_LABEL, NO_CLASS, labels + 1).astype(np.uint16)
        found[f"{camera}/image/masks"] = [rr.SegmentationImage(classes)]
    return found


def _presence_entity(camera: str, label: str) -> str:
    return f"{camera}/presence/{rr.escape_entity_path_part(label)}"


def _presences(message: SegmentArray) -> dict[str, float]:
    """Return the presence of each label that has one."""
    presences = {each.label: each.presence for each in message.segments}
    presences.update((each.label, each.presence) for each in message.absent)
    return {label: value for label, value in presences.items() if not np.isnan(value)}


def _absent_text(message: SegmentArray) -> rr.TextDocument:
    lines = [f"{each.label}: {each.reason}" for each in message.absent]
    return rr.TextDocument("\n".join(lines) or "every label was found")


def _boxes(segments: Sequence[Segment]) -> rr.Boxes2D:
    boxes = [(s.box.x, s.box.y, s.box.width, s.box.height) for s in segments]
    return rr.Boxes2D(
        array=np.array(boxes, np.float32).reshape(-1, 4),
        array_format=rr.Box2DFormat.XYWH,
        labels=[f"{s.name} {s.score:.2f}" for s in segments],
        class_ids=[s.label + 1 for s in segments],
    )


def _points(segments: Sequence[Segment]) -> rr.Points2D:
    """Return the clicks, at the middle of their pixels."""
    xy = [s.points.xy + 0.5 for s in segments]
    positive = [is_on for s in segments for is_on in s.points.positive]
    return rr.Points2D(
        np.concatenate(xy) if xy else np.zeros((0, 2)),
        colors=[_ON_OBJECT if is_on else _OFF_OBJECT for is_on in positive],
    )


def _objects(messages: Sequence[SegmentMessage], segments: Sequence[Segment]) -> list[Any]:
    """Return the boxes in space; of a camera without depth there are none."""
    both = zip(messages, segments, strict=True)
    placed = [(message.place, segment) for message, segment in both if message.place.has_box]
    boxes = rr.Boxes3D(
        centers=_rows([_xyz(place.box.position) for place, _ in placed]),
        quaternions=_rows([_xyzw(place.box.orientation) for place, _ in placed], 4),
        sizes=_rows([_xyz(place.size) for place, _ in placed]),
        labels=[segment.name for _, segment in placed],
        class_ids=[segment.label + 1 for _, segment in placed],
    )
    return [boxes, *(rr.CoordinateFrame(place.header.frame_id) for place, _ in placed[:1])]


def track_entities(message: TrackArray) -> Entities:
    """Return all objects that are remembered: ``tracks``, a text, and ``tracks/places``, boxes."""
    lines = [_line(track) for track in message.tracks]
    placed = [track for track in message.tracks if track.has_place and track.state != track.GONE]
    boxes = rr.Boxes3D(
        centers=_rows([_xyz(track.place.pose.position) for track in placed]),
        quaternions=_rows([_xyzw(track.place.pose.orientation) for track in placed], 4),
        sizes=_rows([_xyz(track.size) for track in placed]),
        labels=[f"{track.id or track.label} {track.state}" for track in placed],
        colors=_rows([_track_colour(track) for track in placed], 4, np.uint8),
    )
    frame = [rr.CoordinateFrame(track.place.header.frame_id) for track in placed[:1]]
    return {
        "tracks": [rr.TextDocument("\n".join(lines) or "none")],
        "tracks/places": [boxes, *frame],
    }


def _line(track: Track) -> str:
    why = f" ({track.reason})" if track.reason else ""
    return f"{track.id or track.label}: {track.state}{why}"


def _track_colour(track: Track) -> tuple[int, int, int, int]:
    alpha = _SEEN_ALPHA if track.state == track.SEEN else _UNSEEN_ALPHA
    return (*PALETTE[track.number % len(PALETTE)], alpha)


def _xyz(vector: Any) -> list[float]:
    return [vector.x, vector.y, vector.z]


def _xyzw(rotation: Any) -> list[float]:
    return [rotation.x, rotation.y, rotation.z, rotation.w]


def _rows(values: Sequence[Sequence[float]], count: int = 3, dtype: Any = np.float32) -> Any:
    """Return (N, count) values, also where N is 0."""
    return np.array(values, dtype).reshape(-1, count)
