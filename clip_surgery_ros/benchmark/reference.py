"""The paper's recipe written with unmodified packages: the baseline of speed and memory.

Explicit N x N attention on both paths for all tokens of the last six blocks, feature surgery in
its literal (B, N, T, C) form, segment-anything's own encoder, and one ``SamPredictor.predict``
per label. Texts are encoded beforehand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from torch import Tensor, nn

from clip_surgery_ros.core.heatmap import normalized_map
from clip_surgery_ros.core.points import reference_points
from clip_surgery_ros.core.stages import Stages

SURGERY_BLOCKS = 6


class ReferenceFlow:
    """Image and text features to one mask per text, by open_clip's and segment-anything's code.

    :param model: open_clip's CLIP with a ``VisionTransformer``.
    :param sam: segment-anything's SAM, in the same precision.
    :param input_size: side in pixels to which images are resized for CLIP.
    :param mean: CLIP's mean of RGB in [0, 1], and ``std`` its standard deviation.
    """

    def __init__(
        self,
        model: nn.Module,
        sam: Sam,
        input_size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        self._model: Any = model
        self._visual: Any = self._model.visual
        self._input_size = input_size
        weight = next(model.parameters())
        self._device, self._dtype = weight.device, weight.dtype
        self._mean, self._std = (
            torch.tensor(values, device=self._device).view(3, 1, 1) for values in (mean, std)
        )
        self._predictor = SamPredictor(sam)
        self._sam_dtype = next(sam.image_encoder.parameters()).dtype

    def run(
        self, image_rgb: NDArray[np.uint8], text: Tensor, clock: Stages | None = None
    ) -> list[NDArray[np.bool_]]:
        """Return T masks, (H, W), for an (H, W, 3) uint8 RGB image and (T, C) unit text features.

        :param text: on any device.
        :param clock: records the time of each stage.
        """
        clock, text = clock or Stages(str(self._device)), text.to(self._device)
        size_hw = (image_rgb.shape[0], image_rgb.shape[1])
        side = self._input_size // self._visual.patch_size[0]
        masks = []
        with torch.inference_mode():
            with clock.stage("clip"):
                tokens = F.normalize(self.tokens(self.preprocess(image_rgb)).float(), dim=-1)
            with clock.stage("maps"):
                similarity = literal_feature_surgery(tokens, text)[:, 1:].cpu()
                normalized_map(similarity, (side, side), size_hw)
            with clock.stage("sam encoder"):
                self.encode(image_rgb)
            for label_similarity in similarity[0].T.numpy():
                with clock.stage("points"):
                    xy, labels = reference_points(label_similarity, (side, side), size_hw)
                with clock.stage("sam decoder"):
                    candidates, quality, _ = self._predictor.predict(
                        xy, labels, multimask_output=True
                    )
                masks.append(candidates[int(np.argmax(quality))])
        return masks

    def preprocess(self, image_rgb: NDArray[np.uint8]) -> Tensor:
        """Return the image resized and normalised for CLIP, (1, 3, S, S)."""
        size = (self._input_size, self._input_size)
        resized = Image.fromarray(image_rgb).resize(size, Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(resized)).to(self._device)
        pixels = pixels.permute(2, 0, 1).float() / 255
        return ((pixels - self._mean) / self._std).unsqueeze(0).to(self._dtype)

    def encode(self, image_rgb: NDArray[np.uint8]) -> None:
        """Encode the image with SAM; the predictor keeps the embedding."""
        if self._sam_dtype == torch.float32:
            self._predictor.set_image(image_rgb)
            return
        # SamPredictor.set_image works in float32 only, so its steps are written out here.
        predictor: Any = self._predictor
        resized = torch.from_numpy(predictor.transform.apply_image(image_rgb)).permute(2, 0, 1)
        predictor.reset_image()
        predictor.original_size = image_rgb.shape[:2]
        predictor.input_size = tuple(resized.shape[-2:])
        resized = resized.to(self._device)
        pixels = predictor.model.preprocess(resized[None].float()).to(self._sam_dtype)
        predictor.features = predictor.model.image_encoder(pixels).float()
        predictor.is_image_set = True

    def bare(self, pixels: Tensor) -> Tensor:
        """Return open_clip's image features, (1, C), of pixels (1, 3, S, S)."""
        return self._model.encode_image(pixels)

    def decoder_input(self) -> Tensor:
        """Return the encoded image as SAM's decoder takes it, without a mask prompt, (1, N, C)."""
        predictor: Any = self._predictor
        no_mask: Tensor = predictor.model.prompt_encoder.no_mask_embed.weight
        return predictor.features.flatten(2).mT + no_mask

    def encode_text(self, ids: Tensor) -> Tensor:
        """Return open_clip's features, (P, C), of (P, L) token ids."""
        return self._model.encode_text(ids)

    def decode(self, xy: NDArray[np.int32], positive: NDArray[np.bool_]) -> Tensor:
        """Return (K, 3, H, W) masks of K prompts in one call.

        :param xy: (K, P, 2) points in pixels of the image.
        :param positive: (K, P), True for a point on the object.
        """
        predictor: Any = self._predictor
        points = predictor.transform.apply_coords(xy, predictor.original_size)
        masks, _, _ = predictor.predict_torch(
            torch.as_tensor(points, dtype=torch.float32, device=self._device),
            torch.as_tensor(positive, device=self._device).int(),
        )
        return masks

    def tokens(self, pixels: Tensor) -> Tensor:
        """Return CLIP Surgery's tokens, (1, 1 + N, C), before L2 normalisation."""
        visual = self._visual
        original = self._embed(pixels)
        blocks = list(visual.transformer.resblocks)
        for block in blocks[:-SURGERY_BLOCKS]:
            original = block(original)
        new = original
        for block in blocks[-SURGERY_BLOCKS:]:
            query, key, value = _project(block, original)
            new = new + _attend(block, value, value, value)
            original = original + _attend(block, query, key, value)
            original = original + block.mlp(block.ln_2(original))
        tokens = torch.cat([original[:, :1], new[:, 1:]], dim=1)
        return visual.ln_post(tokens) @ visual.proj

    def _embed(self, pixels: Tensor) -> Tensor:
        visual = self._visual
        patches = visual.conv1(pixels)
        grid_hw = patches.shape[-2:]
        x = patches.flatten(2).transpose(1, 2)
        x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1)
        return visual.ln_pre(x + _positions(visual, grid_hw))


