"""What the package asks of a GPU: shown on a pretended one, see ``pretended_gpu.py``."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Iterator
from dataclasses import fields, replace

import cv2
import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from pretended_gpu import PretendedGpu
from small_networks import SMALL, small_clip, small_sam
from torch import Tensor

from clip_surgery_ros.arithmetic.timing import best_seconds
from clip_surgery_ros.benchmark.networks import random_texts
from clip_surgery_ros.benchmark.reference import ReferenceFlow
from clip_surgery_ros.core.device_errors import is_out_of_memory
from clip_surgery_ros.core.errors import DeviceError, DeviceLostError
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.recipes import RECIPES
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.core.stages import Stages
from clip_surgery_ros.core.types import PointPrompts
from clip_surgery_ros.evaluation.comparison import Variant, compare
from clip_surgery_ros.evaluation.world_scenes import WorldScenes
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.clip.traits import ClipTraits
from clip_surgery_ros.networks.devices import resolve_precision
from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.networks.sam.backend import SamBackend
from clip_surgery_ros.networks.sam.build import build_sam
from clip_surgery_ros.networks.sam.encoder import FastImageEncoder
from clip_surgery_ros.networks.sam.encoder_attention import FoldedAttention
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.training.card import Measurements, measure_networks

GPU, SECOND_GPU = torch.device("cuda:0"), torch.device("cuda:1")
SETTINGS = Settings(presence_threshold=0.0, distractor_names=(), min_area=1)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@pytest.fixture
def gpu() -> Iterator[PretendedGpu]:
    with PretendedGpu() as pretended:
        yield pretended


def picture() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (48, 60, 3), np.uint8)


def small_networks(device: str, precision: str = "float32") -> tuple[ClipBackend, SamBackend]:
    clip = ClipBackend(
        small_clip(), open_clip.SimpleTokenizer(), device=device, precision=precision, graphs=True
    )
    return clip, SamBackend(small_sam(), device=device, dtype=DTYPES[precision], graphs=True)


# Errors


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        MemoryError(),
    ],
    ids=str,
)
def test_shortage_of_memory_is_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_shortages_of_torch_numpy_and_opencv_are_recognised() -> None:
    """They raise the errors themselves, for allocations larger than any machine's memory."""
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(MemoryError) as of_numpy:
        np.ones((2**30, 2**30), np.uint8)
    with pytest.raises(cv2.error) as of_opencv:
        cv2.resize(np.zeros((1, 1), np.uint8), (2**24, 2**24))
    errors = [of_torch.value, of_numpy.value, of_opencv.value]
    assert [is_out_of_memory(error) for error in errors] == [True] * 3


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        torch.AcceleratorError("CUDA error: no kernel image is available for execution"),
        NotImplementedError("no such operator"),
        RecursionError("maximum recursion depth exceeded"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"),
        cv2.error("bad argument"),
        ValueError("can't allocate memory"),
    ],
    ids=str,
)
def test_other_errors_are_no_shortage(error: Exception) -> None:
    assert not is_out_of_memory(error)


class FailingSam:
    """Runs something before each encoding, with an embedding of another frame in a variable."""

    def __init__(self, sam: SamBackend, fail: object) -> None:
        self._sam, self._fail = sam, fail
        self.decode, self.full_size = sam.decode, sam.full_size
        self.taken: weakref.ref[Tensor] | None = None

    def encode(self, image_rgb: NDArray[np.uint8]) -> object:
        embedding = self._sam.encode(image_rgb)
        self.taken = weakref.ref(embedding.features.image.tokens)
        self._fail()
        return embedding


def test_memory_of_a_failed_frame_is_let_go_while_its_error_lives(gpu: PretendedGpu) -> None:
    clip, sam = small_networks("cuda:0")
    names, _ = random_texts(clip, 2)
    kept: list[weakref.ref[Tensor]] = []
    full = False

    def fail() -> None:
        if full:
            raise torch.OutOfMemoryError("CUDA out of memory")

    failing = FailingSam(sam, fail)
    pipeline = Pipeline(clip, failing, SETTINGS, "cuda:0")
    assert pipeline.run(picture(), query_of(names)).segments
    kept.append(failing.taken)
    assert kept[0]() is not None  # of the view
    full = True
    with pytest.raises(DeviceError, match="out of memory on an image of 60 x 48") as error:
        pipeline.run(picture()[::-1], query_of(names))
    gc.collect()
    assert failing.taken() is None and kept[0]() is None and error.value is not None
    full = False
    assert pipeline.run(picture()[::-1], query_of(names)).segments


