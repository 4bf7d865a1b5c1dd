"""SAM 2's image predictor (Ravi et al. 2024) behind ``core.interfaces.PromptableSegmenter``.

The package ``sam2`` builds the network and runs its image encoder, a Hiera.
:class:`~clip_surgery_ros.networks.sam.decoder.FastMaskDecoder` runs the decoder. SAM 2's parts for
videos are left out, so files of SAM 2 and of SAM 2.1 can be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from clip_surgery_ros.arithmetic.graphs import Graphs
from clip_surgery_ros.core.interfaces import ImageEmbedding, MaskCandidates, RgbImage
from clip_surgery_ros.core.transfer import download, on_device
from clip_surgery_ros.core.types import PointPrompts
from clip_surgery_ros.networks.sam.decoder import FastMaskDecoder, ProjectedImage
from clip_surgery_ros.networks.sam.full_size import masks_per_step
from clip_surgery_ros.networks.sam.packages import import_package
from clip_surgery_ros.networks.sam.prompts import PromptDecoder
from clip_surgery_ros.networks.sam.stock_encoder import inference_copy
from clip_surgery_ros.weights.state_dicts import ignore_warnings

CONFIGS: Mapping[str, str] = {
    "sam2.1_hiera_tiny": "t",
    "sam2.1_hiera_small": "s",
    "sam2.1_hiera_base_plus": "b+",
    "sam2.1_hiera_large": "l",
}
"""Meta's pretrained models, and their sizes in the names of the package's configurations."""
DISTRIBUTION = "rf-sam-2"
"""Meta's code as a wheel. ``sam2`` on PyPI and Meta's repository work too, but pip downloads a
second torch to build them."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in [0, 1]


class Sam2Image(nn.Module):
    """The parts of a SAM 2 that process images, by the names that its files use.

    :param model: a ``SAM2Base``.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.image_encoder = model.image_encoder
        self.sam_prompt_encoder = model.sam_prompt_encoder
        self.sam_mask_decoder = model.sam_mask_decoder
        self.no_mem_embed = model.no_mem_embed

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a state dict as every module does, but ignore its tensors for videos."""
        parts = {name.partition(".")[0] for name in self.state_dict()}
        for_images = {k: v for k, v in state_dict.items() if k.partition(".")[0] in parts}
        return super().load_state_dict(for_images, strict, assign)


def build_sam2(name: str) -> Sam2Image:
    """Return an untrained SAM 2 of a pretrained model's sizes.

    :param name: one of :data:`CONFIGS`.
    :raises ConfigError: when its package is not installed.
    """
    config = f"configs/sam2.1/sam2.1_hiera_{CONFIGS[name]}.yaml"
    package = import_package("sam2.build_sam", DISTRIBUTION)
    with ignore_warnings():
        return Sam2Image(package.build_sam2(config, device="cpu"))


class Sam2Backend:
    """A SAM 2 that encodes an image once and decodes all its prompts together.

    :param sam: the network; it is not changed.
    :param device: torch device.
    :param dtype: torch dtype of the image encoder, unless float32 is faster on this machine.
        Prompts and decoder use float32.
    :param chunk: prompts decoded in one call, see :class:`PromptDecoder`.
    :param graphs: whether encoder and decoder run as CUDA graphs, on a GPU.
    """

    def __init__(
        self,
        sam: Sam2Image,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        chunk: int | None = None,
        graphs: bool = False,
    ) -> None:
        self._device = torch.device(device)
        self._encoder = HieraEncoder(sam, self._device, dtype)
        self._decoder = FastMaskDecoder(sam.sam_prompt_encoder, sam.sam_mask_decoder, device)
        self._prompts = PromptDecoder(self._decoder, self._device, chunk, graphs)
        self._graphs = Graphs("SAM's encoder", graphs and self._device.type == "cuda")
        self._input_hw = (self._decoder.input_size, self._decoder.input_size)
        self._mean = torch.tensor(_MEAN, device=self._device).view(3, 1, 1)
        self._std = torch.tensor(_STD, device=self._device).view(3, 1, 1)

    def encode(self, image_rgb: RgbImage) -> ImageEmbedding:
        """Return the embedding of an image.

        :param image_rgb: (H, W, 3) uint8 RGB, an array or a tensor on the backend's device.
        """
        with torch.inference_mode():
            image = ProjectedImage.of(
                self._graphs(None, self._encode, on_device(image_rgb, self._device))
            )
        size_hw = (image_rgb.shape[0], image_rgb.shape[1])
        return self._prompts.embedding(image, size_hw, self._input_hw)

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[PointPrompts]
    ) -> Sequence[MaskCandidates]:
        """Return three candidates per prompt, in order, with their logits on the device."""
        return self._prompts.decode(embedding, prompts)

    def full_size(self, embedding: ImageEmbedding, logits: Tensor) -> NDArray[np.bool_]:
        """Return (K, H, W) masks for (K, l, l) logits, enlarged as SAM 2 does."""
        size_hw = embedding.size_hw
        with torch.inference_mode():
            masks = logits.new_empty((len(logits), *size_hw), dtype=torch.bool)
            step = masks_per_step(logits)
            for part, small in zip(masks.split(step), logits[:, None].split(step), strict=True):
                torch.gt(F.interpolate(small, size_hw, mode="bilinear")[:, 0], 0, out=part)
            return download(masks)

    def _encode(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors of the projected image for an (H, W, 3) image."""
        return self._decoder.project_image(*self._encoder(self._preprocess(image))).tensors

    def _preprocess(self, image: Tensor) -> Tensor:
        """Return (1, 3, S, S) pixels for an (H, W, 3) uint8 image, squashed and normalised."""
        pixels = image.permute(2, 0, 1)[None].float() / 255
        squashed = F.interpolate(pixels, self._input_hw, mode="bilinear", antialias=True)
        return (squashed - self._mean) / self._std


class HieraEncoder:
    """SAM 2's image encoder on a device.

    :param sam: the network; its encoder is copied.
    :param dtype: of weights and arithmetic, unless float32 is faster on this machine.
    """

    def __init__(self, sam: Sam2Image, device: torch.device, dtype: torch.dtype) -> None:
        mlp = sam.image_encoder.trunk.blocks[-1].mlp
        self._net = inference_copy(sam.image_encoder, mlp, device, dtype)
        # Only videos need the position tables. They would be copied for each frame.
        self._net.neck.position_encoding = nn.Identity()
        self._dtype = next(self._net.parameters()).dtype
        self._no_memory = sam.no_mem_embed.detach().to(device).view(1, -1, 1, 1)

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the float32 features that the decoder needs, the coarsest first.

        :param pixels: (1, 3, S, S), normalised.
        :returns: (1, C, h, w), (1, C, 2 h, 2 w) and (1, C, 4 h, 4 w).
        """
        levels = self._net(pixels.to(self._dtype))["backbone_fpn"]
        finest, fine, features = (level.float() for level in levels)
        return features + self._no_memory, fine, finest