def literal_feature_surgery(tokens: Tensor, text: Tensor) -> Tensor:
    """Compute feature surgery as the paper's equation is written, with a (B, N, T, C) product.

    :param tokens: (B, N, C) unit rows; token 0 is CLS.
    :param text: (T, C) unit rows.
    :return: (B, N, T) similarities.
    """
    weights = (2 * tokens[:, 0] @ text.T).softmax(dim=-1) * len(text)  # (B, T)
    products = tokens[:, :, None, :] * text * weights[:, None, :, None]
    products = products - products.mean(dim=2, keepdim=True)
    return products.sum(dim=-1)


def _positions(visual: Any, grid_hw: tuple[int, int]) -> Tensor:
    """Return the position table for this grid, resized at every call as the paper's code does."""
    table: Tensor = visual.positional_embedding
    grid = table[1:].T.reshape(1, -1, *visual.grid_size).float()
    grid = F.interpolate(grid, grid_hw, mode="bilinear", align_corners=False)
    return torch.cat([table[:1], grid.flatten(2)[0].T.to(table.dtype)])


def _project(block: Any, x: Tensor) -> list[Tensor]:
    """Return queries, keys and values, each (B, heads, N, d)."""
    attention = block.attn
    qkv = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
    heads = attention.num_heads
    return [part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1)]


def _attend(block: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute attention with the explicit N x N matrix of weights."""
    weights = (query.shape[-1] ** -0.5 * query @ key.transpose(-1, -2)).softmax(dim=-1)
    return block.attn.out_proj((weights @ value).transpose(1, 2).flatten(2))
