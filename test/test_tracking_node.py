"""Ids that last, over real ROS: things that tests move, hide and take away."""

from __future__ import annotations

import numpy as np
import pytest
from clip_surgery_ros.msg import SegmentArray, Track, TrackArray
from clip_surgery_ros.srv import Locate
from ros.depth_scene import FOCAL, FRAME, NEAR, DepthScene, S, of, stamp
from ros.harness import wait_until
from ros.rig import values_of, wait_frames, wait_readers
from ros.things import MUG, SAW, TEXTURE, ThingsEngine, depth_of
from ros.tracked_camera import IN_MAP, Deep, Flat
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2DArray, Detection3DArray
from visualization_msgs.msg import MarkerArray

from clip_surgery_ros.ros.images import image_message


@pytest.fixture
def rig_of(rigs):
    """Makes an active node with tracking that is asked for mugs and saws."""

    def make(**parameters):
        values = {"tracking": True, "image_timeout_s": 0.0, **parameters}
        rig = rigs(engine=ThingsEngine(), **values)
        rig.activate()
        rig.ask("mug; saw")
        return rig

    return make


def ids_of(message):
    return [one.id for one in message.detections]


def track_of(message: TrackArray, object_id: str) -> Track:
    (track,) = [track for track in message.tracks if track.id == object_id]
    return track


def locate(rig, name):
    return rig.call(Locate, "locate", Locate.Request(name=name))


# Ids.


def test_moving_thing_keeps_its_id_in_all_messages(rig_of):
    flat = Flat(rig_of(), "detections", "segments", "instances", "tracks")
    detections, segments, instances, tracks = flat.show(0.0, MUG.at(4), SAW)
    assert ids_of(detections) == ["", ""], "one sighting is not enough"
    assert [(one.id, one.track_id) for one in segments.segments] == [(0, ""), (0, "")]
    assert not any(instances.data)
    assert {track.state for track in tracks.tracks} == {Track.TENTATIVE}
    for step in range(1, 8):
        x = 4 + 4 * step
        things = [MUG.at(x), SAW] if step % 2 else [SAW, MUG.at(x)]
        detections, segments, instances, tracks = flat.show(step / 5, *things)
        expected = {"mug": "mug/1", "saw": "saw/2"}
        assert ids_of(detections) == [expected[thing.name] for thing in things]
        for segment in segments.segments:
            assert segment.track_id == expected[segment.label]
            assert segment.id == int(segment.track_id[-1])
            assert (segment.track_score, segment.track_presence) == pytest.approx((0.75, 0.8))
        pixels = np.frombuffer(instances.data, np.uint16).reshape(48, 64)
        assert (pixels[17, x], pixels[20, 46], pixels[2, 2]) == (1, 2, 0)
    assert [(track.id, track.state) for track in tracks.tracks] == [
        ("mug/1", Track.SEEN),
        ("saw/2", Track.SEEN),
    ]
    mug = tracks.tracks[0]
    assert mug.sightings == 8 and mug.age == pytest.approx(7 / 5)
    assert not mug.has_place and (mug.box.x_offset, mug.box.width) == (32, 12)


def test_sure_thing_has_its_id_at_once(rig_of):
    flat = Flat(rig_of(track_sure_presence=0.5), "detections")
    assert ids_of(flat.show(0.0, MUG)[0]) == ["mug/1"]


def test_ids_are_of_places_in_space_whatever_is_read(rig_of):
    """The camera moves by more than the picture shows of one image in the next."""
    deep = Deep(rig_of(**IN_MAP), "detections")
    shift = round(0.24 * FOCAL / NEAR)
    for step in range(4):
        (detections,) = (
            deep.show(step, MUG, x=0.0)
            if step % 2 == 0
            else deep.show(step, MUG.at(MUG.box.x - shift), x=0.24)
        )
    assert ids_of(detections) == ["mug/1"]
    assert len(locate(deep.rig, "").tracks) == 1


