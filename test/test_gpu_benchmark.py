"""The benchmark's measurements of a GPU, on a pretended one: see ``pretended_gpu.py``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import open_clip
import pytest
import torch
from pretended_gpu import PretendedGpu
from small_networks import small_clip, small_sam

from clip_surgery_ros.benchmark import gpu as measurements
from clip_surgery_ros.benchmark.gpu import memory, reported_waits, survives_shortage
from clip_surgery_ros.benchmark.measurements import measurement
from clip_surgery_ros.benchmark.networks import random_texts
from clip_surgery_ros.benchmark.reference import ReferenceFlow
from clip_surgery_ros.benchmark.rows import precision_agreement
from clip_surgery_ros.benchmark.setting import Row, Setting, random_images
from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.networks import factory
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.clip.traits import ClipTraits
from clip_surgery_ros.networks.devices import PRECISIONS
from clip_surgery_ros.networks.sam.backend import SamBackend

SIDE = 64
MEMORY = 2**33
GPU = torch.device("cuda:0")


@pytest.fixture
def gpu() -> Iterator[PretendedGpu]:
    with PretendedGpu() as pretended:
        yield pretended


def small_setting(precision: str = "float32", device: str = "cuda:0") -> Setting:
    """A setting that has built small networks already."""
    setting = Setting(rounds=1, precision=precision, device=device)
    clip = ClipBackend(
        small_clip(layers=2),
        open_clip.SimpleTokenizer(),
        device=device,
        precision=precision,
        input_size=SIDE,
        graphs=True,
    )
    sam = SamBackend(small_sam(), device=device, dtype=PRECISIONS[precision], graphs=True)
    vars(setting).update(
        networks=(clip, sam), reference=reference(device), exact=reference("cpu", torch.float64)
    )
    return setting


def reference(device: str, dtype: torch.dtype = torch.float32) -> ReferenceFlow:
    sam, traits = small_sam().to(device), ClipTraits()
    sam.image_encoder.to(dtype)
    return ReferenceFlow(
        small_clip(layers=2).to(device, dtype), sam, SIDE, traits.mean, traits.std
    )


def values(rows: object) -> dict[str, float]:
    return {row.what: row.value for row in rows if isinstance(row, Row)}


@pytest.fixture
def small_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "SIZE_HW", (48, 60))


@pytest.mark.usefixtures("small_images")
def test_frames_encoders_and_waits_of_a_gpu_are_measured(gpu: PretendedGpu) -> None:
    setting = small_setting()
    rows = {
        name: values(measurement(name)(setting))
        for name in ("gpu-frames", "gpu-encoders", "gpu-waits")
    }
    assert [len(found) for found in rows.values()] == [4, 3, 2]
    assert all(value > 0 for name in rows for value in rows[name].values())
    # As test_gpu_frames.py counts them.
    assert list(rows["gpu-waits"].values()) == [3, 4]


def test_reported_waits_are_those_of_the_gpu(gpu: PretendedGpu) -> None:
    x = torch.ones(3, device="cuda:0")
    with reported_waits() as reports:
        x.sum().item()
        x.cpu()
    assert len(reports) == 2
    with gpu.counting() as counts:
        x.cpu()
    assert counts.waits.total() == 1 and len(reports) == 2


@pytest.mark.usefixtures("small_images")
@pytest.mark.parametrize(("precision", "most"), [("float32", 1e-4), ("bfloat16", 0.1)])
def test_errors_against_float64_are_those_of_the_precision(
    gpu: PretendedGpu, precision: str, most: float
) -> None:
    found = values(measurement("exactness")(small_setting(precision)))
    assert len(found) == 3
    assert all(0 < error < most for error in found.values()), found
    if precision == "bfloat16":
        assert all(error > 1e-4 for error in found.values()), found


@pytest.mark.usefixtures("small_images")
def test_memory_that_frames_leave_behind_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "EVERY": 2,
        "WARM_UP_FRAMES": 6,
        "OTHER_SIZE_HW": (40, 50),
        "HUGE_HW": (900, 1600),
        "MARGIN_BYTES": 2**20,
    }.items():
        monkeypatch.setattr(measurements, name, value)
    with PretendedGpu(memory=MEMORY):
        in_use, reserved, survived = values(memory(small_setting(), 4)).values()
    assert (in_use, reserved, survived) == (0, 0, True)


@pytest.mark.usefixtures("small_images")
def test_shortage_is_not_survived_by_a_pipeline_that_answers_wrongly() -> None:
    first, second = random_images(2, (48, 60))
    with PretendedGpu(memory=MEMORY):
        setting = small_setting()
        names, _ = random_texts(setting.networks[0], 2)
        pipeline, query = setting.pipeline(), query_of(names)

        class Forgetful(Pipeline):
            def __init__(self) -> None:
                self.shown = 0

            def run(self, image_rgb: np.ndarray, *_: object) -> object:
                self.shown += 1
                return pipeline.run(second if self.shown > 3 else first, query)

        assert not survives_shortage(Forgetful(), query, GPU)


def test_agreement_of_precisions_and_with_the_cpu_is_measured(
    gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The networks are loaded four times; they need no warm-up here.
    monkeypatch.setattr(factory.LoadedNetworks, "warm_up", lambda networks: None)
    found = values(precision_agreement(Setting(device="cuda:0"), 1))
    means = {what: value for what, value in found.items() if what.endswith("mean")}
    assert len(means) == 3
    assert means["demo networks, IoU of float32 masks with the CPU's: mean"] == 1
    assert all(value > 0.9 for value in means.values())


def test_measurements_of_a_gpu_refuse_the_cpu() -> None:
    for name in ("gpu-frames", "gpu-encoders", "gpu-waits", "gpu-memory"):
        with pytest.raises(ConfigError, match="set --device cuda:0"):
            list(measurement(name)(Setting()))
