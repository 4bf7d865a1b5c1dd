"""``clip_surgery search``: an index of recorded bags, asked by words."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import shutil
import signal
import sys
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from recorded_bags import SECOND, record_images

from clip_surgery_ros.core.errors import ClipSurgeryError, ConfigError
from clip_surgery_ros.core.presence import PresenceLevel
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.recorded.answers import Index
from clip_surgery_ros.recorded.features import ITEMS, spread_tokens
from clip_surgery_ros.recorded.index import (
    FRAME,
    MANIFEST,
    IndexedBag,
    Manifest,
    build_from,
    check_networks,
    new_array,
    read_manifest,
)
from clip_surgery_ros.recorded.indexing import index_bags, networks_of, plan_index, unfinished
from clip_surgery_ros.tools.cli import main
from clip_surgery_ros.world.recorded import read_orbit

FAST = ("--clip-windows", "never", "--cpu-threads", "1", "--device", "cpu")
CONFIG = {"clip_windows": "never", "cpu_threads": 1, "device": "cpu"}
PARTS = {
    "bowl": np.s_[260:470, 90:330],
    "hammer": np.s_[100:300, 370:600],
    "screwdriver": np.s_[320:480, 300:540],
    "teapot": np.s_[140:300, 170:385],
}
"""Parts of the orbit's first picture by an object that only this part shows."""
UNKNOWN = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def drive(tmp_path_factory) -> Path:
    """Return a bag of the parts, 1 s apart, and of an image that is cut short."""
    table = read_orbit().frame(0).rgb
    pictures = [np.ascontiguousarray(table[part]) for part in PARTS.values()]
    folder = tmp_path_factory.mktemp("search")
    return record_images(folder / "drive", [*pictures, pictures[0]], cut_from=len(PARTS))


@pytest.fixture(scope="module")
def asked(drive) -> tuple[Path, str]:
    """Index the bag and ask; return the folder of the index and what was printed."""
    folder, printed = drive.parent / "index", io.StringIO()
    query = f"{'; '.join(PARTS)}; keyboard; {UNKNOWN}"
    command = ["search", str(drive), "--index", str(folder), "--query", query, "--every", "0.9"]
    with contextlib.redirect_stdout(printed):
        page = ["--output", str(drive.parent / "page"), "--heatmaps"]
        assert main([*command, *page, "--apart", "0.5", *FAST]) == 3
    return folder, printed.getvalue()


def answers(printed: str) -> dict[str, list[str]]:
    """Return the stamps of the answers of each label that has some."""
    found: dict[str, list[str]] = {}
    for line in printed.splitlines():
        if not line.startswith(" "):
            label = line
        elif row := re.match(r" +(\d\.\d+) +\d+\.\d{9} +(\d+\.\d{9})  /.*/drive$", line):
            found.setdefault(label, []).append(row[2])
    return found


def test_the_image_that_shows_a_thing_comes_first(asked):
    _, printed = asked
    first = {label: stamps[0] for label, stamps in answers(printed).items()}
    assert first == {name: f"{100 + n}.000000005" for n, name in enumerate(PARTS)}


def test_what_is_nowhere_has_no_answers_but_a_reason(asked):
    _, printed = asked
    assert re.search(
        r"^keyboard: in no image of 4: the highest presence is 0\.[0-4]\d, below the threshold of "
        r"0\.50, in drive at \d\.0{9} s$",
        printed,
        re.MULTILINE,
    )
    assert f"{UNKNOWN}: the network does not know the word" in printed


def test_the_page_shows_text_as_text(asked):
    page = (asked[0].parent / "page" / "index.html").read_text()
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    shown = sum(len(stamps) for stamps in answers(asked[1]).values())
    assert page.count('<img src="data:image/jpeg;base64,') == shown
    assert "no map" not in page


def index_until_killed(bags: list[Path], folder: Path, images: int) -> None:
    """Index bags; this process is killed after a number of images."""
    config, seen = Config.from_values(CONFIG), itertools.count(1)

    def kill() -> None:
        if next(seen) == images:
            os.kill(os.getpid(), signal.SIGKILL)

    index_bags(plan_index(bags, None, 0.9, config, folder), config, folder, kill)


def test_a_killed_run_goes_on_and_nothing_is_done_twice(drive, tmp_path):
    config, folder = Config.from_values(CONFIG), tmp_path / "index"
    second = record_images(tmp_path / "drive", [read_orbit().frame(0).rgb], cut_from=1)
    bags, images = [drive, second], len(PARTS) + 2  # the last is in the second bag
    process = get_context("spawn").Process(target=index_until_killed, args=(bags, folder, images))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    plan = plan_index(bags, None, 0.9, config, folder)
    assert [item.bag for item in unfinished(plan, folder)] == ["drive_2"]
    done: list[None] = []
    manifest = index_bags(plan, config, folder, lambda: done.append(None))
    assert len(done) == 1 and [bag.name for bag in manifest.bags] == ["drive", "drive_2"]
    # A bag that is named again replaces itself, also elsewhere: no image is an answer twice.
    moved = second.rename(tmp_path / "moved")
    again = index_bags(plan_index([moved], None, 0.9, config, folder), config, folder)
    assert [bag.path for bag in again.bags] == [str(drive), str(moved)]
    assert Index(folder).images == len(PARTS) + 1


def test_bags_of_the_same_name_get_numbers(asked, drive, tmp_path):
    config, folder = Config.from_values(CONFIG), tmp_path / "index"
    shutil.copytree(asked[0], folder)
    second = record_images(tmp_path / "drive", [read_orbit().frame(0).rgb], cut_from=1)
    manifest = index_bags(plan_index([second], None, 0.9, config, folder), config, folder)
    assert [(bag.name, bag.path) for bag in manifest.bags] == [
        ("drive", str(drive)),
        ("drive_2", str(second)),
    ]