def test_ids_are_the_same_in_2d_and_3d(rig_of):
    deep = Deep(rig_of(**IN_MAP), "detections", "segments", "tracks")
    in_space = deep.rig.inbox(Detection3DArray, "detections_3d")
    markers = deep.rig.inbox(MarkerArray, "markers")
    wait_readers(deep.rig, "detections_3d", "markers")
    for step in range(3):
        detections, segments, tracks = deep.show(step, SAW, MUG)
    header = detections.header
    boxes = in_space.wait(lambda message: message.header.stamp == header.stamp)
    assert ids_of(detections) == ids_of(boxes) == ["saw/1", "mug/2"]
    assert [one.track_id for one in segments.segments] == ["saw/1", "mug/2"]
    texts = {marker.text: marker.id for marker in markers.messages[-1].markers if marker.text}
    assert texts == {"saw/1 0.75": 1, "mug/2 0.75": 2}
    mug = track_of(tracks, "mug/2")
    assert mug.has_place and mug.place.header.frame_id == "map"
    assert mug.place.header.stamp == header.stamp == mug.last_seen
    place = mug.place.pose.position
    middle = ((27.5 - 31.5) / FOCAL * NEAR, (22.5 - 23.5) / FOCAL * NEAR, NEAR)
    assert (place.x, place.y, place.z) == pytest.approx(middle, abs=0.01)
    assert (mug.size.x, mug.size.y) == pytest.approx((0.19, 0.22), abs=0.03)


def test_two_cameras_share_objects_in_space(rig_of):
    rig = rig_of(
        image_topics=["left:=image_raw", "right:=right/image_raw"],
        **{**IN_MAP, "depth_topics": ["depth/image_raw", "right/depth"]},
        camera_info_topics=["", "camera_info"],
        depth_info_topics=["", "camera_info"],
    )
    rig.engine.things = [MUG]
    found = {side: rig.inbox(Detection2DArray, f"{side}/detections") for side in ("left", "right")}
    for camera in range(2):
        wait_readers(rig, "detections", camera=camera)
    scene = DepthScene(rig)
    right = rig.outside.create_publisher(Image, "right/image_raw", 10)
    depth = rig.outside.create_publisher(Image, "right/depth", 10)
    wait_until(lambda: right.get_subscription_count() and depth.get_subscription_count())
    scene.send_pose(scene.at(-1), 0.0)
    scene.send_pose(scene.at(5), 0.0)
    scene.send_info(scene.at(0))
    for second in range(2):
        scene.send_depth(scene.at(second), depth_of([MUG]))
        found["left"].wait(of(scene.send_image(scene.at(second))))
    left_depth, left_images = scene.depth, rig.images
    scene.depth, rig.images = depth, right
    scene.send_depth(scene.at(2), depth_of([MUG]))
    message = found["right"].wait(of(scene.send_image(scene.at(2))))
    scene.depth, rig.images = left_depth, left_images
    assert ids_of(message) == ["mug/1"]
    assert locate(rig, "mug").tracks[0].camera == "right"


def test_cameras_without_depth_have_objects_of_their_own(rig_of):
    rig = rig_of(image_topics=["left:=image_raw", "right:=right/image_raw"])
    rig.engine.things = [MUG]
    tracks = rig.inbox(TrackArray, "tracks")
    right = rig.outside.create_publisher(Image, "right/image_raw", 10)
    for camera in range(2):
        wait_readers(rig, "~/tracks", camera=camera)
    for second in range(2):
        for publisher in (rig.images, right):
            header = rig.show(f"{second}", image_message(TEXTURE, "rgb8", Header()), publisher)
            message = tracks.wait(of(header))
    assert [(track.id, track.camera) for track in message.tracks] == [
        ("mug/1", "left"),
        ("mug/2", "right"),
    ]


# What is not seen.


def test_thing_that_is_taken_away_is_gone_with_its_last_place(rig_of):
    deep = Deep(rig_of(**IN_MAP))
    for step in range(3):
        deep.show(step, MUG)
    states = [track_of(deep.show(step)[0], "mug/1") for step in range(3, 6)]
    assert [track.state for track in states] == [Track.MISSED, Track.GONE, Track.GONE]
    assert states[0].reason == "depth at its place is 0.40 m farther"
    assert [track.unseen for track in states] == [1.0, 2.0, 3.0]
    assert {track.last_seen.sec for track in states} == {stamp(deep.start_ns + 2 * S).sec}
    assert states[-1].place.pose.position.z == pytest.approx(NEAR, abs=0.01)


def test_thing_that_the_camera_does_not_look_at_is_out_of_view_and_keeps_its_id(rig_of):
    deep = Deep(rig_of(**IN_MAP), "tracks", "detections")
    for step in range(3):
        deep.show(step, MUG)
    away = track_of(deep.show(3, x=5.0)[0], "mug/1")
    assert (away.state, away.reason) == (Track.OUT_OF_VIEW, "its place is outside the picture")
    assert ids_of(deep.show(4, MUG)[1]) == ["mug/1"]


