"""``clip_surgery label``: plan, resume, several processes, COCO and masks, skipped images."""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from recorded_bags import PAN_XY, SECOND, panned, record_images
from ros.harness import wait_until
from rosbags.rosbag2 import StoragePlugin
from test_bag import record, storage_file

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.masks import class_mask
from clip_surgery_ros.core.presence import PresenceLevel
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.run_lengths import compressed_runs, run_lengths
from clip_surgery_ros.core.types import (
    Box,
    Calibration,
    FrameResult,
    PointPrompts,
    Query,
    Segment,
    Wanted,
)
from clip_surgery_ros.networks.factory import network_files
from clip_surgery_ros.networks.profiles import (
    FOLDER,
    Conditions,
    NetworkFile,
    Profile,
    write_profile,
)
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.recorded.following import followed
from clip_surgery_ros.recorded.frames import labelled_frames
from clip_surgery_ros.recorded.label import label_item
from clip_surgery_ros.recorded.plan import IMAGES_PER_ITEM, make_plan
from clip_surgery_ros.recorded.results import coco_file
from clip_surgery_ros.recorded.run import only_run
from clip_surgery_ros.tools.cli import main
from clip_surgery_ros.tools.truth import scenes
from clip_surgery_ros.tracks.tracker import Tracker
from clip_surgery_ros.tracks.types import Observation, View
from clip_surgery_ros.world.recorded import read_orbit

QUERY = "mug; green apple; banana; rocket"
OPTIONS = ["--query", QUERY, "--clip-windows", "never", "--cpu-threads", "1"]
OPTIONS += ["--images-per-item", "2"]


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """A camera pans over a table, and is then somewhere else."""
    table = read_orbit().frame(0).rgb
    elsewhere = next(scenes("mixed", "development", 1)()).image
    return [*(panned(table, step) for step in range(3)), elsewhere]


@pytest.fixture(scope="module")
def bag(tmp_path_factory, pictures) -> Path:
    """Record four pictures, and one that is cut short."""
    path = tmp_path_factory.mktemp("recorded") / "drive"
    return record_images(path, [*pictures, pictures[0]], cut_from=4)


@pytest.fixture(scope="module")
def labelled(bag: Path, tmp_path_factory) -> Path:
    """Label the bag in this process."""
    output = tmp_path_factory.mktemp("one")
    command = ["label", str(bag), *OPTIONS, "--output", str(output)]
    assert main([*command, "--export", "coco", "masks"]) == 3
    return output


def decode(segmentation: dict) -> np.ndarray:
    """Decode COCO's compressed run lengths, written after pycocotools' description."""
    text, counts, position = segmentation["counts"], [], 0
    while position < len(text):
        number, shift, more = 0, 0, True
        while more:
            code = ord(text[position]) - 48
            number |= (code & 31) << shift
            more, position, shift = bool(code & 32), position + 1, shift + 5
            if not more and code & 16:
                number |= -1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
    height, width = segmentation["size"]
    flat = [index % 2 for index, count in enumerate(counts) for _ in range(count)]
    return np.array(flat, bool).reshape((height, width), order="F")


def test_coco_and_masks_have_what_the_pipeline_finds(labelled: Path, pictures, networks) -> None:
    config = Config.from_values({"clip_windows": "never"})
    query = parse_query(QUERY)
    coco = json.loads((labelled / "coco.json").read_text())
    assert [category["name"] for category in coco["categories"]] == list(query.names)
    assert len(coco["images"]) == 4
    assert len(coco["annotations"]) > 0
    for n, (image, pixels) in enumerate(zip(coco["images"], pictures, strict=True)):
        result = networks.pipeline(config).run(pixels, query)
        assert (image["height"], image["width"]) == pixels.shape[:2]
        assert image["stamp_ns"] == (100 + n) * SECOND + 5
        assert (image["log_time_ns"], image["frame_id"]) == (n * SECOND, f"eye_{n}")
        assert (image["bag"], image["topic"]) == ("drive", "/camera")
        absent = [(query.names[each["category_id"] - 1]) for each in image["absent"]]
        assert absent == [label.name for label in result.absent]
        assert all(each["reason"] for each in image["absent"])
        found = [each for each in coco["annotations"] if each["image_id"] == image["id"]]
        assert len(found) == len(result.segments)
        for entry, segment in zip(found, result.segments, strict=True):
            mask = decode(entry["segmentation"])
            box = segment.box
            assert entry["bbox"] == [box.x, box.y, box.width, box.height]
            inside = mask[box.y : box.y + box.height, box.x : box.x + box.width]
            # The scores may differ in the last digits: the fixture's networks use more threads.
            assert np.mean(inside == segment.mask) > 0.999
            assert entry["area"] == mask.sum() == inside.sum()
            assert entry["score"] == pytest.approx(segment.score, abs=1e-3)
            assert entry["category_id"] == segment.label + 1
        stored = np.asarray(PillowImage.open(labelled / "masks" / image["file_name"]))
        expected = class_mask(result.segments, result.size_hw)
        assert np.mean(stored == expected) > 0.999


