"""Messages about objects in space: detections, organised clouds, markers, transforms, places."""

from __future__ import annotations

import array
import re
from collections.abc import Iterator

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Transform, TransformStamped, Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import (
    BoundingBox3D,
    Detection3D,
    Detection3DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)
from visualization_msgs.msg import Marker, MarkerArray

from clip_surgery_ros.core.types import FrameResult, Segment
from clip_surgery_ros.msg import Place
from clip_surgery_ros.pictures.render import colour_of
from clip_surgery_ros.space.boxes import SpaceBox
from clip_surgery_ros.space.lifting import Lifted
from clip_surgery_ros.space.objects import ObjectsInSpace
from clip_surgery_ros.space.reasons import LOWER_BOUND, Reason
from clip_surgery_ros.tracks.types import Remembered, shown_id

POINT = np.dtype(
    {
        "names": ["x", "y", "z", "rgb", "instance"],
        "formats": ["<f4", "<f4", "<f4", "<u4", "<u4"],
        "offsets": [0, 4, 8, 12, 16],
        "itemsize": 20,
    }
)
"""A point of ``~/points``; rgb is 0x00RRGGBB, as PCL and rviz read it."""
ANY_TURN = np.pi**2 / 3
"""Variance of an angle of which nothing is known, square radians. A box's axes are those of its
shape, which say little of how the object is turned."""
MARKER_S = 10
"""Seconds after which rviz removes markers that are not renewed; results may take seconds."""
TEXT_HEIGHT = 0.03
"""Height of names in rviz, metres: readable on a table, small beside a mug."""


def header_in(frame: str, header: Header) -> Header:
    """Return a header with the stamp of an image and another frame."""
    return Header(stamp=header.stamp, frame_id=frame)


def place(lifted: Lifted, frame: str, header: Header) -> Place:
    """Return where an object is, or why that is not known.

    :param frame: of the box.
    :param header: of the image.
    """
    message = Place(
        header=header_in(frame, header),
        has_box=lifted.box is not None,
        is_lower_bound=lifted.is_lower_bound,
        reasons=[finding.reason.value for finding in lifted.findings],
        message="; ".join(finding.text for finding in lifted.findings),
    )
    if lifted.findings:
        message.reason = _main_reason(lifted).value
    if lifted.box is not None:
        message.box, message.size = pose_of(lifted.box), size_of(lifted.box)
    return message


def _main_reason(lifted: Lifted) -> Reason:
    """Return the reason that counts most: why there is no box, or that it is a lower bound."""
    reasons = [finding.reason for finding in lifted.findings]
    if lifted.box is None:
        return reasons[-1]
    return next((reason for reason in reasons if reason in LOWER_BOUND), reasons[0])


def pose_of(box: SpaceBox) -> Pose:
    """Return centre and axes of a box."""
    x, y, z = box.centre.tolist()
    qx, qy, qz, qw = box.pose.quaternion.tolist()
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def size_of(box: SpaceBox) -> Vector3:
    """Return the size of a box along its axes."""
    x, y, z = box.size.tolist()
    return Vector3(x=x, y=y, z=z)


def _covariance(lifted: Lifted) -> NDArray[np.float64]:
    """Return the covariance of a pose, (36,): of the centre; turns are not known at all."""
    matrix = np.zeros((6, 6))
    if lifted.covariance is not None:
        matrix[:3, :3] = lifted.covariance
        matrix[3:, 3:] = np.eye(3) * ANY_TURN
    return matrix.ravel()


def boxes(
    result: FrameResult, found: ObjectsInSpace
) -> Iterator[tuple[Segment, SpaceBox, Lifted]]:
    """Yield the segments that have a box in space, with it and what else is known of them."""
    for segment, lifted in zip(result.segments, found.lifted, strict=True):
        if lifted.box is not None:
            yield segment, lifted.box, lifted


