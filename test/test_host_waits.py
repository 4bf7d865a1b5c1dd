"""A frame copies tensors from the GPU to the host few times, whatever the number of labels.

Each copy makes the host wait. The CPU makes the same calls, so the tests count there.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import open_clip
import pytest
from small_networks import small_clip, small_sam
from torch import Tensor
from torch.overrides import TorchFunctionMode

from clip_surgery_ros.benchmark.networks import random_texts
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.core.types import Wanted
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.sam.backend import SamBackend

WAITS = {
    function: name
    for name in ("cpu", "item", "tolist", "nonzero", "__bool__", "__int__", "__float__")
    for function in (getattr(Tensor, name),)
} | {Tensor.__index__: "__index__", Tensor.__contains__: "__contains__"}


class CountingWaits(TorchFunctionMode):
    """Counts the calls that make the host wait for its GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_function__(self, function, types, arguments=(), options=None):
        if function in WAITS:
            self.counts[WAITS[function]] += 1
        return function(*arguments, **(options or {}))


def waits_of_a_frame(labels: int, wanted: Wanted) -> Counter[str]:
    clip = ClipBackend(small_clip(), open_clip.SimpleTokenizer())
    names, _ = random_texts(clip, labels)
    settings = Settings(presence_threshold=0.0, distractor_names=(), min_area=1)
    pipeline = Pipeline(clip, SamBackend(small_sam()), settings)
    first, second = np.random.default_rng(0).integers(0, 256, (2, 48, 60, 3), np.uint8)
    pipeline.run(first, query_of(names), wanted)
    with CountingWaits() as counting:
        assert pipeline.run(second, query_of(names), wanted).segments or not wanted.segments
    return counting.counts


@pytest.mark.parametrize("labels", [2, 12])
def test_maps_and_presence_need_one_copy_to_the_host(labels: int) -> None:
    assert waits_of_a_frame(labels, Wanted(segments=False)) == {"cpu": 1}


@pytest.mark.parametrize("labels", [2, 12])
def test_masks_and_their_scores_need_two_more_copies(labels: int) -> None:
    assert waits_of_a_frame(labels, Wanted()) == {"cpu": 3}