def test_undecodable_image_is_named_and_gives_status_3(bag: Path, labelled: Path, capsys) -> None:
    command = ["label", str(bag), *OPTIONS, "--output", str(labelled)]
    assert main(command) == 3
    output = capsys.readouterr()
    assert f"skipped drive/{4 * SECOND}: the message is damaged" in output.err
    assert "4 images labelled, 1 skipped" in output.out
    (skipped,) = json.loads((labelled / "coco.json").read_text())["skipped"]
    assert skipped["log_time_ns"] == 4 * SECOND
    assert "damaged" in skipped["reason"]


def check_same_files(folder: Path, other: Path) -> None:
    """Check that two output folders have the same files with the same bytes."""
    files = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    assert files == sorted(f.relative_to(other) for f in other.rglob("*") if f.is_file())
    assert sum(file.suffix == ".png" for file in files) == 4
    for file in files:
        assert (other / file).read_bytes() == (folder / file).read_bytes(), file


def test_two_workers_write_the_same_bytes(bag: Path, labelled: Path, tmp_path: Path) -> None:
    command = ["label", str(bag), *OPTIONS, "--output", str(tmp_path), "--workers", "2"]
    assert main([*command, "--export", "masks", "coco"]) == 3
    check_same_files(labelled, tmp_path)


def test_eight_workers_write_the_same_bytes(pictures, tmp_path: Path) -> None:
    # Four of eight items are damaged images, which cost no time.
    bag = record_images(tmp_path / "drive", [*pictures, *pictures], cut_from=4)
    command = ["label", str(bag), *OPTIONS, "--images-per-item", "1", "--export", "masks", "coco"]
    assert main([*command, "--output", str(tmp_path / "one")]) == 3
    assert main([*command, "--output", str(tmp_path / "eight"), "--workers", "8"]) == 3
    assert len(list((tmp_path / "eight" / "items").iterdir())) == 8
    check_same_files(tmp_path / "one", tmp_path / "eight")


def test_objects_keep_their_ids_from_image_to_image_and_item_to_item(labelled: Path) -> None:
    coco = json.loads((labelled / "coco.json").read_text())
    images = [image["id"] for image in coco["images"][:3]]
    first, second, third = (
        [each for each in coco["annotations"] if each["image_id"] == image] for image in images
    )
    kept = 0
    for objects, later in ((first, second), (second, third)):
        for each in objects:
            if each["track_id"] is None:
                continue
            x, y, width, height = each["bbox"]
            expected = np.array([x - PAN_XY[0], y - PAN_XY[1]])
            same = [
                other
                for other in later
                if other["category_id"] == each["category_id"]
                and np.abs(expected - other["bbox"][:2]).max() < max(width, height) / 3
            ]
            if same:
                kept += 1
                assert each["track_id"] in [other["track_id"] for other in same]
    assert kept >= 6  # two mugs, an apple and a banana, twice; some are cut by the border
    for objects in (first, second, third):
        numbers = [each["track_id"] for each in objects if each["track_id"] is not None]
        assert len(set(numbers)) == len(numbers)
    for each in coco["annotations"]:
        name = coco["categories"][each["category_id"] - 1]["name"]
        number = each["track_id"]
        assert each["track"] == ("" if number is None else f"{name}/{number}")


