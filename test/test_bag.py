"""Reads recorded bags: all storage formats, and bags that are damaged or incomplete."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.ros.bag import images_of_bag
from clip_surgery_ros.tools.cli import main

IMAGE, TEXT = "sensor_msgs/msg/Image", "std_msgs/msg/String"
TOPIC = "/camera/image_raw"
COUNT = 6
Cut = Callable[[int, bytes], bytes]


def keep_whole(_: int, data: bytes) -> bytes:
    return data


def record(
    path: Path,
    plugin: StoragePlugin = StoragePlugin.SQLITE3,
    compression: CompressionMode | None = None,
    count: int = COUNT,
    topics: tuple[tuple[str, str], ...] = ((TOPIC, IMAGE),),
    cut: Cut = keep_whole,
) -> Path:
    """Record a ROS 2 bag whose n-th picture is filled with n; ``cut`` changes the stored bytes."""
    store = get_typestore(Stores.ROS2_JAZZY)
    writer = Writer(path, version=9, storage_plugin=plugin)
    if compression:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections = [
            (writer.add_connection(topic, kind, typestore=store), kind) for topic, kind in topics
        ]
        for index in range(count):
            for connection, kind in connections:
                message = picture(store, index) if kind == IMAGE else store.types[TEXT]("x")
                data = cut(index, bytes(store.serialize_cdr(message, kind)))
                writer.write(connection, index * 10**9, data)
    return path


def picture(store, value: int, **header):
    stamp = store.types["builtin_interfaces/msg/Time"](value, 0)
    head = store.types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera", **header)
    pixels = np.full(24 * 32 * 3, value, np.uint8)
    return store.types[IMAGE](head, 24, 32, "rgb8", 0, 96, pixels)


def record_ros1(path: Path, publishers: int = 1) -> Path:
    """Record a ROS 1 bag with pictures of several publishers in turn."""
    store = get_typestore(Stores.ROS1_NOETIC)
    with Ros1Writer(path) as writer:
        connections = [
            writer.add_connection(TOPIC, IMAGE, typestore=store, callerid=f"/node_{number}")
            for number in range(publishers)
        ]
        for index in range(COUNT):
            data = store.serialize_ros1(picture(store, index, seq=index), IMAGE)
            writer.write(connections[index % publishers], index * 10**9, data)
    return path


def pixel_values(path: Path, topic: str | None = None, count: int = 200) -> list[int]:
    return [int(image[0, 0, 0]) for image in images_of_bag(path, topic, count)]


def storage_file(bag: Path) -> Path:
    return next(file for file in bag.iterdir() if file.suffix != ".yaml")


def truncate(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("publishers", [1, 2, 3])
def test_ros1_bag_with_several_publishers_is_read(tmp_path: Path, publishers: int) -> None:
    bag = record_ros1(tmp_path / "old.bag", publishers)
    assert pixel_values(bag) == [0, 1, 2, 3, 4, 5]
    assert pixel_values(bag, TOPIC, 3) == [0, 2, 4]


@pytest.mark.parametrize("plugin", list(StoragePlugin))
@pytest.mark.parametrize("compression", [None, CompressionMode.FILE, CompressionMode.MESSAGE])
def test_compressed_bags_are_read(tmp_path: Path, plugin, compression) -> None:
    assert pixel_values(record(tmp_path / "bag", plugin, compression)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_storage_file_of_a_bag_is_read_as_the_bag(tmp_path: Path, plugin) -> None:
    bag = record(tmp_path / "bag", plugin)
    assert pixel_values(storage_file(bag)) == [0, 1, 2, 3, 4, 5]
    (bag / "metadata.yaml").unlink()
    assert pixel_values(storage_file(bag)) == [0, 1, 2, 3, 4, 5]


def test_images_are_read_from_a_topic_with_two_types(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", topics=((TOPIC, IMAGE), (TOPIC, TEXT)))
    assert pixel_values(bag) == [0, 1, 2, 3, 4, 5]


def test_bag_without_messages_is_an_error(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", StoragePlugin.MCAP, count=0)
    with pytest.raises(ImageError, match=f"has no messages on {TOPIC}"):
        pixel_values(bag)


def without_description(folder: Path) -> Path:
    bag = record(folder / "bag")
    (bag / "metadata.yaml").unlink()
    return bag


def invalid_description(folder: Path) -> Path:
    bag = record(folder / "bag")
    (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    return bag


def recorded_by_later_ros(folder: Path) -> Path:
    bag = record(folder / "bag")
    description = bag / "metadata.yaml"
    description.write_text(description.read_text().replace("version: 9", "version: 12"))
    return bag


def without_storage_file(folder: Path) -> Path:
    bag = record(folder / "bag")
    storage_file(bag).unlink()
    return bag


def cut_mcap(folder: Path) -> Path:
    bag = record(folder / "bag", StoragePlugin.MCAP)
    truncate(storage_file(bag))
    return bag


def cut_mcap_alone(folder: Path) -> Path:
    return storage_file(cut_mcap(folder))


def cut_zstd(folder: Path) -> Path:
    bag = record(folder / "bag", compression=CompressionMode.FILE)
    truncate(storage_file(bag))
    return bag


def compressed_file(folder: Path) -> Path:
    return storage_file(record(folder / "bag", compression=CompressionMode.FILE))


def file_of_compressed_messages(folder: Path) -> Path:
    return storage_file(record(folder / "bag", compression=CompressionMode.MESSAGE))


def overwritten_page(folder: Path) -> Path:
    bag = record(folder / "bag", count=100)
    content = storage_file(bag).read_bytes()
    start = len(content) // 2
    junk = np.random.default_rng(0).bytes(8192)
    storage_file(bag).write_bytes(content[:start] + junk + content[start + len(junk) :])
    return bag


def cut_message(folder: Path) -> Path:
    return record(folder / "bag", cut=lambda i, data: data[: len(data) // 2] if i == 2 else data)


def empty_message(folder: Path) -> Path:
    return record(folder / "bag", cut=lambda i, data: b"" if i == 2 else data)


def without_images(folder: Path) -> Path:
    return record(folder / "bag", topics=(("/chatter", TEXT),))


def cut_ros1(folder: Path) -> Path:
    bag = record_ros1(folder / "old.bag")
    truncate(bag)
    return bag


def folder_of_ros1(folder: Path) -> Path:
    record_ros1(folder / "old.bag")
    return folder


def folder_of_bags(folder: Path) -> Path:
    record(folder / "monday")
    record(folder / "tuesday")
    return folder


def junk(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(np.random.default_rng(0).bytes(2000))
        return folder / name

    return make


def description_alone(folder: Path) -> Path:
    return record(folder / "bag") / "metadata.yaml"


DAMAGED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no description": (without_description, r"`ros2 bag reindex .*bag` .*bag/bag\.db3"),
    "invalid description": (
        invalid_description,
        "`ros2 bag reindex .*` writes a new metadata.yaml",
    ),
    "a later ROS": (recorded_by_later_ros, "version 12 not supported; `ros2 bag convert`"),
    "no file": (without_storage_file, r"files are missing: .*bag\.db3"),
    "cut MCAP": (cut_mcap, r"`mcap recover .*bag\.mcap`"),
    "cut MCAP alone": (cut_mcap_alone, r"`mcap recover .*bag\.mcap`"),
    "cut zstd": (cut_zstd, "cannot be read: .*; copy it again"),
    "compressed file": (compressed_file, "name its folder, .*bag"),
    "compressed messages": (file_of_compressed_messages, "name the bag's folder"),
    "overwritten page": (overwritten_page, r"`sqlite3 .*bag\.db3 \.recover`"),
    "cut message": (cut_message, f"image 3 of {TOPIC} in the bag .* is damaged"),
    "empty message": (empty_message, f"image 3 of {TOPIC} in the bag .* is damaged"),
    "texts": (without_images, r"no images; topics with images: none, of /chatter \(std_msgs"),
    "cut ROS 1": (cut_ros1, r"`rosbag reindex .*old\.bag`"),
    "folder of ROS 1": (folder_of_ros1, r"no bag itself but holds some; name .*old\.bag"),
    "folder of bags": (folder_of_bags, "name .*monday or .*tuesday"),
    "empty folder": (lambda folder: folder, "no bag: it has no metadata.yaml"),
    "nothing": (lambda folder: folder / "none", "does not exist"),
    "description alone": (description_alone, "describes a bag; name its folder, .*bag"),
    "junk": (junk("x.mcap"), "cannot be read: .*`mcap recover"),
    "junk of SQLite": (junk("x.db3"), "cannot be read: .*not a database"),
    "junk of ROS 1": (junk("x.bag"), "cannot be read: .*`rosbag reindex"),
    "unclosed ROS 1": (junk("x.bag.active"), "was not closed; `rosbag reindex`"),
    "a picture": (junk("x.png"), "is no bag; name a ROS 2 bag's folder, or a file with"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_unreadable_bag_is_an_error_with_its_remedy(case: str, tmp_path: Path) -> None:
    make, message = DAMAGED[case]
    bag = make(tmp_path)
    with pytest.raises(ImageError, match=message) as caught:
        pixel_values(bag)
    assert str(bag) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", ["overwritten page", "cut zstd", "cut message", "nothing"])
def test_calibrate_with_damaged_bag_prints_the_error_and_writes_nothing(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    bag = DAMAGED[case][0](tmp_path)
    output = tmp_path / "out"
    options = ["--query", "hammer", "--clip-windows", "never", "--output", str(output)]
    assert main(["calibrate", "--bag", str(bag), *options]) == 2
    assert str(bag) in capsys.readouterr().err.splitlines()[-1]
    assert not output.exists()


def test_damaged_image_that_is_not_sampled_is_no_error(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", cut=lambda i, data: data[:50] if i == 1 else data)
    assert pixel_values(bag, count=3) == [0, 2, 4]


def test_wrong_message_count_does_not_give_more_images_than_requested(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag")
    description = bag / "metadata.yaml"
    text = description.read_text().replace(f"message_count: {COUNT}", "message_count: 1")
    description.write_text(text)
    assert len(pixel_values(bag, count=4)) == 4


def test_copied_bag_with_another_name_is_read(tmp_path: Path) -> None:
    shutil.copytree(record(tmp_path / "bag"), tmp_path / "a copy")
    assert pixel_values(tmp_path / "a copy") == [0, 1, 2, 3, 4, 5]
