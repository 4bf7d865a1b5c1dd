"""Messages about objects that are remembered over time."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, Vector3
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from clip_surgery_ros.core.types import Box
from clip_surgery_ros.msg import Track, TrackArray
from clip_surgery_ros.ros.space_messages import pose_of, size_of
from clip_surgery_ros.tracks.types import Remembered, TrackState

S = 1_000_000_000
"""Nanoseconds of a second."""


def track_array(remembered: Remembered, header: Header) -> TrackArray:
    """Return all objects that are remembered.

    :param header: of the newest image.
    """
    tracks = [track_message(track, remembered) for track in remembered.tracks]
    return TrackArray(header=header, tracks=tracks)


def track_message(track: TrackState, remembered: Remembered) -> Track:
    """Return what is known of an object.

    :param remembered: says what its place is of.
    """
    message = Track(
        id=track.id,
        number=track.number,
        label=track.label,
        state=track.state.value,
        reason=track.reason,
        asked=track.asked,
        first_seen=_time(track.first_ns),
        last_seen=_time(track.seen_ns),
        age=track.age_s,
        unseen=track.unseen_s,
        sightings=track.sightings,
        score=float(track.score),
        presence=float(track.presence),
        camera=track.camera,
        box=_region(track.box),
    )
    box = remembered.box(track)
    if box is not None:
        message.has_place = True
        header = Header(stamp=message.last_seen, frame_id=remembered.frame)
        message.place, message.size = PoseStamped(header=header, pose=pose_of(box)), size_of(box)
        x, y, z = track.velocity.tolist()
        message.velocity = Vector3(x=x, y=y, z=z)
    return message


def _time(stamp_ns: int) -> Time:
    """Return a stamp; seconds before 1970 are negative."""
    return Time(sec=stamp_ns // S, nanosec=stamp_ns % S)


def _region(box: Box) -> RegionOfInterest:
    """Return a box without what is left of the picture or above it, where numbers would be
    negative.
    """
    left, top = max(0, box.x), max(0, box.y)
    return RegionOfInterest(
        x_offset=left,
        y_offset=top,
        width=max(0, box.x + box.width - left),
        height=max(0, box.y + box.height - top),
    )