def test_lost_gpu_is_told_from_a_shortage_and_from_other_errors(gpu: PretendedGpu) -> None:
    clip, sam = small_networks("cuda:0")
    names, _ = random_texts(clip, 2)

    def other() -> None:
        raise NotImplementedError("no such operator")

    def break_gpu() -> None:
        gpu.failure = "CUDA error: an illegal memory access was encountered\nMore about it"
        gpu.check()

    with pytest.raises(NotImplementedError):
        Pipeline(clip, FailingSam(sam, other), SETTINGS, "cuda:0").run(picture(), query_of(names))
    with pytest.raises(DeviceLostError) as error:
        Pipeline(clip, FailingSam(sam, break_gpu), SETTINGS, "cuda:0").run(
            picture(), query_of(names)
        )
    assert str(error.value) == (
        "device cuda:0 failed (CUDA error: an illegal memory access was encountered) and computes "
        "nothing any more in this process; only a new process can use it"
    )


def test_shortage_while_networks_are_loaded_is_told_in_a_sentence(gpu: PretendedGpu) -> None:
    gpu.failure = "CUDA error: out of memory"
    with pytest.raises(DeviceError, match="out of memory on device cuda:0 while the networks"):
        load_networks(Config.from_values({"device": "cuda:0"}))


# Devices, precisions and times


def test_second_gpu_is_used_synchronised_and_timed_as_itself() -> None:
    with PretendedGpu(devices=2) as gpus:
        config = Config.from_values({"device": "cuda:1", "presence_threshold": 0.0})
        pipeline = load_networks(config).pipeline(config)
        result = pipeline.run(picture(), query_of(["hammer", "apple"]))
        best_seconds({"one": lambda: None}, SECOND_GPU)
    assert gpus.counts.devices == {SECOND_GPU}
    assert list(result.stage_seconds)[:3] == ["text", "clip", "maps"]


def test_stages_of_a_gpu_are_timed_by_events_or_by_waiting(gpu: PretendedGpu) -> None:
    for waiting, waits in ((False, 0), (True, 3)):
        clock = Stages("cuda:0", waiting)
        with gpu.counting() as counts:
            for name in ("clip", "maps", "clip"):
                with clock.stage(name):
                    pass
            assert list(clock.seconds) == ["clip", "maps"]
        assert counts.waits.total() == waits and counts.devices == {GPU}
        assert all(second >= 0 for second in clock.seconds.values())


def test_forms_are_timed_by_events_of_the_gpu(gpu: PretendedGpu) -> None:
    runs = {"slow": lambda: time.sleep(0.02), "fast": lambda: None}
    with gpu.counting() as counts:
        seconds = best_seconds(runs, SECOND_GPU)
    assert seconds["slow"] >= 0.02 > seconds["fast"]
    assert counts.devices == {SECOND_GPU}
    assert {wait.partition(",")[0] for wait in counts.waits} == {"event", "synchronize"}


def test_float32_is_exact_in_products_and_convolutions_unless_tf32_is_allowed() -> None:
    before = torch.backends.cudnn.allow_tf32
    try:
        for allowed in (True, False):
            load_networks(Config.from_values({"device": "cpu", "allow_tf32": allowed}))
            assert torch.backends.cudnn.allow_tf32 == allowed
            assert torch.backends.cuda.matmul.allow_tf32 == allowed
        assert not Config.from_values().allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(
    ("capability", "sam"),
    [((7, 5), "float32"), ((8, 6), "bfloat16"), ((6, 1), "float32")],
)
def test_auto_precision_avoids_float16_where_a_network_overflows(
    capability: tuple[int, int], sam: str
) -> None:
    with PretendedGpu(capability=capability):
        assert resolve_precision("auto", "cuda:0", "vit_t") == sam
        others = resolve_precision("auto", "cuda:0", "vit_b")
        assert others == {(7, 5): "float16", (8, 6): "bfloat16", (6, 1): "float32"}[capability]
        assert resolve_precision("float16", "cuda:0", "vit_t") == "float16"


# Other programs


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_reference_of_the_benchmark_runs_on_a_gpu(gpu: PretendedGpu, precision: str) -> None:
    dtype, traits, side = DTYPES[precision], ClipTraits(), 64
    masks, tokens = [], []
    for device in ("cpu", "cuda:0"):
        sam = small_sam().to(device)
        sam.image_encoder.to(dtype)
        model = small_clip().to(device, dtype)
        flow = ReferenceFlow(model, sam, side, traits.mean, traits.std)
        features = torch.nn.functional.normalize(
            torch.randn(3, 32, generator=torch.Generator().manual_seed(0)), dim=-1
        )
        masks.append(flow.run(picture(), features))
        with torch.inference_mode():
            pixels = flow.preprocess(picture())
            tokens.append(flow.tokens(pixels).float().cpu())
            assert flow.bare(pixels).device == torch.device(device)
            points = np.array([[[10, 12]], [[30, 20]]], np.int32)
            assert flow.decode(points, np.ones((2, 1), np.bool_)).shape == (2, 3, 48, 60)
    assert all((a == b).all() for a, b in zip(*masks, strict=True))
    assert torch.equal(*tokens)