def test_a_dry_run_prints_the_plan_and_does_nothing(asked, drive, tmp_path, capsys):
    for index, state in ((tmp_path / "none", "to do"), (asked[0], "done ")):
        command = ["search", str(drive), "--index", str(index), "--every", "0.9", "--dry-run"]
        assert main([*command, "--query", "bowl", *FAST]) == 0
        printed = capsys.readouterr().out.splitlines()
        (file,) = drive.glob("*.mcap")
        assert re.fullmatch(
            rf"[0-9a-f]{{12}}  {state}    5 images  {file} /camera  0 to 4000000000 ns", printed[0]
        )
        assert printed[1:] == [f"1 items, {int(state == 'to do')} to do, 5 images"]
    assert not (tmp_path / "none").exists()


def test_an_index_of_other_networks_is_refused(asked, drive, capsys):
    for bags in ([], [str(drive)]):
        command = ["search", *bags, "--index", str(asked[0]), "--query", "bowl", *FAST]
        assert main([*command, "--attention", "k-k"]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert "is of other networks: attention was v-v and is k-k; give the options" in error


def test_an_index_of_other_weights_is_refused(asked):
    manifest = read_manifest(asked[0])
    here = networks_of(Config.from_values(CONFIG))
    check_networks(manifest, here, asked[0])
    with pytest.raises(ConfigError, match="is of other networks: the weights of its networks"):
        check_networks(manifest, {**here, "weights": ["0"]}, asked[0])


@pytest.mark.parametrize("name", ["vectors.npy", "frames.npy", "whole.faiss", "local.faiss"])
def test_a_damaged_index_is_refused_and_made_again_without_reading_images(
    asked, drive, name, tmp_path
):
    folder, config = asked[0], Config.from_values(CONFIG)
    (file,) = folder.glob(f"*.{name}")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(
        ClipSurgeryError, match=r"damaged.*delete .*index\.json and index the bags"
    ):
        Index(folder)
    (folder / MANIFEST).unlink()

    def nothing() -> None:
        raise AssertionError("an image was read again")

    index_bags(plan_index([drive], None, 0.9, config, folder), config, folder, nothing)
    assert Index(folder).images == len(PARTS)


def test_damaged_features_and_manifests_are_refused(asked, drive, tmp_path):
    config, folder = Config.from_values(CONFIG), tmp_path / "index"
    (folder / ITEMS).mkdir(parents=True)
    (file,) = (asked[0] / ITEMS).iterdir()
    (folder / ITEMS / file.name).write_bytes(file.read_bytes()[:-5])
    plan = plan_index([drive], None, 0.9, config, folder)
    with pytest.raises(ClipSurgeryError, match=r"is damaged .*delete it and index the bags again"):
        index_bags(plan, config, folder)
    (folder / MANIFEST).write_text('{"format": 1, "networks": []}')
    with pytest.raises(ClipSurgeryError, match="damaged or of another version"):
        read_manifest(folder)


def test_options_without_effect_and_a_missing_package_are_refused(tmp_path, capsys, monkeypatch):
    index = ["search", "--index", str(tmp_path / "none")]
    refused = {
        (): "name bags to index, or what to find with --query",
        ("--query", "bowl", "--every", "2"): "--every is for indexing; name bags too",
        ("--query", "bowl", "--heatmaps"): "--heatmaps is for the page",
        ("--query", "bowl"): "there is no index in",
    }
    for options, reason in refused.items():
        assert main([*index, *options]) == 2
        assert reason in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert main([*index, "--query", "bowl"]) == 2
    assert "pip install 'clip_surgery_ros[search]'" in capsys.readouterr().err


def test_the_kept_tokens_stand_for_all():
    rng = np.random.default_rng(1)
    centres = np.eye(6, 12)
    tokens = centres[rng.integers(0, 6, 500)] + 0.03 * rng.standard_normal((500, 12))
    tokens = torch.nn.functional.normalize(torch.from_numpy(tokens), dim=-1)
    kept = tokens[spread_tokens(tokens, 6)]
    assert (tokens @ kept.T).amax(dim=1).min() > 0.95


def test_a_large_index_finds_what_a_comparison_with_all_finds(tmp_path):
    images, each, channels = 5000, 6, 16
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((images, each, channels))
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    with new_array(tmp_path / "big.vectors.npy", rows.shape) as vectors:
        vectors[:] = rows
    table = np.zeros(images, FRAME)
    table["log_time"] = np.arange(images) * SECOND
    bag = IndexedBag("bag", "/bag", "/camera", ("item",), ("/bag/0.mcap",))
    build_from(tmp_path, Manifest({}, (bag,)), "big", table)
    index, level = Index(tmp_path), PresenceLevel(scale=1.0, offset=0.0, peak_weight=1.0)
    texts = rng.standard_normal((8, channels)).astype(np.float32)
    for text in texts / np.linalg.norm(texts, axis=1, keepdims=True):
        cosines = rows @ text
        scores = cosines[:, 0] + cosines[:, 1:].max(axis=1)
        best = index.ask(text[None], level, 3)
        assert [a.log_time // SECOND for a in best] == np.argsort(-scores)[:3].tolist()
        assert best[0].presence == pytest.approx(1 / (1 + np.exp(-scores.max())), abs=1e-3)
        apart = [answer.log_time for answer in index.ask(text[None], level, 5, apart_s=100)]
        assert np.diff(sorted(apart)).min() >= 100 * SECOND
    # The first candidates have fewer that are so far apart.
    assert len(index.ask(text[None], level, 300, apart_s=10)) == 300
