"""What ``clip_surgery label`` writes beside masks: the side bag, the page, COCO for others."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from ament_index_python.packages import get_package_share_directory
from clip_surgery_ros.msg import SegmentArray, TrackArray
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from PIL import Image as PillowImage
from pycocotools.coco import COCO
from rclpy.serialization import deserialize_message
from recorded_bags import SECOND, panned, record_images
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability
from sensor_msgs.msg import CameraInfo

from clip_surgery_ros.ros.bag_writing import typestore_of
from clip_surgery_ros.tools.cli import main
from clip_surgery_ros.world.recorded import read_orbit

QUERY = "mug; green apple; rocket"
TOPICS = {
    f"/clip_surgery/{name}"
    for name in (
        *("active_query", "label_info", "segments", "detections", "mask", "instances"),
        *("confidence", "classification", "tracks"),
    )
}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """Label three pictures, and one that is cut short."""
    folder = tmp_path_factory.mktemp("side_bag")
    table = read_orbit().frame(0).rgb
    pictures = [panned(table, step) for step in range(4)]
    bag = record_images(folder / "drive", pictures, cut_from=3)
    command = [
        "label",
        str(bag),
        "--query",
        QUERY,
        "--clip-windows",
        "never",
        "--cpu-threads",
        "1",
    ]
    command += ["--output", str(folder / "out"), "--export", "coco", "masks", "bag"]
    assert main(command) == 3
    return folder / "out"


def by_topic(path: Path) -> dict[str, list[tuple[int, object, bytes]]]:
    """Read a bag by its own definitions: log times, rosbags' messages and raw bytes."""
    with AnyReader([path]) as reader:
        found: dict[str, list] = {connection.topic: [] for connection in reader.connections}
        for connection, log_time, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            found[connection.topic].append((log_time, message, bytes(raw)))
    return found


def test_side_bag_has_the_results_at_the_times_of_the_images(labelled: Path) -> None:
    messages = by_topic(labelled / "bags" / "drive")
    assert set(messages) == TOPICS
    coco = json.loads((labelled / "coco.json").read_text())
    for topic in TOPICS - {"/clip_surgery/active_query", "/clip_surgery/label_info"}:
        assert [time for time, _, _ in messages[topic]] == [n * SECOND for n in range(3)], topic
        if topic != "/clip_surgery/tracks":
            headers = [message.header for _, message, _ in messages[topic]]
            assert [(h.stamp.sec, h.stamp.nanosec) for h in headers] == [
                (100 + n, 5) for n in range(3)
            ]
            assert [h.frame_id for h in headers] == ["eye_0", "eye_1", "eye_2"]
    for n, image in enumerate(coco["images"]):
        own = [each for each in coco["annotations"] if each["image_id"] == image["id"]]
        segments = messages["/clip_surgery/segments"][n][1]
        assert [each.track_id for each in segments.segments] == [each["track"] for each in own]
        assert [each.box.x_offset for each in segments.segments] == [e["bbox"][0] for e in own]
        assert [round(each.score, 4) for each in segments.segments] == [
            pytest.approx(each["score"], abs=1e-4) for each in own
        ]
        assert [each.label for each in segments.absent] == [
            coco["categories"][each["category_id"] - 1]["name"] for each in image["absent"]
        ]
        detections = messages["/clip_surgery/detections"][n][1]
        assert [each.id for each in detections.detections] == [each["track"] for each in own]
        mask = messages["/clip_surgery/mask"][n][1]
        stored = np.asarray(PillowImage.open(labelled / "masks" / image["file_name"]))
        assert np.array_equal(mask.data.reshape(mask.height, mask.width), stored)


def test_query_and_key_come_first_and_are_latched(labelled: Path) -> None:
    path = labelled / "bags" / "drive"
    messages = by_topic(path)
    ((time, key, _),) = messages["/clip_surgery/label_info"]
    assert time == 0
    assert [each.class_name for each in key.class_map] == ["mug", "green apple", "rocket"]
    ((_, query, _),) = messages["/clip_surgery/active_query"]
    assert query.labels == ["mug", "green apple", "rocket"]
    with AnyReader([path]) as reader:
        for connection in reader.connections:
            (profile,) = connection.ext.offered_qos_profiles
            is_latched = profile.durability is QosDurability.TRANSIENT_LOCAL
            assert is_latched == (connection.topic.endswith(("active_query", "label_info")))
        order = [connection.topic for connection, _, _ in reader.messages()]
    assert order.index("/clip_surgery/label_info") < order.index("/clip_surgery/mask")


def test_messages_are_read_by_ros(labelled: Path) -> None:
    messages = by_topic(labelled / "bags" / "drive")
    _, expected, raw = messages["/clip_surgery/segments"][2]
    read = deserialize_message(raw, SegmentArray)
    assert [each.label for each in read.segments] == [each.label for each in expected.segments]
    assert bytes(read.segments[0].mask.data) == bytes(expected.segments[0].mask.data)
    tracks = deserialize_message(messages["/clip_surgery/tracks"][2][2], TrackArray)
    assert {each.id for each in tracks.tracks} >= {
        each.track_id for each in read.segments if each.track_id
    }


def test_side_bag_is_read_by_mcap(labelled: Path) -> None:
    (path,) = (labelled / "bags" / "drive").glob("*.mcap")
    with path.open("rb") as file:
        opened = make_reader(file, decoder_factories=[DecoderFactory()])
        found = list(opened.iter_decoded_messages())
    assert {channel.topic for _, channel, _, _ in found} == TOPICS
    masks = [decoded for _, channel, _, decoded in found if channel.topic.endswith("/mask")]
    assert [(mask.width, mask.height) for mask in masks] == [(560, 420)] * 3