def test_card_of_the_demo_networks_is_the_same_on_a_gpu(gpu: PretendedGpu) -> None:
    def measure(device: str) -> Measurements:
        config = Config.from_values({"device": device})
        networks = load_networks(config)
        pipeline = networks.pipeline(config)
        return measure_networks(networks.clip, networks.sam, pipeline, WorldScenes(), 1)

    on_cpu, on_gpu = measure("cpu"), measure("cuda:0")
    for field in fields(Measurements):
        values = getattr(on_gpu, field.name)
        assert values == pytest.approx(getattr(on_cpu, field.name), abs=1e-5)
    assert on_gpu.text_ious


# Parts of a frame; whole frames are in test_gpu_frames.py


def test_recipes_are_evaluated_on_the_gpu(gpu: PretendedGpu) -> None:
    """An image is copied to the GPU once for each recipe, and the stages are timed there."""
    results = []
    for device in ("cpu", "cuda:0"):
        networks = load_networks(Config.from_values({"device": device}))
        variants = {name: Variant(replace(networks.config, recipe=name)) for name in RECIPES}
        examples = list(WorldScenes().examples("mixed", "development", 1))
        with gpu.counting() as counts:
            results.append(compare(networks, variants, examples, "mixed"))
    assert counts.devices == {GPU}
    for name, outcomes in results[0].items():
        for on_cpu, on_gpu in zip(outcomes, results[1][name], strict=True):
            assert on_gpu.found == on_cpu.found
            assert on_gpu.label_ious == pytest.approx(on_cpu.label_ious, abs=1e-3)


@pytest.mark.parametrize("attention", ["k-k", "gem", "naclip"])
def test_other_attentions_do_not_make_the_host_wait(gpu: PretendedGpu, attention: str) -> None:
    clip = small_networks("cuda:0")[0].with_attention(attention)
    pixels = clip.preprocess(picture())
    clip.surgery_tokens(pixels)  # makes tables that are kept
    with gpu.counting() as counts:
        tokens = clip.surgery_tokens(pixels)
    assert not counts.waits
    on_cpu = small_networks("cpu")[0].with_attention(attention)
    expected = on_cpu.surgery_tokens(on_cpu.preprocess(picture()))
    torch.testing.assert_close(tokens.cpu(), expected, atol=1e-5, rtol=0)


def test_prompts_with_any_number_of_points_are_decoded_in_one_call(gpu: PretendedGpu) -> None:
    """Their padding changes nothing, neither for few points nor for more than channels."""
    rng = np.random.default_rng(0)
    for counts in ((1, 3, 2), (2, 30, 1, 30)):
        prompts = [
            PointPrompts(rng.integers(0, 48, (n, 2), np.int32), rng.random(n) < 0.7)
            for n in counts
        ]
        found = []
        for device in ("cpu", "cuda:0"):
            sam = small_networks(device)[1]
            embedding = sam.encode(picture())
            found.append(sam.decode(embedding, prompts))
        assert [len(batch.parts) for batch in found] == [3, 1]
        for on_cpu, on_gpu in zip(*found, strict=True):
            np.testing.assert_allclose(on_gpu.quality, on_cpu.quality, atol=1e-5)
            torch.testing.assert_close(on_gpu.logits.cpu(), on_cpu.logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("batch", "height"), [(1, 40), (1, 100), (3, 40)])
def test_encoder_computes_a_batch_at_once_and_only_rows_that_show_the_image(
    gpu: PretendedGpu, batch: int, height: int
) -> None:
    spec = replace(SMALL, image_size=160, encoder_depth=3, window_size=3)
    torch.manual_seed(0)
    stock = build_sam(spec).image_encoder.eval().requires_grad_(False)
    pixels = torch.randn(batch, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    pixels[:, :, height:] = 0
    encoder = FastImageEncoder(stock, device="cuda:0", forms=[FoldedAttention()])
    on_gpu = pixels.to("cuda:0")
    with torch.inference_mode():
        encoder(on_gpu, height)  # makes tables that are kept
        with gpu.counting() as counts:
            features = encoder(on_gpu, height)
        with gpu.counting() as of_one:
            encoder(on_gpu[:1], height)
        expected = stock(pixels)
    torch.testing.assert_close(features.cpu(), expected, atol=1e-4, rtol=0)
    assert not counts.waits
    assert counts.launches.total() <= of_one.launches.total()


def test_new_texts_are_encoded_in_batches_without_waiting(gpu: PretendedGpu) -> None:
    texts = [f"thing {number}" for number in range(18)]
    clip = small_networks("cuda:0")[0]
    clip.text_features([""])
    with gpu.counting() as counts:
        features = clip.text_features(texts)
    assert not counts.waits
    # 16 texts, then 2: ids and ends of each batch.
    assert counts.uploads.total() == 4
    expected = small_networks("cpu")[0].text_features(texts)
    torch.testing.assert_close(features.cpu(), expected, atol=1e-5, rtol=0)


def test_networks_are_warm_when_they_are_loaded(gpu: PretendedGpu) -> None:
    load_networks(Config.from_values({"device": "cuda:0", "clip_windows": "never"}))
    files = {place.rpartition(":")[0] for place in gpu.counts.launches}
    assert {"networks/clip/surgery.py", "networks/sam/decoder.py", "core/ranking.py"} <= files
