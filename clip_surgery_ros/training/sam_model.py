"""The demo's SAM as it is trained: its sizes, its forward pass and its losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor

from clip_surgery_ros.networks.sam.build import SamSpec

SPEC = SamSpec(
    image_size=384,
    patch_size=16,
    encoder_dim=128,
    encoder_depth=6,
    encoder_heads=4,
    global_attn_indexes=(2, 5),
    window_size=8,
    prompt_dim=128,
    decoder_depth=2,
    decoder_heads=4,
    mlp_dim=256,
)
MASK_SIZE = 4 * SPEC.image_size // SPEC.patch_size
"""Side of the low-resolution masks that SAM predicts."""


def predict_masks(
    sam: Sam, pixels: Tensor, points: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Predict all four masks of every prompt: the single one, and the three of different sizes.

    segment-anything decodes one image at a time. Here the image features take the role of the
    dense prompt, which the decoder adds to them anyway, so one call decodes the whole batch.

    :param pixels: (B, 3, S, S), normalized.
    :param points: (B * P, K, 2) in input pixels; P prompts for each image, image by image.
    :param labels: (B * P, K), 1 inside the object, 0 outside.
    :returns: (B * P, 4, l, l) logits and (B * P, 4) predicted IoU.
    """
    features = sam.image_encoder(pixels)
    sparse, dense = sam.prompt_encoder(points=(points, labels), boxes=None, masks=None)
    dense = dense + features.repeat_interleave(len(points) // len(pixels), dim=0)
    return sam.mask_decoder.predict_masks(
        image_embeddings=torch.zeros_like(features[:1]),
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
    )


def losses(logits: Tensor, predicted_iou: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return the mask loss, the loss of the predicted IoU, and the mean IoU reached.

    The mask loss is binary cross-entropy and Dice; that of the predicted IoU is its squared error
    (after Kirillov et al. 2023, section A).

    :param logits: (B * P, 4, l, l).
    :param predicted_iou: (B * P, 4).
    :param targets: (B * P, 1, l, l) share of each cell that the object covers; or (B * P, 3, l, l)
        of a part, the object and its surroundings, which the three masks then learn.
    :returns: ``mask``, ``iou_error`` and ``iou``.
    """
    nested = targets.shape[1] == 3
    targets = torch.cat([targets[:, 1:2], targets], 1) if nested else targets.expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean((2, 3))
    probability = logits.sigmoid()
    overlap = (probability * targets).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + targets.sum((2, 3)) + 1)
    each = 5 * entropy + dice  # (B * P, 4)
    # The objects of scenes have no parts that a click could mean instead. So all three masks learn
    # the object, the best of them a little more: with the best alone, two of three stay fragments.
    best = each[:, 1:].mean(dim=1) if nested else each[:, 1:].min(dim=1).values
    three = 0.5 * best + 0.5 * each[:, 1:].mean(dim=1)
    mask = (each[:, 0] + three).mean()
    with torch.no_grad():
        predicted, true = logits > 0, targets > 0.5
        iou = (predicted & true).sum((2, 3)) / (predicted | true).sum((2, 3)).clamp(min=1)
    chosen = iou[:, 1:].gather(1, predicted_iou[:, 1:].argmax(dim=1, keepdim=True))
    return {"mask": mask, "iou_error": F.mse_loss(predicted_iou, iou), "iou": chosen.mean()}


def resize_positions(name: str, values: Tensor) -> Tensor:
    """Resize a tensor of a SAM trained at another image size for :data:`SPEC`.

    Only position embeddings depend on the image size; they are interpolated. Other tensors are
    returned unchanged.

    :param name: of the tensor in the state dict.
    """
    grid = SPEC.image_size // SPEC.patch_size
    if name == "image_encoder.pos_embed":
        chw = values.permute(0, 3, 1, 2)
        resized = F.interpolate(chw, (grid, grid), mode="bicubic", align_corners=False)
        return resized.permute(0, 2, 3, 1)
    global_blocks = (f"image_encoder.blocks.{index}.attn" for index in SPEC.global_attn_indexes)
    if "rel_pos" in name and name.startswith(tuple(global_blocks)):
        offsets = 2 * grid - 1
        return F.interpolate(values.T[None], offsets, mode="linear", align_corners=False)[0].T
    return values
