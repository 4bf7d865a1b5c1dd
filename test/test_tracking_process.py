"""Ids that last with camera, node and listener as three processes, and the shipped networks."""

from __future__ import annotations

import numpy as np
from clip_surgery_ros.msg import SegmentArray, Track, TrackArray
from clip_surgery_ros.srv import Locate
from ros.harness import CAMERA, NODE, START_S, Inbox, Process, call, wait_for_reader
from ros.known_scene import VIEW, known_scene
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2DArray

from clip_surgery_ros.ros import qos


def test_objects_of_a_camera_keep_their_ids(ros_node) -> None:
    scene = known_scene()
    detections = Inbox(ros_node, Detection2DArray, "/clip_surgery/detections")
    segments = Inbox(ros_node, SegmentArray, "/clip_surgery/segments")
    instances = Inbox(ros_node, Image, "/clip_surgery/instances")
    tracks = Inbox(ros_node, TrackArray, "/clip_surgery/tracks")
    queries = ros_node.create_publisher(String, "query", qos.query())
    camera = Process(*CAMERA, *VIEW, "--rate", "5")
    with camera, Process(*NODE, "-p", "tracking:=true") as node:
        node.wait_for_line("images arrive and nothing is asked for", START_S)
        wait_for_reader(queries)
        queries.publish(String(data="; ".join(scene.names)))

        def all_have_ids(message: Detection2DArray) -> bool:
            return len(message.detections) > 0 and all(one.id for one in message.detections)

        first = detections.wait(all_have_ids, deadline_s=START_S)
        ids = {one.results[0].hypothesis.class_id: one.id for one in first.detections}
        assert set(ids) == set(scene.names)
        assert sorted(int(name.rpartition("/")[2]) for name in ids.values()) == [
            *range(1, len(ids) + 1)
        ]
        after = len(detections.messages)
        detections.wait_count(after + 3, START_S)
        for message in detections.messages[after:]:
            for one in message.detections:
                assert one.id == ids[one.results[0].hypothesis.class_id]
        stamp = detections.messages[-1].header.stamp

        def of_stamp(message: object) -> bool:
            return message.header.stamp == stamp

        found = segments.wait(of_stamp)
        pixels = np.frombuffer(instances.wait(of_stamp).data, np.uint16).reshape(
            scene.image.shape[:2]
        )
        for segment in found.segments:
            assert segment.track_id == f"{segment.label}/{segment.id}"
            assert 0 < segment.track_score <= 1 and 0 < segment.track_presence <= 1
            box = segment.box
            inside = pixels[box.y_offset :, box.x_offset :][: box.height, : box.width]
            assert (inside == segment.id).any()
        assert {track.id for track in tracks.wait(of_stamp).tracks} == set(ids.values())

        name = scene.names[0]
        answer = call(ros_node, Locate, "/clip_surgery/locate", Locate.Request(name=name))
        assert answer.success and answer.tracks[0].id == ids[name]
        assert answer.tracks[0].state == Track.SEEN

        assert call(ros_node, Trigger, "/clip_surgery/reset_tracks", Trigger.Request()).success
        new = detections.wait(all_have_ids, after=len(detections.messages), deadline_s=START_S)
        while {one.id for one in new.detections} & set(ids.values()):  # was on its way
            new = detections.wait(all_have_ids, after=len(detections.messages))
        assert min(int(one.id.rpartition("/")[2]) for one in new.detections) > len(ids)
        assert "Traceback" not in node.text() + camera.text()
