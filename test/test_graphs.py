"""CUDA graphs, on a pretended GPU: see ``pretended_gpu.py`` for what it shows of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np
import open_clip
import pytest
import torch
from pretended_gpu import PretendedGpu
from small_networks import small_clip, small_sam
from torch import Tensor

from clip_surgery_ros.arithmetic import graphs
from clip_surgery_ros.arithmetic.graphs import Graphs, reads
from clip_surgery_ros.core.types import PointPrompts
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.networks.sam.backend import SamBackend
from clip_surgery_ros.parameters.config import Config

GRAPH = "arithmetic/graphs.py"


@pytest.fixture
def gpu() -> Iterator[PretendedGpu]:
    with PretendedGpu() as pretended:
        yield pretended


def pictures(count: int, size_hw: tuple[int, int] = (48, 60)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size_hw, 3), np.uint8) for _ in range(count)]


def on_gpu(*values: float) -> Tensor:
    return torch.tensor(values, device="cuda:0")


def call(runner: Graphs, function: Callable[..., object], *inputs: Tensor) -> list[list[float]]:
    return [output.cpu().tolist() for output in runner("key", function, *inputs)]


def squares(x: Tensor) -> tuple[Tensor, Tensor]:
    doubled = x * 2
    doubled += 1
    return doubled, (x * x).view(-1, 1).flatten()


def test_graph_gives_the_results_of_each_input_with_one_launch(gpu: PretendedGpu) -> None:
    runner = Graphs("CLIP", enabled=True)
    kept = []
    for number in range(4):
        x = on_gpu(number, 3.0)
        with gpu.counting() as counts:
            outputs = runner("key", squares, x)
        kept.append(outputs)
    # Copy of the input, graph, and a clone of each output.
    assert counts.launches.total() == 4 and not counts.waits
    for number, (doubled, squared) in enumerate(kept):  # later calls did not change them
        assert doubled.cpu().tolist() == [2 * number + 1, 7]
        assert squared.cpu().tolist() == [number**2, 9]


def test_each_shape_and_each_key_has_its_own_graph(gpu: PretendedGpu) -> None:
    runner = Graphs("CLIP", enabled=True)
    for _ in range(3):
        for size in (1, 2):
            (total,) = runner("sum", lambda x: (x.sum(),), torch.ones(size, device="cuda:0"))
            (largest,) = runner("max", lambda x: (x.max(),), torch.ones(size, device="cuda:0"))
            assert (total.item(), largest.item()) == (size, 1)


def test_function_that_waits_runs_without_a_graph_and_the_log_says_so(
    gpu: PretendedGpu, caplog: pytest.LogCaptureFixture
) -> None:
    runner = Graphs("SAM's encoder", enabled=True)

    def waits(x: Tensor) -> tuple[Tensor]:
        return (x * x.max().item(),)

    with caplog.at_level(logging.WARNING):
        for number in range(4):
            largest = max(number, 2)
            expected = [[number * largest, 2 * largest]]
            assert call(runner, waits, on_gpu(number, 2.0)) == expected
    assert [record.getMessage() for record in caplog.records] == [
        "SAM's encoder runs without a CUDA graph (CUDA error: operation not permitted when stream "
        "is capturing); results are the same, but a frame takes longer"
    ]


def test_graph_that_computes_something_else_is_not_used(
    gpu: PretendedGpu, caplog: pytest.LogCaptureFixture
) -> None:
    """A function whose result depends on something of the host: a graph would freeze it."""
    runner, factors = Graphs("CLIP", enabled=True), iter(range(1, 9))

    def scaled(x: Tensor) -> tuple[Tensor]:
        return (x * next(factors),)

    assert call(runner, scaled, on_gpu(1.0)) == [[1]]
    # The second call captures with factor 2 and compares with factor 3; its answer is a fourth.
    assert call(runner, scaled, on_gpu(1.0)) == [[4]]
    assert call(runner, scaled, on_gpu(1.0)) == [[5]]
    assert "it computes something else" in caplog.text


def test_graph_that_gives_nan_is_not_used(gpu: PretendedGpu) -> None:
    runner = Graphs("CLIP", enabled=True)
    for _ in range(3):
        runner("key", lambda x: (x / 0 - x / 0,), on_gpu(1.0))
    assert not runner.enabled


def test_oldest_graphs_are_dropped_and_tables_live_as_long_as_their_graph(
    gpu: PretendedGpu,
) -> None:
    runner = Graphs("CLIP", enabled=True)

    class Table:
        alive = 0

        def __init__(self) -> None:
            Table.alive += 1

        def __del__(self) -> None:
            Table.alive -= 1

    def function(x: Tensor) -> tuple[Tensor]:
        reads(Table())
        return (x + 1,)

    for _ in range(2):
        runner("first", function, on_gpu(1.0))
    assert Table.alive == 1
    for number in range(graphs.CAPACITY):
        runner(number, function, on_gpu(1.0))
    assert Table.alive == 0


def test_networks_are_replayed_with_the_results_of_the_cpu(gpu: PretendedGpu) -> None:
    """Images of two sizes in turns; prompts of few and of many points."""
    rng = np.random.default_rng(0)
    prompts = [
        PointPrompts(rng.integers(0, 40, (count, 2), np.int32), rng.random(count) < 0.7)
        for count in (1, 3, 2, 1, 1)
    ]
    clips = [
        ClipBackend(small_clip(), open_clip.SimpleTokenizer(), device=device, graphs=True)
        for device in ("cpu", "cuda:0")
    ]
    sams = [SamBackend(small_sam(), device=device, graphs=True) for device in ("cpu", "cuda:0")]
    for pair in zip(pictures(3), pictures(3, (66, 44)), strict=True):
        for image in pair:
            tokens = [clip.image_tokens(image, windows=True)[0].cpu() for clip in clips]
            torch.testing.assert_close(*tokens, atol=1e-5, rtol=0)
            for some in (prompts[:1], prompts):
                on_cpu, on_gpu = (sam.decode(sam.encode(image), some) for sam in sams)
                for expected, found in zip(on_cpu, on_gpu, strict=True):
                    np.testing.assert_allclose(found.quality, expected.quality, atol=1e-5)
                    torch.testing.assert_close(
                        found.logits.cpu(), expected.logits, atol=1e-4, rtol=0
                    )
    with gpu.counting() as counts:
        clips[1].image_tokens(image, windows=True)
        sams[1].encode(image)
    assert {line.partition(":")[0] for line in counts.launches} == {GRAPH}


def test_graphs_are_captured_while_networks_are_loaded_unless_switched_off(
    gpu: PretendedGpu,
) -> None:
    for wanted in (True, False):
        with gpu.counting() as counts:
            networks = load_networks(
                Config.from_values({"device": "cuda:0", "cuda_graphs": wanted})
            )
        replayed = sum(n for line, n in counts.launches.items() if line.startswith(GRAPH))
        assert bool(replayed) == wanted
        assert networks.clip._graphs.enabled == wanted  # no capture failed
    cpu = load_networks(Config.from_values({"device": "cpu"}))
    assert not cpu.clip._graphs.enabled
