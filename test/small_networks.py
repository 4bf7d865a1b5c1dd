"""Random networks of the real architectures, small enough for tests."""

from __future__ import annotations

import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from segment_anything.modeling import Sam

from clip_surgery_ros.networks.sam.build import SamSpec, build_sam

PATCH = 16


def small_clip(layers: int = 8, resnet: bool = False) -> CLIP:
    torch.manual_seed(0)
    vision = (
        CLIPVisionCfg(layers=(1, 1, 1, 1), width=16, image_size=64)
        if resnet
        else CLIPVisionCfg(layers=layers, width=64, head_width=32, patch_size=PATCH, image_size=64)
    )
    text = CLIPTextCfg(context_length=77, vocab_size=49408, width=64, heads=1, layers=1)
    return CLIP(32, vision, text, quick_gelu=True).eval()


SMALL = SamSpec(
    image_size=64,
    patch_size=16,
    encoder_dim=32,
    encoder_depth=2,
    encoder_heads=2,
    global_attn_indexes=(1,),
    window_size=2,
    prompt_dim=32,
    decoder_heads=2,
    mlp_dim=32,
)


def small_sam() -> Sam:
    torch.manual_seed(0)
    sam = build_sam(SMALL)
    for parameter in sam.parameters():  # like trained weights: none is exactly zero
        parameter.data += 0.1 * torch.randn_like(parameter)
    return sam.eval()
