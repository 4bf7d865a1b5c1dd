"""Ids that last when depth, transforms, clocks, images or parameters fail or change."""

from __future__ import annotations

import numpy as np
import pytest
from clip_surgery_ros.msg import Track, TrackArray
from ros.depth_scene import FRAME, S, of, stamp
from ros.rig import wait_readers
from ros.things import MUG, TEXTURE, Thing, ThingsEngine, depth_of
from ros.tracked_camera import IN_MAP, Deep, Flat
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clip_surgery_ros.core.types import Box
from clip_surgery_ros.ros.images import image_message

BOARD = Thing("board", Box(x=14, y=8, width=30, height=30))
"""It is not asked for."""


@pytest.fixture
def rig_of(rigs):
    """Makes an active node with tracking that is asked for mugs, which get ids at once."""

    def make(**parameters):
        quiet = {"tracking": True, "image_timeout_s": 0.0, "track_sure_presence": 0.5}
        rig = rigs(engine=ThingsEngine(), **{**quiet, **parameters})
        rig.activate()
        rig.ask("mug")
        return rig

    return make


def only(message: TrackArray) -> Track:
    (track,) = message.tracks
    return track


def test_thing_behind_something_that_is_not_asked_for_is_hidden(rig_of) -> None:
    deep = Deep(rig_of(**IN_MAP))
    deep.show(0, MUG)
    nearer = np.where(depth_of([BOARD]) < 1, np.float32(0.5), np.float32(1.2))
    deep.engine.things = ()
    for step in range(1, 8):
        ns = deep.start_ns + step * S
        deep.scene.send_pose(ns, 0.0)
        deep.scene.send_info(ns)
        deep.scene.send_depth(ns, nearer)
        track = only(deep.inboxes["tracks"].wait(of(deep.scene.send_image(ns))))
        assert track.state == Track.HIDDEN
        assert track.reason == "behind something, 0.30 m in front of it"
    assert track.score == 0.75, "what is hidden does not count"
    assert only(deep.show(8, MUG)[0]).state == Track.SEEN


@pytest.mark.parametrize("lost", ["depth", "pose"])
def test_image_without_a_place_keeps_ids(rig_of, lost) -> None:
    deep = Deep(rig_of(**{**IN_MAP, "tf_wait": 0.2}), "detections", "tracks")
    for step in range(2):
        deep.show(step, MUG)
    ns = deep.start_ns + (2 * S if lost == "depth" else 60 * S)
    if lost == "depth":
        deep.scene.send_pose(ns, 0.0)
    else:
        deep.scene.send_depth(ns, depth_of([MUG]))
    deep.scene.send_info(ns)
    header = deep.scene.send_image(ns)
    (detection,) = deep.inboxes["detections"].wait(of(header)).detections
    assert detection.id == "mug/1"
    track = only(deep.inboxes["tracks"].wait(of(header)))
    assert track.state == Track.SEEN and track.has_place


def test_other_target_frame_begins_anew(rig_of) -> None:
    deep = Deep(rig_of(**IN_MAP))
    assert only(deep.show(0, MUG)[0]).place.header.frame_id == "map"
    assert deep.rig.set("target_frame", FRAME).successful
    track = only(deep.show(1, MUG)[0])
    assert (track.id, track.place.header.frame_id) == ("mug/2", FRAME)
    assert deep.rig.set("target_frame", "").successful
    tracks = {track.id: track for track in deep.show(2, MUG)[0].tracks}
    assert set(tracks) == {"mug/2", "mug/3"} and not tracks["mug/3"].has_place


def test_other_box_mode_holds_for_remembered_things_too(rig_of) -> None:
    deep = Deep(rig_of(**IN_MAP))
    first = only(deep.show(0, MUG)[0])
    assert deep.rig.set("box_mode", "oriented").successful
    other = only(deep.show(1, x=5.0)[0])
    assert other.place.pose.orientation != first.place.pose.orientation
    assert other.place.pose.position.z == pytest.approx(first.place.pose.position.z, abs=0.01)


def test_bag_that_begins_again_begins_anew(rig_of) -> None:
    flat = Flat(rig_of())
    flat.show(100, MUG)
    track = only(flat.show(0, MUG)[0])
    assert (track.id, track.age) == ("mug/2", 0.0)


def test_images_without_stamps_have_the_time_of_the_node(rig_of) -> None:
    flat = Flat(rig_of())
    flat.engine.things = [MUG]
    for count in range(1, 3):
        flat.rig.images.publish(image_message(TEXTURE, "rgb8", Header(frame_id=FRAME)))
        track = only(flat.inboxes["tracks"].wait_count(count)[-1])
    now = flat.rig.outside.get_clock().now().nanoseconds / 1e9
    assert track.id == "mug/1" and track.sightings == 2
    assert 0 <= now - track.last_seen.sec < 300 and 0 < track.age < 300


def test_images_that_fail_let_time_pass(rig_of) -> None:
    flat = Flat(rig_of())
    flat.show(0, MUG)
    header = Header(stamp=stamp(flat.start_ns + 2 * S), frame_id=FRAME)
    flat.rig.images.publish(Image(header=header, encoding="no such encoding", width=1, height=1))
    assert only(flat.inboxes["tracks"].wait(of(header))).unseen == 2.0


def test_memory_shorter_than_the_time_to_be_gone_is_refused(rig_of) -> None:
    rig = rig_of()
    wait_readers(rig)
    answer = rig.set("track_memory", 2.0)
    assert not answer.successful
    assert "so objects would be forgotten before they are gone" in answer.reason
    answer = rig.set("tracking", False)
    assert not answer.successful and "fixed while the node is active" in answer.reason