def test_thing_in_the_picture_alone_is_missed_then_gone_then_forgotten(rig_of):
    flat = Flat(rig_of(track_memory=20.0))
    for step in range(3):
        flat.show(step, MUG)
    states = [track_of(flat.show(step)[0], "mug/1").state for step in (3, 4, 5, 6, 15, 23)]
    assert states == [*[Track.MISSED] * 3, Track.GONE, Track.GONE, Track.FORGOTTEN]
    assert not flat.show(24)[0].tracks


def test_images_without_results_let_time_pass(rig_of):
    rig = rig_of(track_memory=20.0)
    flat = Flat(rig)
    for step in range(2):
        flat.show(step, MUG)
    rig.ask("")
    mug = track_of(flat.show(3, MUG)[0], "mug/1")
    assert (mug.state, mug.asked, mug.unseen) == (Track.SEEN, False, 2.0)
    rig.ask("mug")
    assert rig.call(SetBool, "enable", SetBool.Request(data=False)).success
    assert track_of(flat.show(5, MUG)[0], "mug/1").unseen == 4.0
    assert track_of(flat.show(22, MUG)[0], "mug/1").state == Track.FORGOTTEN
    assert len(rig.engine.requests) == 2


def test_fast_camera_without_a_query_is_told_of_five_times_a_second(rig_of):
    rig = rig_of()
    flat = Flat(rig)
    for step in range(2):
        flat.show(step, MUG)
    rig.ask("")
    before = rig.node.cameras[0].tally.counts["in"]
    for step in range(60, 90):  # 30 Hz
        header = Header(stamp=stamp(flat.start_ns + step * S // 30), frame_id=FRAME)
        rig.images.publish(image_message(TEXTURE, "rgb8", header))
        wait_frames(rig, "in", before + step - 59)
    flat.show(4)
    stamps = [message.header.stamp for message in flat.inboxes["tracks"].messages]
    assert len(stamps) == 2 + 5 + 1


def test_time_in_which_nobody_reads_is_not_time_in_which_a_thing_was_missed(rig_of):
    flat = Flat(rig_of(track_memory=20.0), "detections")
    for step in range(3):
        flat.show(step, MUG)
    for step in range(3, 15):
        flat.show(step)
    flat.stop_reading()
    for step in (18, 24, 30):
        flat.pass_by(step)
    flat.read(["detections", "tracks"])
    # Not found for 31 s, but looked for during 12 of them.
    assert ids_of(flat.show(33, MUG)[0]) == ["mug/1"]


def test_thing_is_forgotten_if_nobody_reads_for_longer_than_its_memory(rig_of):
    flat = Flat(rig_of(track_memory=20.0, track_sure_presence=0.5), "detections", "tracks")
    flat.show(0, MUG)
    flat.stop_reading()
    flat.pass_by(15)
    assert locate(flat.rig, "mug").tracks[0].id == "mug/1", "remembered as long as nobody looks"
    flat.read(["detections", "tracks"])
    detections, tracks = flat.show(21, MUG)
    assert ids_of(detections) == ["mug/2"]
    old = track_of(tracks, "mug/1")
    assert (old.state, old.reason) == (Track.FORGOTTEN, "no image was searched for it for 21 s")


# The query.


def test_edited_query_keeps_labels_that_stay_and_gives_ids_back(rig_of):
    flat = Flat(rig_of(), "detections", "tracks")
    for step in range(3):
        flat.show(step, MUG, SAW)
    flat.rig.ask("saw; drill")
    detections, tracks = flat.show(3, MUG, SAW)
    assert ids_of(detections) == ["saw/2"]
    assert [track.asked for track in tracks.tracks] == [False, True]
    flat.rig.ask("mug")
    assert ids_of(flat.show(40, MUG, SAW)[0]) == ["mug/1"]


def test_label_asked_again_after_its_memory_has_a_new_id(rig_of):
    flat = Flat(rig_of(track_sure_presence=0.5), "detections")
    flat.show(0, MUG)
    assert flat.rig.set("track_memory", 10.0).successful
    flat.rig.ask("saw")
    flat.show(5, MUG)
    flat.rig.ask("mug")
    assert ids_of(flat.show(12, MUG)[0]) == ["mug/2"]


# Services.


def test_reset_forgets_and_uses_no_id_again(rig_of):
    flat = Flat(rig_of(), "detections")
    for step in range(2):
        flat.show(step, MUG, SAW)
    answer = flat.rig.call(Trigger, "reset_tracks", Trigger.Request())
    assert answer.success
    assert answer.message == "2 objects are forgotten; their ids are not used again"
    assert locate(flat.rig, "").message == "nothing is remembered"
    for step in range(2, 4):
        (detections,) = flat.show(step, MUG)
    assert ids_of(detections) == ["mug/3"]


def test_locate_finds_labels_and_ids(rig_of):
    deep = Deep(rig_of(**IN_MAP))
    for step in range(3):
        deep.show(step, MUG.at(2), MUG.at(30), SAW)
    for step in range(3, 5):
        deep.show(step, MUG.at(2))
    by_label = locate(deep.rig, "mug")
    assert by_label.success and [track.id for track in by_label.tracks] == ["mug/1", "mug/2"]
    by_id = locate(deep.rig, " mug/2 ")
    (track,) = by_id.tracks
    assert track.id == "mug/2" and track.has_place and track.unseen == 2.0
    assert by_id.message.startswith("mug/2 is gone, last seen 2.0 s before the newest image: dep")
    assert {track.id for track in locate(deep.rig, "").tracks} == {"mug/1", "mug/2", "saw/3"}
    unknown = locate(deep.rig, "drill")
    assert not unknown.success and not unknown.tracks
    assert unknown.message == (
        "nothing called 'drill' is remembered; remembered are mug/1, mug/2, saw/3"
    )


def test_services_say_that_tracking_is_off(rig_of):
    rig = rig_of(tracking=False)
    for answer in (locate(rig, "mug"), rig.call(Trigger, "reset_tracks", Trigger.Request())):
        assert not answer.success
        assert "set tracking to true" in answer.message


# What is computed, and diagnostics.


def test_without_tracking_ids_are_those_of_the_image(rig_of):
    rig = rig_of(tracking=False)
    inboxes = [
        rig.inbox(kind, name)
        for kind, name in ((Detection2DArray, "detections"), (SegmentArray, "segments"))
    ]
    wait_readers(rig, "detections", "segments")
    rig.engine.things = [MUG, SAW]
    for _ in range(2):
        header = rig.show(FRAME, image_message(TEXTURE, "rgb8", Header()))
        detections, segments = (inbox.wait(of(header)) for inbox in inboxes)
    assert ids_of(detections) == ["1", "2"]
    assert [(one.id, one.track_id) for one in segments.segments] == [(1, ""), (2, "")]
    assert [(one.track_score, one.track_presence) for one in segments.segments] == [(0, 0)] * 2
    assert not any(wanted.appearance for _, _, wanted in rig.engine.requests)
    topics = dict(rig.outside.get_topic_names_and_types())
    assert "/clip_surgery/tracks" not in topics
    assert not [key for key in values_of(rig.health()[0]) if key.startswith("objects")]


def test_nothing_is_followed_for_readers_of_heatmaps(rig_of):
    rig = rig_of()
    heatmaps = rig.inbox(Image, "heatmap")
    wait_readers(rig, "heatmap")
    heatmaps.wait(of(rig.show(FRAME, image_message(TEXTURE, "rgb8", Header()))))
    (request,) = rig.engine.requests
    assert (request[2].segments, request[2].appearance) == (False, False)
    assert not locate(rig, "").success


def test_reader_of_tracks_alone_has_images_processed(rig_of):
    flat = Flat(rig_of())
    flat.show(0, MUG)
    (request,) = flat.engine.requests
    assert (request[2].segments, request[2].appearance) == (True, True)


def test_diagnostics_count_objects(rig_of):
    flat = Flat(rig_of())
    for step in range(3):
        flat.show(step, MUG, SAW)
    flat.show(3, MUG)
    status = flat.rig.health(lambda statuses: "objects: seen" in values_of(statuses[0]))[0]
    values = values_of(status)
    shown = {key: value for key, value in values.items() if key.startswith("objects")}
    assert shown == {"objects: seen": "1", "objects: missed": "1", "objects: ids given": "2"}
    assert int(values["tracks: count"]) == 4 and float(values["tracks: p50 [s]"]) < 1


def test_depth_without_a_target_frame_is_noted_in_the_log(rigs, capfd):
    rig = rigs(tracking=True, depth_topics=["depth/image_raw"], image_timeout_s=0.0)
    rig.activate()
    assert "followed in the picture only; set it to a frame" in capfd.readouterr().err


def test_ids_last_over_deactivation(rig_of):
    from ros.rig import ACTIVATE, DEACTIVATE

    flat = Flat(rig_of(), "detections")
    for step in range(2):
        flat.show(step, MUG)
    assert flat.rig.change(DEACTIVATE) and flat.rig.change(ACTIVATE)
    wait_readers(flat.rig, "detections")
    wait_until(lambda: flat.rig.images.get_subscription_count() > 0)
    assert ids_of(flat.show(5, MUG)[0]) == ["mug/1"]
