"""The camera in the rendered world and the node, in two processes: places against the truth.

The recorded orbit is shown, so nothing is rendered. The masks are the true ones, so the places
depend on depth, camera model and transforms alone.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from clip_surgery_ros.msg import SegmentArray
from ros.fakes import FakeEngine, frame_result
from ros.harness import CAMERA, Process
from ros.rig import wait_readers
from std_msgs.msg import String
from vision_msgs.msg import Detection3DArray

from clip_surgery_ros.core.geometry import mask_box
from clip_surgery_ros.core.types import FrameResult, PointPrompts, Query, Segment, Wanted
from clip_surgery_ros.ros import qos
from clip_surgery_ros.world.recorded import RecordedFrame, read_orbit

VIEWS = 3
MEDIAN, CLOSE = 0.012, 0.05
"""Metres: of a half of the centres, and of all. One view shows the front of things alone."""


class TrueMasks(FakeEngine):
    """Finds every object of the recorded orbit by its true mask; ids are those of the truth."""

    def __init__(self) -> None:
        super().__init__()
        self._frames = list(read_orbit().frames())

    def run(self, image_rgb: np.ndarray, query: Query, wanted: Wanted) -> FrameResult:
        """Answer with the truth of the frame that the image shows."""
        small = image_rgb[::16, ::16].astype(int)
        shown = min(self._frames, key=lambda f: np.abs(f.rgb[::16, ::16] - small).mean())
        result = frame_result(query, image_rgb.shape[:2])
        segments = [segment_of(shown, one) for one in shown.objects if one.pixels > 200]
        return FrameResult(**{**vars(result), "segments": tuple(segments)})


def segment_of(frame: RecordedFrame, truth: object) -> Segment:
    mask = frame.mask(truth.instance)
    box = mask_box(mask)
    rows, columns = np.nonzero(mask)
    middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    click = np.array([[columns[middle], rows[middle]]], np.int32)
    crop = mask[box.y : box.y + box.height, box.x : box.x + box.width]
    points = PointPrompts(click, np.array([True]))
    return Segment(truth.instance, 0, truth.name, 0.9, 0.9, 0.5, 0.8, box, crop, points)


@pytest.mark.slow
def test_places_of_the_recorded_orbit_are_those_of_the_truth(rigs) -> None:
    rig = rigs(engine=TrueMasks(), depth_topics=["depth/image_raw"], target_frame="world")
    rig.activate()
    truths, outside = {}, rig.outside

    def keep(message: String) -> None:
        truth = json.loads(message.data)
        truths[tuple(truth["header"]["stamp"].values())] = truth

    outside.create_subscription(String, "truth", keep, qos.latched())
    boxes = rig.inbox(Detection3DArray, "detections_3d")
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "detections_3d", "segments")
    rig.ask("thing")
    errors, lower_bounds = [], 0
    with Process(*CAMERA, "--views", str(VIEWS), "--hold", "2", "--rate", "2") as camera:
        camera.wait_for_line("shows the table", 60.0)
        for view in range(VIEWS):
            found = boxes.wait(lambda m, view=view: view_of(m, truths) == view)
            whole = segments.wait(lambda m, found=found: m.header.stamp == found.header.stamp)
            assert found.header.frame_id == "world"
            truth = {one["instance"]: one for one in truths[stamp_of(found)]["objects"]}
            places = {segment.id: segment.place for segment in whole.segments}
            assert len(found.detections) >= 5
            assert all(place.has_box or place.reason for place in places.values())
            for detection in found.detections:
                number = int(detection.id)
                assert detection.bbox.center == places[number].box
                if places[number].is_lower_bound or truth[number]["visible"] < 0.9:
                    lower_bounds += 1
                    continue
                centre = detection.bbox.center.position
                true = np.array(truth[number]["upright"]["position"])
                errors.append(np.linalg.norm(true - (centre.x, centre.y, centre.z)))
    assert len(errors) >= 9
    print(f"{len(errors)} centres, {lower_bounds} lower bounds: {sorted(np.round(errors, 4))}")
    assert np.median(errors) < MEDIAN
    assert max(errors) < CLOSE


def stamp_of(message: object) -> tuple[int, int]:
    return (message.header.stamp.sec, message.header.stamp.nanosec)


def view_of(message: object, truths: dict) -> int | None:
    return truths.get(stamp_of(message), {}).get("view")