def test_ids_are_those_of_a_tracker_that_sees_the_pictures(
    bag: Path, labelled: Path, pictures
) -> None:
    config = Config.from_values({"clip_windows": "never", "cpu_threads": 1})
    query = parse_query(QUERY)
    plan = make_plan([bag], None, 0, query, config, 2)
    tracker = Tracker()
    good = [
        frame for frame in followed(labelled_frames(plan, query, labelled), config) if frame.result
    ]
    for n, (frame, pixels) in enumerate(zip(good, pictures, strict=True)):
        assert frame.result is not None
        seen = tracker.update(
            (100 + n) * SECOND + 5,
            View("camera", pixels.shape[:2], image_rgb=pixels),
            [Observation.of(segment) for segment in frame.result.segments],
            query.names,
        )
        assert tuple(segment.id for segment in frame.result.segments) == seen.numbers


def test_ids_do_not_depend_on_the_size_of_items(bag: Path, labelled: Path, tmp_path: Path) -> None:
    command = ["label", str(bag), *OPTIONS, "--images-per-item", "5", "--output", str(tmp_path)]
    assert main(command) == 3
    assert len(list((tmp_path / "items").iterdir())) == 1
    assert (tmp_path / "coco.json").read_bytes() == (labelled / "coco.json").read_bytes()


def test_killed_run_continues_and_does_nothing_twice(
    bag: Path, labelled: Path, tmp_path: Path, capsys
) -> None:
    command = ["label", str(bag), *OPTIONS, "--output", str(tmp_path)]
    start = "import sys; from clip_surgery_ros.tools.cli import main; main(sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", start, *command], stderr=subprocess.DEVNULL, cwd=tmp_path
    )
    items = tmp_path / "items"
    wait_until(lambda: any(items.glob("*.json")) or process.poll() is not None, 120)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {file.name: file.stat().st_mtime_ns for file in items.glob("*.json")}
    assert not (tmp_path / "coco.json").exists()
    (tmp_path / ".unfinished_1").mkdir()  # as of a run that was killed while it wrote
    (tmp_path / ".unfinished_1" / "coco.json").write_text("{")
    assert main(command) == 3
    assert not (tmp_path / ".unfinished_1").exists()
    assert "are labelled already" in capsys.readouterr().err
    assert {name: (items / name).stat().st_mtime_ns for name in done} == done
    assert (tmp_path / "coco.json").read_bytes() == (labelled / "coco.json").read_bytes()
    assert len(list(items.iterdir())) == 3


def workers_of(pid: int) -> list[int]:
    """Return the worker processes of a run: what its server of forks has forked."""
    (server,) = (child for child in children(pid) if b"forkserver" in command_line(child))
    return children(server)


def children(pid: int) -> list[int]:
    return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_killed_worker_ends_the_run_and_what_is_done_is_kept(
    bag: Path, labelled: Path, tmp_path: Path
) -> None:
    command = ["label", str(bag), *OPTIONS, "--images-per-item", "1", "--output", str(tmp_path)]
    start = "import sys; from clip_surgery_ros.tools.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", start, *command, "--workers", "2"],
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        text=True,
    )
    items = tmp_path / "items"
    wait_until(lambda: any(items.glob("*.json")) or process.poll() is not None, 120)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "a worker ended before its item was done" in error
    assert "finished items are kept" in error
    assert not (tmp_path / "coco.json").exists()
    done = {file.name: file.stat().st_mtime_ns for file in items.glob("*.json")}
    assert done
    assert main(command) == 3
    assert {name: (items / name).stat().st_mtime_ns for name in done} == done
    assert len(list(items.iterdir())) == 5
    assert (tmp_path / "coco.json").read_bytes() == (labelled / "coco.json").read_bytes()


