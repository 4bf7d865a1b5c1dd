"""Networks of full size with random weights: the time they take does not depend on the values."""

from __future__ import annotations

from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from clip_surgery_ros.benchmark.reference import ReferenceFlow
from clip_surgery_ros.core.interfaces import PromptableSegmenter
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.clip.traits import ClipTraits
from clip_surgery_ros.networks.devices import PRECISIONS
from clip_surgery_ros.networks.sam.segmenters import SEGMENTERS

CLIP_MODEL = "ViT-B-16-quickgelu"
CLIP_SIZE = 512
RELATIVE_POSITION_STD = 0.05
"""segment-anything initialises them with zeros, which would hide a wrong kernel."""
SEED = 20261123


def build_networks(
    sam_model: str, precision: str, device: str = "cpu"
) -> tuple[ClipBackend, PromptableSegmenter]:
    """Return CLIP and segmenter as this package runs them."""
    tokenize = open_clip.get_tokenizer(CLIP_MODEL)
    clip = ClipBackend(random_clip(), tokenize, device=device, precision=precision, graphs=True)
    network, dtype = random_sam(sam_model), PRECISIONS[precision]
    return clip, SEGMENTERS[sam_model].wrap(network, device=device, dtype=dtype, graphs=True)


def build_reference(sam_model: str, precision: str, device: str = "cpu") -> ReferenceFlow:
    """Return both networks as the unmodified packages run them, with the same weights.

    :param precision: the name of a torch dtype, also ``float64``.
    """
    dtype, traits = getattr(torch, precision), ClipTraits()
    sam = random_sam(sam_model).to(device)
    sam.image_encoder.to(dtype)
    model = random_clip().to(device, dtype)
    return ReferenceFlow(model, sam, CLIP_SIZE, traits.mean, traits.std)


def random_clip() -> Any:
    """Return an open_clip model in evaluation mode, with the same weights at every call."""
    torch.manual_seed(SEED)
    return (
        open_clip.create_model(
            CLIP_MODEL, load_weights=False, pretrained_text=False, force_image_size=CLIP_SIZE
        )
        .eval()
        .requires_grad_(False)
    )


def random_sam(model: str) -> Any:
    """Return a SAM in evaluation mode, with the same weights at every call."""
    torch.manual_seed(SEED)
    sam = SEGMENTERS[model].build().eval().requires_grad_(False)
    for name, table in sam.image_encoder.named_parameters():
        if "rel_pos" in name:
            nn.init.normal_(table, std=RELATIVE_POSITION_STD)
    return sam


def random_texts(clip: ClipBackend, count: int) -> tuple[list[str], Tensor]:
    """Make names with random unit features, (count, C), and store the features in the CLIP.

    Encoding the names would take minutes, and is not measured here.
    """
    names = [f"thing {number}" for number in range(count)]
    width = len(clip.text_features([""])[0])
    generator = torch.Generator().manual_seed(SEED)
    features = nn.functional.normalize(torch.randn(count, width, generator=generator), dim=-1)
    clip.add_text_features(dict(zip(names, features, strict=True)))
    return names, features
