"""The benchmark: the reference computes the same results as this package."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import open_clip
import pytest
import torch
from small_networks import small_clip, small_sam
from torch import Tensor

from clip_surgery_ros.benchmark.measurements import measurement
from clip_surgery_ros.benchmark.networks import random_texts
from clip_surgery_ros.benchmark.plots import draw
from clip_surgery_ros.benchmark.reference import ReferenceFlow, literal_feature_surgery
from clip_surgery_ros.benchmark.rows import least_overlap
from clip_surgery_ros.benchmark.setting import Row, Setting, unseen_images
from clip_surgery_ros.benchmark.sweeps import output_bytes
from clip_surgery_ros.benchmark.timing import Timings, side_by_side
from clip_surgery_ros.core.heatmap import feature_surgery
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.core.stages import Stages
from clip_surgery_ros.core.views import CAPACITY
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.clip.traits import ClipTraits
from clip_surgery_ros.networks.sam.backend import SamBackend

SIZE = 64


@pytest.fixture(scope="module")
def clip() -> ClipBackend:
    return ClipBackend(small_clip(), open_clip.SimpleTokenizer(), input_size=SIZE)


@pytest.fixture(scope="module")
def reference() -> ReferenceFlow:
    traits = ClipTraits()
    return ReferenceFlow(small_clip(), small_sam(), SIZE, traits.mean, traits.std)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (48, 60, 3), np.uint8)


def test_reference_computes_the_same_tokens(
    clip: ClipBackend, reference: ReferenceFlow, image: np.ndarray
) -> None:
    with torch.inference_mode():
        tokens = reference.tokens(reference.preprocess(image))

    assert torch.allclose(clip.surgery_tokens(clip.preprocess(image)), tokens, atol=1e-5)


def test_reference_computes_the_same_masks_and_times_its_stages(
    clip: ClipBackend, reference: ReferenceFlow, image: np.ndarray
) -> None:
    names, features = random_texts(clip, 3)
    settings = Settings(presence_threshold=0.0, distractor_names=(), min_area=1)
    clock = Stages()

    result = Pipeline(clip, SamBackend(small_sam()), settings).run(image, query_of(names))

    assert least_overlap(result, reference.run(image, features, clock)) > 0.999
    assert list(clock.seconds) == ["clip", "maps", "sam encoder", "points", "sam decoder"]


def unit(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1)


@pytest.fixture
def small_setting(clip: ClipBackend, reference: ReferenceFlow) -> Setting:
    """A setting that has built small networks already."""
    setting = Setting(rounds=1)
    networks = clip, SamBackend(small_sam())
    vars(setting).update(networks=networks, reference=reference, unmodified=reference)
    return setting


@pytest.mark.parametrize("name", ["end-to-end", "frame", "lesser-frames", "decoding", "sizes"])
def test_measurement_of_frames_yields_times_and_ratios(small_setting: Setting, name: str) -> None:
    for row in measurement(name)(small_setting):
        assert row.what and row.value > 0, row
        assert all(second > 0 for second in row.seconds.values()), row


def test_literal_feature_surgery_equals_the_matrix_product() -> None:
    tokens, text = unit(2, 10, 16), unit(5, 16)

    literal = literal_feature_surgery(tokens, text)

    assert torch.allclose(literal, feature_surgery(tokens, text), atol=1e-6)


def test_memory_of_feature_surgery_is_counted_in_bytes() -> None:
    tokens, text = unit(1, 1000, 16), unit(50, 16)

    assert 4 * 1000 * 50 <= output_bytes(tokens, text) < 3 * 4 * 1000 * 50


def test_variants_run_in_turns_after_a_warm_up() -> None:
    calls: list[str] = []
    variants = {"one": lambda: calls.append("one"), "two": lambda: calls.append("two")}

    timings = side_by_side(variants, 3)

    assert calls == ["one", "two"] * 4
    assert len(timings.seconds["one"]) == 3


def test_ratio_is_the_median_of_ratios_per_round() -> None:
    timings = Timings({"slow": [2.0, 40.0, 6.0], "fast": [1.0, 10.0, 2.0]})

    assert timings.ratio("slow", "fast") == 3.0
    assert timings.median("slow") == 6.0


@pytest.mark.parametrize("sharing", [1, 2, 5])
def test_unseen_images_are_never_in_the_pipeline_cache(sharing: int) -> None:
    next_image = unseen_images((20, 30))
    images = [next_image() for _ in range(sharing * 3 * CAPACITY)][::sharing]

    for index, image in enumerate(images):
        for before in images[max(0, index - CAPACITY) : index]:
            assert not np.array_equal(image, before)


def rows() -> Iterator[Row]:
    yield Row("a frame, reference", 3.0, seconds={"clip": 1, "sam encoder": 2}, series="stages")
    yield Row("a frame, this", 2.0, seconds={"clip": 1, "sam encoder": 1}, series="stages")
    for x in (1, 10):
        yield Row("labels", 0.1, seconds={"this": 0.1 * x, "literal": x}, series="labels", x=x)


def test_plots_are_drawn_for_measured_series_only(tmp_path: Path) -> None:
    assert [path.name for path in draw(list(rows()), tmp_path)] == ["stages.png", "curves.png"]
    for name in ("stages.png", "curves.png"):
        assert np.ptp(cv2.imread(str(tmp_path / name))) > 100
    assert draw([Row("a value", 1.0)], tmp_path / "none") == []


def test_benchmark_command_prints_a_table_and_writes_values_and_plots(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clip_surgery_ros.tools.cli", "benchmark", "--only", "labels"]
    command += ["--rounds", "1", "--output", str(tmp_path)]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "| feature surgery, 100 labels |" in done.stdout
    written = json.loads((tmp_path / "benchmark_vit_b_float32.json").read_text())
    measured = {row["what"]: row for row in written["rows"]}
    assert measured["feature surgery, 100 labels"]["seconds"]["literal"] > 0
    assert measured["feature surgery, memory added by 1000 labels"]["unit"] == "MB"
    assert written["machine"]["torch"] == torch.__version__
    assert (tmp_path / "curves.png").exists()
