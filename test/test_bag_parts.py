"""Chosen images are read from parts of bags: storages, compression, split and cut-off files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image as PillowImage
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from test_bag import IMAGE, TEXT, TOPIC, picture, record, storage_file

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.ros.bag_parts import FrameTime, Part, StoredFrame, open_part, parts_of_bag
from clip_surgery_ros.ros.mcap_index import IndexedMcapReader

STORE = get_typestore(Stores.ROS2_JAZZY)
COMPRESSED = "sensor_msgs/msg/CompressedImage"
SECOND = 10**9


def frames_of(bag: Path, topic: str | None = None, together: bool = True) -> list[StoredFrame]:
    found: list[StoredFrame] = []
    for part in parts_of_bag(bag):
        with open_part(part, topic) as reader:
            found += reader.frames(reader.times(), together)
    return found


def values(frames: list[StoredFrame]) -> list[int | None]:
    return [None if frame.image is None else int(frame.image[0, 0, 0]) for frame in frames]


def split(folder: Path, *bags: Path) -> Path:
    """Join bags into one with several files, as a recorder that splits writes it."""
    folder.mkdir()
    joined = yaml.safe_load((bags[0] / "metadata.yaml").read_text())
    information = joined["rosbag2_bagfile_information"]
    information["relative_file_paths"] = []
    for number, bag in enumerate(bags):
        file = storage_file(bag)
        name = f"{folder.name}_{number}{''.join(file.suffixes)}"
        file.rename(folder / name)
        information["relative_file_paths"].append(name)
    (folder / "metadata.yaml").write_text(yaml.safe_dump(joined))
    return folder


@pytest.mark.parametrize("plugin", list(StoragePlugin))
@pytest.mark.parametrize("compression", [None, CompressionMode.FILE, CompressionMode.MESSAGE])
def test_split_bag_is_read_file_by_file(tmp_path: Path, plugin, compression) -> None:
    parts = [record(tmp_path / name, plugin, compression) for name in ("a", "b")]
    bag = split(tmp_path / "bag", *parts)
    frames = frames_of(bag)
    assert values(frames) == [0, 1, 2, 3, 4, 5] * 2
    assert [frame.stamp for frame in frames] == [n * SECOND for n in (*range(6), *range(6))]
    assert {frame.frame_id for frame in frames} == {"camera"}
    # The first file is not needed for the second.
    first, second = parts_of_bag(bag)
    first.file.unlink()
    with open_part(second, TOPIC) as reader:
        wanted = [FrameTime(2 * SECOND), FrameTime(5 * SECOND)]
        assert values(list(reader.frames(wanted, together=False))) == [2, 5]
    with pytest.raises(ImageError, match=r"not complete: .*bag_0\..* is missing"):
        frames_of(bag)


def test_mcap_with_compressed_chunks_is_read(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", StoragePlugin.MCAP, CompressionMode.STORAGE)
    assert values(frames_of(bag)) == [0, 1, 2, 3, 4, 5]


def jpeg(value: int) -> object:
    data = io.BytesIO()
    PillowImage.fromarray(np.full((24, 32, 3), value, np.uint8)).save(data, "JPEG")
    stamp = STORE.types["builtin_interfaces/msg/Time"](value, 7)
    header = STORE.types["std_msgs/msg/Header"](stamp=stamp, frame_id="eye")
    pixels = np.frombuffer(data.getvalue(), np.uint8)
    return STORE.types[COMPRESSED](header, "rgb8; jpeg compressed bgr8", pixels)


@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_compressed_images_are_read_beside_other_topics(tmp_path: Path, plugin) -> None:
    with Writer(tmp_path / "bag", version=9, storage_plugin=plugin) as writer:
        topics = [("/text", TEXT), (TOPIC, IMAGE), ("/eye", COMPRESSED)]
        text, raw, eye = (writer.add_connection(*each, typestore=STORE) for each in topics)
        for n in range(4):
            writer.write(text, n * SECOND, STORE.serialize_cdr(STORE.types[TEXT]("x"), TEXT))
            writer.write(raw, n * SECOND, STORE.serialize_cdr(picture(STORE, 9), IMAGE))
            writer.write(eye, n * SECOND, STORE.serialize_cdr(jpeg(50 * n), COMPRESSED))
    frames = frames_of(tmp_path / "bag", "/eye")
    assert values(frames) == [0, 50, 100, 150]
    assert [frame.stamp for frame in frames] == [50 * n * SECOND + 7 for n in range(4)]
    with pytest.raises(ImageError, match=f"topics with images: {TOPIC}, /eye; name --topic"):
        frames_of(tmp_path / "bag")


def record_times(path: Path, plugin: StoragePlugin, log_times: list[int]) -> Path:
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connection = writer.add_connection(TOPIC, IMAGE, typestore=STORE)
        for n, log_time in enumerate(log_times):
            writer.write(connection, log_time, STORE.serialize_cdr(picture(STORE, n), IMAGE))
    return path


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_out_of_order_and_equal_log_times_are_all_read_once(
    tmp_path: Path, plugin, together: bool
) -> None:
    bag = record_times(tmp_path / "bag", plugin, [30, 10, 20, 20, 40, 5])
    frames = frames_of(bag, together=together)
    assert [frame.time.log_time for frame in frames] == [5, 10, 20, 20, 30, 40]
    assert [frame.time.copy for frame in frames] == [0, 0, 0, 1, 0, 0]
    assert sorted(values(frames)) == [0, 1, 2, 3, 4, 5]
    assert values(frames)[:2] == [5, 1]


@pytest.mark.parametrize("together", [True, False])
def test_undecodable_images_have_errors_and_the_others_are_read(
    tmp_path: Path, together: bool
) -> None:
    cut = {1: 40, 4: 300}
    bag = record(tmp_path / "bag", StoragePlugin.MCAP, cut=lambda n, data: data[: cut.get(n)])
    frames = frames_of(bag, together=together)
    assert values(frames) == [0, None, 2, 3, None, 5]
    assert all("damaged" in frame.error for frame in frames if frame.image is None)


def test_damaged_chunk_costs_its_own_images_only(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    writer = Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection(TOPIC, IMAGE, typestore=STORE)
        for n in range(6):
            writer.write(connection, n, STORE.serialize_cdr(picture(STORE, n), IMAGE))
            writer.storage.close_chunk()
    reader = IndexedMcapReader(storage_file(bag))
    reader.open()
    offset = reader.chunks[2].chunk_start_offset
    reader.close()
    content = bytearray(storage_file(bag).read_bytes())
    content[offset + 60 : offset + 70] = bytes(10)
    storage_file(bag).write_bytes(content)
    assert values(frames_of(bag)) == [0, 1, None, 3, 4, 5]


@pytest.mark.parametrize("with_description", [True, False])
@pytest.mark.parametrize("cut_at", ["summary", "last index", "last chunk"])
def test_cut_off_mcap_is_read_as_far_as_it_is_whole(
    tmp_path: Path, cut_at: str, with_description: bool
) -> None:
    bag = tmp_path / "bag"
    writer = Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    ends = []
    with writer:
        connection = writer.add_connection(TOPIC, IMAGE, typestore=STORE)
        for n in range(6):
            writer.write(connection, n, STORE.serialize_cdr(picture(STORE, n), IMAGE))
            if n % 2:
                writer.storage.close_chunk()
                ends.append(writer.storage.bio.tell())
    size = {"summary": ends[2] + 5, "last index": ends[2] - 3, "last chunk": ends[2] - 70}
    storage_file(bag).write_bytes(storage_file(bag).read_bytes()[: size[cut_at]])
    if not with_description:
        (bag / "metadata.yaml").unlink()
    assert values(frames_of(bag)) == [0, 1, 2, 3, 4, 5][: 4 if cut_at == "last chunk" else 6]


def test_mcap_without_chunks_is_read_in_order_of_time(tmp_path: Path) -> None:
    bag = record_times(tmp_path / "bag", StoragePlugin.MCAP, [30, 10, 20])
    file = storage_file(bag)
    reader = IndexedMcapReader(file)
    reader.open()
    (chunk,) = reader.chunks
    content = reader._content(chunk)
    head = file.read_bytes()[: reader.data_start]
    reader.close()
    file.write_bytes(head + content)  # without its chunk, index and summary
    assert values(frames_of(bag)) == [1, 2, 0]


def test_only_wanted_images_are_read(tmp_path: Path) -> None:
    """The bytes between the wanted ones may be anything."""
    bag = record_times(tmp_path / "bag", StoragePlugin.MCAP, [10, 20, 30])
    (part,) = parts_of_bag(bag)
    read: list[int] = []
    with open_part(part, TOPIC) as reader:
        original = reader._reader.messages
        reader._reader.messages = lambda *args: (read.append(args[1:]), original(*args))[1]
        assert values(list(reader.frames([FrameTime(10), FrameTime(30)], together=False))) == [
            0,
            2,
        ]
    assert read == [(10, 11), (30, 31)]


def test_image_that_is_gone_has_an_error(tmp_path: Path) -> None:
    bag = record_times(tmp_path / "bag", StoragePlugin.SQLITE3, [10, 30])
    with open_part(Part(bag, storage_file(bag), described=True), TOPIC) as reader:
        wanted = [FrameTime(10), FrameTime(20), FrameTime(30)]
        frames = list(reader.frames(wanted, together=True))
    assert values(frames) == [0, None, 1]
    assert "no such message" in frames[1].error


def test_ros1_bag_is_refused_with_the_program_that_converts_it(tmp_path: Path) -> None:
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(ImageError, match=r"rosbags-convert --src .*old\.bag"):
        parts_of_bag(tmp_path / "old.bag")