def test_results_of_two_writers_of_an_item_are_whole(
    bag: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan([bag], None, 0, parse_query("mug"), Config.from_values(), 5)
    (tmp_path / "items").mkdir()
    (item,) = plan.items
    seen: list[list[str]] = []

    def replace_file(source: Path, target: Path) -> None:
        """Stand for another machine that labels the item while this one has its file open."""
        if not seen:
            seen.append([])
            monkeypatch.setattr(os, "getpid", lambda: 0)
            label_item(item, parse_query("mug"), Instant(), tmp_path)
            seen[0] += sorted(file.name for file in (tmp_path / "items").iterdir())
        real(source, target)

    real = os.replace
    monkeypatch.setattr(os, "replace", replace_file)
    label_item(item, parse_query("mug"), Instant(), tmp_path)
    (names,) = seen
    assert names[0] == f"{item.key}.json"  # whole, while the first one's is still beside it
    assert len(names) == 2
    assert [file.name for file in (tmp_path / "items").iterdir()] == names[:1]
    json.loads((tmp_path / "items" / names[0]).read_bytes())


def test_next_run_removes_unfinished_results(tmp_path: Path) -> None:
    (tmp_path / "items").mkdir()
    for name in ("a.json", "a.json.node.7.unfinished"):
        (tmp_path / "items" / name).write_text("{}")
    with only_run(tmp_path):
        assert [file.name for file in (tmp_path / "items").iterdir()] == ["a.json"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Have writes fail beyond a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_ends_the_run_and_the_next_one_continues(
    bag: Path, labelled: Path, tmp_path: Path, capsys
) -> None:
    shutil.copytree(labelled / "items", tmp_path / "items")
    largest = max((tmp_path / "items").iterdir(), key=lambda file: file.stat().st_size)
    largest.unlink()
    command = ["label", str(bag), *OPTIONS, "--output", str(tmp_path)]
    with largest_file(20_000):
        assert main(command) == 2
    error = capsys.readouterr().err
    assert f"{largest.name}: File too large; finished items are kept: make room" in error
    assert len(list((tmp_path / "items").iterdir())) == 2
    assert main(command) == 3
    assert (tmp_path / "coco.json").read_bytes() == (labelled / "coco.json").read_bytes()


@pytest.mark.parametrize("export", ["coco", "bag", "page"])
def test_full_disk_leaves_the_files_of_the_run_before(
    bag: Path, labelled: Path, tmp_path: Path, capsys, export: str
) -> None:
    shutil.copytree(labelled / "items", tmp_path / "items")
    command = ["label", str(bag), *OPTIONS, "--output", str(tmp_path), "--export", export]
    assert main(command) == 3
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with largest_file(2_000):
        assert main(command) == 2
    assert "File too large; finished items are kept" in capsys.readouterr().err
    after = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert after == before


class Instant:
    """Stand-in networks that find a box at once; their number of images is what counts here."""

    config = Config.from_values()

    def pipeline(self, config: Config) -> Instant:
        return self

    def run(self, image: np.ndarray, query: Query, wanted: Wanted) -> FrameResult:
        one = np.ones(1, np.float32)
        point = PointPrompts(np.array([[20, 20]], np.int32), np.array([True]))
        mask = np.ones((20, 20), np.bool_)
        box = Box(10, 10, 20, 20)
        segment = Segment(1, 0, "mug", 0.9, 0.95, 0.4, 0.8, box, mask, point, np.ones(64, "f4"))
        maps = np.zeros((1, 2, 2), np.float32)
        return FrameResult(query, image.shape[:2], maps, one, one, one, (segment,))


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    generator, query = np.random.default_rng(0), parse_query("mug")
    pictures = (generator.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(800))
    bag = record_images(tmp_path / "long", pictures, cut_from=800)
    plan = make_plan([bag], None, 0, query, Config.from_values(), 100)
    (tmp_path / "items").mkdir()
    used = []
    for item in plan.items:
        label_item(item, query, Instant(), tmp_path)
        used.append(resident_mb())
    assert used[-1] - used[3] < 8
    used = []
    with coco_file(query, tmp_path) as take:
        for frame in followed(labelled_frames(plan, query, tmp_path), Config.from_values()):
            take(frame)
            used.append(resident_mb())
    assert len(used) == 800
    assert used[-1] - used[300] < 8
    coco = json.loads((tmp_path / "coco.json").read_text())
    assert {each["track_id"] for each in coco["annotations"]} == {1}


def test_dry_run_prints_the_plan_and_writes_nothing(
    bag: Path, labelled: Path, tmp_path: Path, capsys
) -> None:
    command = ["label", str(bag), *OPTIONS, "--dry-run", "--output"]
    assert main([*command, str(tmp_path / "out")]) == 0
    assert "3 items, 3 to do, 5 images" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert main([*command, str(labelled)]) == 0
    assert "3 items, 0 to do, 5 images" in capsys.readouterr().out
    assert main([*command, str(labelled), "--every", "1.5"]) == 0
    # The last item has the same image alone in both plans.
    assert "2 items, 1 to do, 3 images" in capsys.readouterr().out


def keys(bag: Path, query: str = "hammer", every_s: float = 0, **values) -> list[str]:
    plan = make_plan([bag], None, every_s, parse_query(query), Config.from_values(values))
    return [item.key for item in plan.items]


def test_keys_depend_on_bag_query_and_parameters_but_not_on_the_place(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag")
    one = keys(bag)
    assert keys(bag) == one
    assert keys(bag, "saw") != one
    assert keys(bag, threshold=0.3) != one
    assert keys(bag, min_area=77) != one
    assert keys(bag, every_s=2) != one
    assert keys(record(tmp_path / "other", count=5)) != one
    (tmp_path / "elsewhere").mkdir()
    assert keys(bag.rename(tmp_path / "elsewhere" / "bag")) == one


def test_keys_depend_on_what_was_fitted_for_the_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path / "home"))
    bag = record(tmp_path / "bag")
    one = keys(bag)
    clip, sam = (NetworkFile.of(file) for file in network_files(Config.from_values()))
    profile = Profile(
        clip,
        sam,
        Conditions(144, "v-v", True, ("a {}",)),
        PresenceLevel(12.0, 0.75, 0.5),
        None,
        Calibration(400, 100, math.nan, 0.04, 0.9, 0.03),
    )
    write_profile(profile, tmp_path / "home" / FOLDER)
    fitted = keys(bag)
    assert fitted != one
    changed = replace(profile, presence=PresenceLevel(13.0, 0.75, 0.5))
    write_profile(changed, tmp_path / "home" / FOLDER)
    assert keys(bag) not in (one, fitted)


def test_images_of_several_bags_are_sampled_by_log_time(tmp_path: Path) -> None:
    bags = [record(tmp_path / name / "bag", count=5) for name in "ab"]
    plan = make_plan(bags, None, 2.0, parse_query("saw"), Config.from_values())
    assert [item.bag for item in plan.items] == ["bag", "bag_2"]
    for item in plan.items:
        assert [frame.log_time for frame in item.frames] == [0, 2 * SECOND, 4 * SECOND]
        assert not item.together


def test_unreadable_file_of_a_bag_is_left_out_and_named(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", StoragePlugin.MCAP)
    file = storage_file(bag)
    (bag / "metadata.yaml").unlink()
    (bag / "bag_1.mcap").write_bytes(b"")
    plan = make_plan([bag], None, 0, parse_query("saw"), Config.from_values())
    assert plan.frame_count == 6
    (reason,) = plan.unreadable
    assert "bag_1.mcap" in reason
    assert plan.items[0].part.file == file


def test_second_run_into_the_same_folder_is_refused(tmp_path: Path) -> None:
    with (
        only_run(tmp_path),
        pytest.raises(ConfigError, match="another run writes"),
        only_run(tmp_path),
    ):
        pass


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (40, 3), (480, 640)])
@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 1.0])
def test_compressed_runs_are_decoded_to_the_same_mask(shape: tuple, share: float) -> None:
    mask = np.random.default_rng(0).random(shape) < share
    counts = compressed_runs(run_lengths(mask))
    assert np.array_equal(decode({"size": list(shape), "counts": counts}), mask)


def test_help_says_how_many_images_an_item_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"short bags (default: {IMAGES_PER_ITEM})" in text