def test_second_export_replaces_the_side_bag_with_the_same_bytes(labelled: Path, capsys) -> None:
    path = labelled / "bags" / "drive"
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    command = [
        "label",
        str(labelled.parent / "drive"),
        "--query",
        QUERY,
        "--clip-windows",
        "never",
    ]
    command += ["--cpu-threads", "1", "--output", str(labelled), "--export", "bag"]
    assert main(command) == 3
    assert "4 of 4 images are labelled already" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert [file.name for file in path.parent.iterdir()] == ["drive"]


def test_rerun_file_has_each_labelled_image_with_its_objects(labelled: Path) -> None:
    pytest.importorskip("rerun", reason="the extra 'rerun' is not installed")
    from rerun_files import TIMELINE, read_rrd

    command = ["label", str(labelled.parent / "drive"), "--query", QUERY, "--clip-windows"]
    command += ["never", "--cpu-threads", "1", "--output", str(labelled), "--export", "rrd"]
    assert main(command) == 3
    (path,) = (labelled / "rerun").iterdir()
    assert path.name == "drive.rrd"
    logged, messages = read_rrd(path), by_topic(labelled / "bags" / "drive")
    segments = [message for _, message, _ in messages["/clip_surgery/segments"]]
    stamps = [each.header.stamp.sec * 10**9 + each.header.stamp.nanosec for each in segments]
    assert logged["camera/image"][TIMELINE] == stamps and len(stamps) == 3
    boxes = logged["camera/image/boxes"]
    assert boxes[TIMELINE] == stamps
    for labels, message in zip(boxes["Boxes2D:labels"], segments, strict=True):
        names = [each.track_id or each.label for each in message.segments]
        assert [label.rpartition(" ")[0] for label in labels] == names
    assert any(boxes["Boxes2D:labels"])


@pytest.mark.parametrize("message_type", [SegmentArray, TrackArray, CameraInfo])
def test_definitions_have_the_hashes_that_ros_gives_them(message_type: type) -> None:
    package = message_type.__module__.split(".")[0]
    name = f"{package}/msg/{message_type.__name__}"
    share = Path(get_package_share_directory(package))
    description = json.loads((share / "msg" / f"{message_type.__name__}.json").read_text())
    hashes = {each["type_name"]: each["hash_string"] for each in description["type_hashes"]}
    assert typestore_of([message_type]).hash_rihs01(name) == hashes[name]


def test_coco_is_read_by_pycocotools(labelled: Path) -> None:
    opened = COCO(str(labelled / "coco.json"))
    assert len(opened.getImgIds()) == 3
    annotations = opened.loadAnns(opened.getAnnIds())
    assert annotations
    for each in annotations:
        mask = opened.annToMask(each)
        assert mask.sum() == each["area"]
        columns, rows = mask.any(0).nonzero()[0], mask.any(1).nonzero()[0]
        x, y, width, height = each["bbox"]
        assert (columns[0], rows[0]) == (x, y)
        assert (columns[-1], rows[-1]) == (x + width - 1, y + height - 1)


class Page(HTMLParser):
    """The elements and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def page(labelled: Path, tmp_path_factory) -> str:
    """Write the page of the labelled bag under a name that has markup."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(labelled.parent / "drive", folder / "<b>drive")
    shutil.copytree(labelled / "items", folder / "out" / "items")
    command = ["label", str(folder / "<b>drive"), "--query", QUERY, "--clip-windows", "never"]
    command += ["--cpu-threads", "1", "--output", str(folder / "out"), "--export", "page"]
    assert main(command) == 3
    return (folder / "out" / "index.html").read_text()


def test_page_has_text_instead_of_markup_and_loads_nothing(page: str) -> None:
    opened = Page(page)
    assert not {tag for tag, _ in opened.elements} & {"script", "b", "link", "iframe", "a"}
    assert "<b>drive, 2.0 s" in opened.texts or "<b>drive, 3.0 s" in opened.texts
    for tag, attributes in opened.elements:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href", "data", "action", "srcset"):
            if name in attributes:
                assert (attributes[name] or "").startswith("data:image/jpeg;base64,")
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_page_shows_counts_examples_reasons_and_what_was_skipped(
    page: str, labelled: Path
) -> None:
    opened = Page(page)
    text = " ".join(" ".join(opened.texts).split())
    assert "3 images labelled, 1 skipped." in text
    coco = json.loads((labelled / "coco.json").read_text())
    mugs = [each for each in coco["annotations"] if each["category_id"] == 1]
    row = rf"mug {len({each['image_id'] for each in mugs})} {len(mugs)} \d+ 0\.\d\d\d "
    assert re.search(row, text)
    best = max(mugs, key=lambda each: each["score"])
    assert f"{best['score']:.3f} {best['track']} <b>drive at" in text
    (reason,) = {
        each["reason"]
        for each in coco["images"][0]["absent"]
        if coco["categories"][each["category_id"] - 1]["name"] == "rocket"
    }
    assert f"rocket 3 {reason}" in text
    assert f"<b>drive/{3 * SECOND} the message is damaged" in text
    bars = [attributes for tag, attributes in opened.elements if tag == "rect"]
    assert len(bars) > 9


def test_pictures_of_the_page_show_masks(page: str) -> None:
    sources = [attributes["src"] for tag, attributes in Page(page).elements if tag == "img"]
    pictures = [
        np.asarray(PillowImage.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
        for source in sources
        if source is not None
    ]
    overview = [picture for picture in pictures if picture.shape == (240, 320, 3)]
    assert len(overview) == 3
    # The first label's colour, which nothing in the picture has.
    tinted = np.abs(overview[0].astype(int) - (230, 25, 75)).max(-1) < 60
    assert tinted.any()