def detection_array(
    result: FrameResult,
    found: ObjectsInSpace,
    header: Header,
    remembered: Remembered | None = None,
) -> Detection3DArray:
    """Return the objects that have a box; an object's id is that of its 2D detection."""
    own = header_in(found.frame, header)
    detections = []
    for segment, box, lifted in boxes(result, found):
        hypothesis = ObjectHypothesis(class_id=segment.name, score=float(segment.score))
        placed = ObjectHypothesisWithPose(hypothesis=hypothesis)
        placed.pose.pose = pose_of(box)
        placed.pose.covariance = _covariance(lifted)
        detections.append(
            Detection3D(
                header=own,
                results=[placed],
                bbox=BoundingBox3D(center=pose_of(box), size=size_of(box)),
                id=shown_id(segment, remembered),
            )
        )
    return Detection3DArray(header=own, detections=detections)


def cloud(
    points: NDArray[np.float32],
    image_rgb: NDArray[np.uint8],
    ids: NDArray[np.uint32],
    header: Header,
) -> PointCloud2:
    """Return an organised cloud.

    :param points: (H, W, 3) metres in the frame of the header, NaN where there is none.
    :param image_rgb: (H, W, 3) colours.
    :param ids: (H, W) ids of segments, 0 for none.
    """
    height, width = ids.shape
    values = np.zeros((height, width), POINT)
    for axis, name in enumerate("xyz"):
        values[name] = points[..., axis]
    r, g, b = (image_rgb[..., channel].astype(np.uint32) for channel in range(3))
    values["rgb"] = r << 16 | g << 8 | b
    values["instance"] = ids
    kinds = [PointField.FLOAT32] * 4 + [PointField.UINT32]
    fields = [
        PointField(name=name, offset=4 * index, datatype=kind, count=1)
        for index, (name, kind) in enumerate(zip(POINT.names or (), kinds, strict=True))
    ]
    message = PointCloud2(
        header=header,
        height=height,
        width=width,
        fields=fields,
        is_bigendian=False,
        point_step=POINT.itemsize,
        row_step=POINT.itemsize * width,
        is_dense=False,
    )
    # array.array is the only type that rclpy accepts for uint8[] without checking every byte.
    data = array.array("B")
    data.frombytes(values.reshape(-1).view(np.uint8).data)
    message.data = data
    return message


def markers(
    result: FrameResult,
    found: ObjectsInSpace,
    header: Header,
    remembered: Remembered | None = None,
) -> MarkerArray:
    """Return boxes and names for rviz; the first marker removes those of the image before.

    The names of objects that are followed over time have their numbers.
    """
    own = header_in(found.frame, header)
    shown = [Marker(header=own, action=Marker.DELETEALL)]
    for index, (segment, box, _) in enumerate(boxes(result, found), 1):
        r, g, b = (value / 255 for value in colour_of(segment.label))
        number = segment.id or -index
        cube = Marker(header=own, ns="boxes", id=number, type=Marker.CUBE, pose=pose_of(box))
        cube.scale = size_of(box)
        cube.color = ColorRGBA(r=r, g=g, b=b, a=0.5)
        name = Marker(header=own, ns="names", id=number, type=Marker.TEXT_VIEW_FACING)
        shown_name = (remembered and shown_id(segment, remembered)) or segment.name
        name.text = f"{shown_name} {segment.score:.2f}"
        name.pose = pose_of(box)
        name.pose.position.z += float(box.size.max()) / 2 + TEXT_HEIGHT
        name.scale.z = TEXT_HEIGHT
        name.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        for marker in (cube, name):
            marker.lifetime.sec = MARKER_S
            shown.append(marker)
    return MarkerArray(markers=shown)


def transforms(result: FrameResult, found: ObjectsInSpace, header: Header) -> TFMessage:
    """Return the centres and axes of boxes as frames; ``red mug`` with id 1 is ``red_mug_1``.

    Objects that are followed over time have none until they have an id.
    """
    frames = []
    for segment, box, _ in boxes(result, found):
        if not segment.id:
            continue
        pose = pose_of(box)
        position = pose.position
        frames.append(
            TransformStamped(
                header=header_in(found.frame, header),
                child_frame_id=frame_name(segment),
                transform=Transform(
                    translation=Vector3(x=position.x, y=position.y, z=position.z),
                    rotation=pose.orientation,
                ),
            )
        )
    return TFMessage(transforms=frames)


def frame_name(segment: Segment) -> str:
    """Return the frame of an object: its label, without what frames cannot have, and its id."""
    return f"{re.sub(r'[^0-9A-Za-z]+', '_', segment.name).strip('_') or 'object'}_{segment.id}"
