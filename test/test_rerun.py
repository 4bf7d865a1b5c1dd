"""What is logged to Rerun, read back from files by Rerun's own reader."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from clip_surgery_ros.msg import Segment, SegmentArray, Track, TrackArray
from geometry_msgs.msg import TransformStamped
from ros.fakes import BOX, frame_result
from ros.harness import Process, ros_domain, wait_for_reader, wait_until
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.pictures.decode import decode
from clip_surgery_ros.pictures.files import write_image
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.images import image_message
from clip_surgery_ros.ros.messages import query_message, segment_array, time_message
from clip_surgery_ros.tools.cli import main
from clip_surgery_ros.world.recorded import read_orbit

pytest.importorskip("rerun", reason="the extra 'rerun' is not installed")

from rclpy.node import Node
from rerun_files import TIMELINE, pixels_of, read_rrd

from clip_surgery_ros.rerun_bridge import archetypes as made
from clip_surgery_ros.rerun_bridge.recording import recorded_to

STAMP_NS = 1_700_000_000_123_456_789
"""With digits that a float would lose."""
QUERY = parse_query("red mug; saw")
SIZE_HW = (48, 64)
LARGEST_ERROR = 12
"""Of a pixel of a smooth picture as JPEG of quality 90."""


def smooth_picture() -> np.ndarray:
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    return np.stack([rows * 4, columns * 3, 255 - rows * 2], axis=2).astype(np.uint8)


def result_message(stamp_ns: int = STAMP_NS) -> SegmentArray:
    """Return a red mug with a place in space, and no saw."""
    header = Header(stamp=time_message(stamp_ns), frame_id="camera")
    result = frame_result(QUERY, SIZE_HW)
    message = segment_array(result, header, query_message(QUERY, header.stamp))
    place = message.segments[0].place
    place.has_box, place.header.frame_id = True, "map"
    place.box.position.x, place.box.position.z, place.box.orientation.w = 0.5, 1.5, 1.0
    place.size.x, place.size.y, place.size.z = 0.125, 0.25, 0.5
    return message


def tracks_message() -> TrackArray:
    header = Header(stamp=time_message(STAMP_NS))
    hidden = Track(id="red mug/3", number=3, label="red mug", state=Track.HIDDEN, has_place=True)
    hidden.reason, hidden.place.header.frame_id = "a box is in front of it", "map"
    hidden.place.pose.position.y, hidden.place.pose.orientation.w = 2.0, 1.0
    hidden.size.x = hidden.size.y = hidden.size.z = 0.5
    gone = Track(id="saw/4", number=4, label="saw", state=Track.GONE, has_place=True)
    return TrackArray(header=header, tracks=[hidden, gone])


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list]]:
    """Everything that can be logged, in a file, and read again."""
    path = tmp_path_factory.mktemp("rerun") / "all.rrd"
    info = CameraInfo(width=64, height=48, k=[50.0, 0, 32, 0, 51, 24, 0, 0, 1])
    info.header.frame_id = "camera"
    moved = TransformStamped(child_frame_id="camera")
    moved.header.frame_id, moved.transform.translation.x = "map", 3.0
    metres = np.full(SIZE_HW, 1.25, np.float32)
    with recorded_to(path, "camera") as recording:
        recording.log_labels("camera", QUERY.names, STAMP_NS)
        for entities in (
            made.image_entities("camera", smooth_picture()),
            made.depth_entities("camera", metres),
            made.camera_model_entities("camera/image", info, made.ON_IMAGE),
            made.transform_entities([moved]),
            made.result_entities("camera", result_message(), SIZE_HW),
            made.track_entities(tracks_message()),
        ):
            recording.log(entities, STAMP_NS)
        later = SegmentArray(query=query_message(QUERY, time_message(0)))
        recording.log(made.result_entities("camera", later, SIZE_HW), STAMP_NS + 1)
    return read_rrd(path)


def test_image_and_depth_are_those_that_were_logged(logged) -> None:
    image = logged["camera/image"]
    jpeg = bytes(image["EncodedImage:blob"][0][0])
    shown = decode(jpeg, "the image", ("JPEG",))[..., ::-1].astype(int)  # BGR
    assert np.abs(shown - smooth_picture()).max() <= LARGEST_ERROR
    assert image[TIMELINE] == [STAMP_NS] * len(image[TIMELINE])
    depth = logged["camera/depth"]
    assert (pixels_of(depth, "DepthImage", np.float32) == 1.25).all()
    assert depth["DepthImage:meter"] == [[1.0]]


def test_masks_hold_the_place_of_the_label_in_the_query_from_one(logged) -> None:
    expected = np.zeros(SIZE_HW, np.uint16)
    expected[BOX.y : BOX.y + BOX.height, BOX.x : BOX.x + BOX.width] = 1
    expected[BOX.y, BOX.x] = 0
    masks = logged["camera/image/masks"]
    np.testing.assert_array_equal(pixels_of(masks, "SegmentationImage", np.uint16), expected)
    assert masks[TIMELINE] == [STAMP_NS, STAMP_NS, STAMP_NS + 1]  # its frame, two results
    assert not pixels_of(masks, "SegmentationImage", np.uint16, row=1).any()
    ((context,),) = logged["camera"]["AnnotationContext:context"]
    names = {each["class_id"]: each["class_description"]["info"]["label"] for each in context}
    assert (names[1], names[2]) == ("red mug", "saw")


def test_boxes_points_and_numbers_are_those_of_the_message(logged) -> None:
    boxes = logged["camera/image/boxes"]
    assert boxes["Boxes2D:centers"] == [[[4.0, 2.5]], []]
    assert boxes["Boxes2D:half_sizes"] == [[[2.0, 1.5]], []]
    assert boxes["Boxes2D:labels"] == [["red mug 0.75"], []]
    assert logged["camera/image/points"]["Points2D:positions"][0] == [[3.5, 2.5], [7.5, 5.5]]
    for entity, expected in {
        "camera/seconds/clip": 0.25,
        "camera/seconds/sam": 0.5,
        "camera/presence/red\\ mug": 0.875,
        "camera/presence/saw": 0.125,
    }.items():
        assert logged[entity]["Scalars:scalars"] == [[expected]], entity
        assert set(logged[entity][TIMELINE]) == {STAMP_NS}
    assert logged["camera/absent"]["TextDocument:text"][0] == ["saw: nothing like it"]


def test_objects_and_tracks_have_places_in_their_frames(logged) -> None:
    objects = logged["camera/objects"]
    assert objects["Boxes3D:centers"] == [[[0.5, 0.0, 1.5]], []]
    assert objects["Boxes3D:half_sizes"] == [[[0.0625, 0.125, 0.25]], []]
    assert objects["CoordinateFrame:frame"][0] == ["map"]
    tracks = logged["tracks/places"]
    assert tracks["Boxes3D:labels"] == [["red mug/3 hidden"]], "what is gone has no place"
    assert tracks["Boxes3D:centers"] == [[[0.0, 2.0, 0.0]]]
    assert logged["tracks"]["TextDocument:text"] == [
        ["red mug/3: hidden (a box is in front of it)\nsaw/4: gone"]
    ]
    assert logged["tf/camera"]["Transform3D:parent_frame"] == [["map"]]
    assert logged["tf/camera"]["Transform3D:translation"] == [[[3.0, 0.0, 0.0]]]


def test_what_is_drawn_on_an_image_is_in_the_plane_of_its_camera(logged) -> None:
    """The viewer shows nothing of an entity that no frame connects to the image."""
    entities = ("camera/image", *(f"camera/image/{name}" for name in made.ON_IMAGE))
    assert [logged[entity]["CoordinateFrame:frame"][0] for entity in entities] == (
        [["camera/camera/image"]] * 4
    )
    drawn = {entity for entity in logged if entity.startswith("camera/image/")}
    assert drawn == set(entities[1:])


def test_curves_of_presence_have_the_colours_of_the_labels(logged) -> None:
    ((context,),) = logged["camera"]["AnnotationContext:context"]
    colours = {each["class_id"]: each["class_description"]["info"]["color"] for each in context}
    for label, name in enumerate(QUERY.names, 1):
        curve = logged[f"camera/presence/{name.replace(' ', chr(92) + ' ')}"]
        assert curve["SeriesLines:colors"][0] == [colours[label]]
        assert curve["SeriesLines:names"][0] == [name]


def test_a_camera_without_a_model_and_a_result_without_an_image_leave_out_what_they_lack() -> None:
    assert made.camera_model_entities("camera/image", CameraInfo()) == {}
    assert "camera/image/masks" not in made.result_entities("camera", result_message(), None)
    broken = result_message()
    broken.segments = [Segment(box=broken.segments[0].box)]
    with pytest.raises(ValueError, match="reshape"):
        made.result_entities("camera", broken, SIZE_HW)


def test_segment_writes_what_it_prints(tmp_path: Path, capsys) -> None:
    picture, path = tmp_path / "table.png", tmp_path / "table.rrd"
    write_image(picture, read_orbit().frame(0).rgb)
    options = ("--clip-windows", "never", "--cpu-threads", "1")
    assert main(["segment", str(picture), "mug; rocket", "--rrd", str(path), *options]) == 0
    printed = capsys.readouterr().out
    logged = read_rrd(path)
    labels = logged["camera/image/boxes"]["Boxes2D:labels"][0]
    assert labels and all(each.startswith("mug ") for each in labels)
    assert f"wrote {path}" in printed and labels[0].split()[-1] in printed
    masks = pixels_of(logged["camera/image/masks"], "SegmentationImage", np.uint16)
    assert masks.shape == read_orbit().frame(0).rgb.shape[:2] and set(np.unique(masks)) == {0, 1}
    assert logged["camera/absent"]["TextDocument:text"][0][0].startswith("rocket: ")
    assert main(["segment", str(picture), "mug", "--rrd", str(tmp_path / "table.txt")]) == 2
    assert "must end with .rrd" in capsys.readouterr().err


def image_of(stamp_ns: int) -> Image:
    return image_message(smooth_picture(), "rgb8", Header(stamp=time_message(stamp_ns)))


def test_the_bridge_writes_each_result_with_its_image(tmp_path: Path) -> None:
    path = tmp_path / "live.rrd"
    with ros_domain() as context:
        node = Node("stand_in", context=context)
        results = node.create_publisher(SegmentArray, "/clip_surgery/segments", qos.result())
        tracks = node.create_publisher(TrackArray, "/clip_surgery/tracks", qos.result())
        images = node.create_publisher(Image, "/image_raw", qos.newest_image())
        program = ("-m", "clip_surgery_ros.rerun_bridge.main", "--save", str(path))
        with Process(*program) as bridge:
            bridge.wait_for_line("clip_surgery_rerun: logs /clip_surgery")
            for publisher in (results, tracks, images):
                wait_for_reader(publisher)
            message = result_message()
            tracks.publish(tracks_message())
            # A result may come before its image, and older images may come in between.
            results.publish(message)
            images.publish(image_of(STAMP_NS - 5))

            def is_logged() -> bool:
                images.publish(image_of(STAMP_NS))  # again, because best effort may lose it
                return "the first result is logged, with its image" in bridge.text()

            wait_until(is_logged)
            bridge.signal(signal.SIGINT)
            assert bridge.wait() == 0, bridge.text()
            assert "Traceback" not in bridge.text()
        node.destroy_node()
    logged = read_rrd(path)
    assert logged["camera/image"][TIMELINE] == [STAMP_NS]
    assert logged["camera/image/boxes"]["Boxes2D:labels"] == [["red mug 0.75"]]
    assert logged["tracks/places"]["Boxes3D:labels"] == [["red mug/3 hidden"]]
    assert pixels_of(logged["camera/image/masks"], "SegmentationImage", np.uint16).sum() == 11


def test_without_the_extra_a_sentence_says_what_to_install(monkeypatch, capsys) -> None:
    from clip_surgery_ros.rerun_bridge import extra
    from clip_surgery_ros.rerun_bridge import main as bridge

    monkeypatch.setattr(extra.importlib.util, "find_spec", lambda name: None)
    assert bridge.main(["clip_surgery_rerun", "--save", "a.rrd"]) == 2
    assert "pip install 'clip_surgery_ros[rerun]'" in capsys.readouterr().err
