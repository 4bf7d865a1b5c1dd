"""Random networks of the real architectures, small enough for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from segment_anything.modeling import Sam
from torch import nn

from clip_surgery_ros.networks.sam.build import SamSpec, build_sam, build_with_encoder
from clip_surgery_ros.networks.sam.sam2 import Sam2Image
from clip_surgery_ros.weights.state_dicts import ignore_warnings

PATCH = 16


def small_clip(layers: int = 8, resnet: bool = False, quick_gelu: bool = True) -> CLIP:
    torch.manual_seed(0)
    vision = (
        CLIPVisionCfg(layers=(1, 1, 1, 1), width=16, image_size=64)
        if resnet
        else CLIPVisionCfg(layers=layers, width=64, head_width=32, patch_size=PATCH, image_size=64)
    )
    text = CLIPTextCfg(context_length=77, vocab_size=49408, width=64, heads=1, layers=1)
    return CLIP(32, vision, text, quick_gelu=quick_gelu).eval()


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
    return as_trained(build_sam(SMALL))


def small_mobile_sam() -> Sam:
    """Its grid of 64 x 64 tokens and its last 320 channels are fixed in its package."""
    with ignore_warnings():
        from mobile_sam.modeling.tiny_vit_sam import LayerNorm2d, TinyViT

    torch.manual_seed(0)
    net = TinyViT(
        img_size=1024,
        embed_dims=[4, 8, 16, 320],
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 10],
        window_sizes=[7, 7, 14, 7],
        mlp_ratio=1.0,
        mbconv_expand_ratio=1.0,
        drop_path_rate=0.0,
    )
    width = SMALL.prompt_dim
    net.neck = nn.Sequential(  # as its own, which has 256 channels
        nn.Conv2d(320, width, 1, bias=False),
        LayerNorm2d(width),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        LayerNorm2d(width),
    )
    return as_trained(build_with_encoder(net, replace(SMALL, image_size=1024)))


def small_sam2() -> Sam2Image:
    encoder = "model.image_encoder"
    torch.manual_seed(0)
    with ignore_warnings():
        from sam2.build_sam import build_sam2

        model = build_sam2(
            "configs/sam2.1/sam2.1_hiera_t.yaml",
            device="cpu",
            hydra_overrides_extra=[
                "model.image_size=128",
                f"{encoder}.trunk.embed_dim=8",
                f"{encoder}.trunk.stages=[1,1,2,1]",
                f"{encoder}.trunk.global_att_blocks=[3]",
                f"{encoder}.neck.backbone_channel_list=[64,32,16,8]",
            ],
        )
    return as_trained(Sam2Image(model))


def as_trained(network: Any) -> Any:
    """Return a network for inference none of whose weights is exactly zero."""
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network.eval()
