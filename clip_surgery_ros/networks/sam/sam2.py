"""SAM 2's image predictor (Ravi et al. 2024) behind ``core.interfaces.PromptableSegmenter``.

The package ``sam2`` has the image encoder, a Hiera, and the weights of the decoder, which
:class:`~clip_surgery_ros.networks.sam.decoder.FastMaskDecoder` runs. What SAM 2 has for videos is
left out, so that the files of SAM 2 and 2.1 both serve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from clip_surgery_ros.core.interfaces import ImageEmbedding, MaskCandidates
from clip_surgery_ros.core.types import PointPrompts
from clip_surgery_ros.networks.sam.decoder import FastMaskDecoder
from clip_surgery_ros.networks.sam.packages import import_package
from clip_surgery_ros.networks.sam.prompts import PromptDecoder
from clip_surgery_ros.networks.sam.stock_encoder import inference_copy
from clip_surgery_ros.networks.transfer import upload
from clip_surgery_ros.weights.state_dicts import ignore_warnings

CONFIGS: Mapping[str, str] = {
    "sam2.1_hiera_tiny": "t",
    "sam2.1_hiera_small": "s",
    "sam2.1_hiera_base_plus": "b+",
    "sam2.1_hiera_large": "l",
}
"""Meta's published models, and how the package's own configurations call their sizes."""
DISTRIBUTION = "rf-sam-2"
"""Meta's code as a wheel; ``sam2`` on PyPI and Meta's repository serve as well, but pip fetches
another torch to build them with."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in [0, 1]


class Sam2Image(nn.Module):
    """The part of a SAM 2 that sees images, by the names that its files use.

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
        """As every module, from a file that holds more: what is for videos is left out."""
        parts = {name.partition(".")[0] for name in self.state_dict()}
        seeing = {k: v for k, v in state_dict.items() if k.partition(".")[0] in parts}
        return super().load_state_dict(seeing, strict, assign)


def build_sam2(name: str) -> Sam2Image:
    """An untrained SAM 2 of the published sizes.

    :raises ConfigError: where its package is not installed.
    """
    config = f"configs/sam2.1/sam2.1_hiera_{CONFIGS[name]}.yaml"
    package = import_package("sam2.build_sam", DISTRIBUTION)
    with ignore_warnings():
        return Sam2Image(package.build_sam2(config, device="cpu"))


class Sam2Backend:
    """A SAM 2 that encodes once per frame and decodes all prompts of the frame together.

    :param sam: the network; it is read and stays as it is.
    :param device: torch device.
    :param dtype: torch dtype of the image encoder, unless float32 is faster on this machine;
        prompts and decoder stay in float32.
    :param chunk: prompts decoded in one call, see :class:`PromptDecoder`.
    """

    def __init__(
        self,
        sam: Sam2Image,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        chunk: int | None = None,
    ) -> None:
        self._device = torch.device(device)
        self._encoder = HieraEncoder(sam, self._device, dtype)
        self._decoder = FastMaskDecoder(sam.sam_prompt_encoder, sam.sam_mask_decoder, device)
        self._prompts = PromptDecoder(self._decoder, self._device, chunk)
        self._input_hw = (self._decoder.input_size, self._decoder.input_size)
        self._mean = torch.tensor(_MEAN, device=self._device).view(3, 1, 1)
        self._std = torch.tensor(_STD, device=self._device).view(3, 1, 1)

    def encode(self, image_rgb: NDArray[np.uint8]) -> ImageEmbedding:
        """(H, W, 3) uint8 RGB to an embedding of the frame."""
        with torch.inference_mode():
            # A copy: torch warns of read-only memory, which a message's may be.
            pixels = self._preprocess(upload(np.array(image_rgb), self._device))
            image = self._decoder.image_side(*self._encoder(pixels))
        return self._prompts.embedding(image, image_rgb.shape[:2], self._input_hw)

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[PointPrompts]
    ) -> list[MaskCandidates]:
        """Three candidates for each prompt, in order, their logits on this device."""
        return self._prompts.decode(embedding, prompts)

    def full_size(self, embedding: ImageEmbedding, logits: Tensor) -> NDArray[np.bool_]:
        """(K, l, l) logits to (K, H, W) masks, as SAM 2 enlarges them."""
        size_hw = embedding.size_hw
        with torch.inference_mode():
            masks = logits.new_empty((len(logits), *size_hw), dtype=torch.bool)
            for mask, one in zip(masks, logits[:, None, None], strict=True):
                torch.gt(F.interpolate(one, size_hw, mode="bilinear")[0, 0], 0, out=mask)
            return masks.cpu().numpy()

    def _preprocess(self, image: Tensor) -> Tensor:
        """(H, W, 3) uint8 to (1, 3, S, S), squashed and normalised."""
        pixels = image.permute(2, 0, 1)[None].float() / 255
        squashed = F.interpolate(pixels, self._input_hw, mode="bilinear", antialias=True)
        return (squashed - self._mean) / self._std


class HieraEncoder:
    """SAM 2's image encoder on a device.

    :param sam: its parts are copied.
    :param dtype: of weights and arithmetic, unless float32 is faster on this machine.
    """

    def __init__(self, sam: Sam2Image, device: torch.device, dtype: torch.dtype) -> None:
        mlp = sam.image_encoder.trunk.blocks[-1].mlp
        self._net = inference_copy(sam.image_encoder, mlp, device, dtype)
        # Its tables are for videos; all levels of them would be copied for each frame.
        self._net.neck.position_encoding = nn.Identity()
        self._dtype = next(self._net.parameters()).dtype
        self._no_memory = sam.no_mem_embed.detach().to(device).view(1, -1, 1, 1)

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the decoder reads, float32.

        :param pixels: (1, 3, S, S), normalised.
        :returns: (1, C, h, w), (1, C, 2 h, 2 w) and (1, C, 4 h, 4 w).
        """
        levels = self._net(pixels.to(self._dtype))["backbone_fpn"]
        finest, finer, features = (level.float() for level in levels)
        return features + self._no_memory, finer, finest
