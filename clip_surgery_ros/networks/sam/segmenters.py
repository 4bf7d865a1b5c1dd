"""The table of pretrained segmenters: which code builds and runs which network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from clip_surgery_ros.core.interfaces import PromptableSegmenter
from clip_surgery_ros.networks.sam.backend import SamBackend
from clip_surgery_ros.networks.sam.build import SPECS, build_sam, load_weights
from clip_surgery_ros.networks.sam.mobile_sam import TinyEncoder, build_mobile_sam
from clip_surgery_ros.networks.sam.sam2 import CONFIGS, Sam2Backend, build_sam2
from clip_surgery_ros.weights.files import checkpoint_file
from clip_surgery_ros.weights.state_dicts import load_state_dict


@dataclass(frozen=True)
class SegmenterCode:
    """The code of a network.

    :param build: returns the untrained network; raises ConfigError when its package is not
        installed.
    :param wrap: returns a segmenter that runs the network, on a ``device`` and with its encoder
        in a ``dtype``.
    """

    build: Callable[[], Any]
    wrap: Callable[..., PromptableSegmenter]


SEGMENTERS: Mapping[str, SegmenterCode] = {
    "vit_t": SegmenterCode(build_mobile_sam, partial(SamBackend, make_encoder=TinyEncoder)),
    **{name: SegmenterCode(partial(build_sam, spec), SamBackend) for name, spec in SPECS.items()},
    **{name: SegmenterCode(partial(build_sam2, name), Sam2Backend) for name in CONFIGS},
}
"""The code of each network, by the value of ``sam_model``."""


def load_segmenter(
    name: str,
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    graphs: bool = False,
) -> PromptableSegmenter:
    """Load the checkpoint of a pretrained network.

    :param name: one of :data:`SEGMENTERS`.
    :param path: of the file, or of a folder with one.
    :param dtype: of the image encoder.
    :param graphs: whether it runs as CUDA graphs, on a GPU.
    :raises ConfigError: when a package that the network needs is not installed.
    :raises WeightsError: when the file is damaged or of another network.

    >>> load_segmenter("vit_b", "/opt/weights/sam_vit_b_01ec64.pth")
    Traceback (most recent call last):
    clip_surgery_ros.core.errors.WeightsError: weight file ... does not exist; ...
    """
    path = checkpoint_file(path)
    tensors, _ = load_state_dict(path)
    network = SEGMENTERS[name].build()
    load_weights(network, tensors, path, name)
    return SEGMENTERS[name].wrap(network, device=device, dtype=dtype, graphs=graphs)
