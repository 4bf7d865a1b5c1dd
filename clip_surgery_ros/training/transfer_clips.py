"""Train small CLIPs that differ as published ones do, for the study of transfer.

They are trained by the contrastive loss of CLIP's paper alone: no mask is used. Windows are cut
once and shared by all networks, so that a network takes ten minutes of two CPU cores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from clip_surgery_ros.core.templates import TEMPLATES
from clip_surgery_ros.networks.clip.vocabulary_table import (
    TABLE,
    VOCABULARY_SIZE,
    without_unused_tokens,
)
from clip_surgery_ros.training import exported
from clip_surgery_ros.training.clip_model import (
    CONTEXT,
    EMBED,
    HEAD_WIDTH,
    TEXT_LAYERS,
    TEXT_WIDTH,
    WIDTH,
    Vocabulary,
    encode_texts,
    resize_positions,
)
from clip_surgery_ros.training.clip_phrases import window_caption
from clip_surgery_ros.training.optimization import build_optimizers, set_rate, update
from clip_surgery_ros.training.windows import Window, choose_window, cut, normalize
from clip_surgery_ros.training.world_views import Views
from clip_surgery_ros.weights.files import demo_weights
from clip_surgery_ros.world.frame import NamedObject

WINDOW_SIDE = 128
"""Side of the windows that are kept, pixels: the largest input of a network."""
TIGHT = 0.7
"""Probability that a window is close to one object: a whole view has ten, too many to learn
from first."""
BATCH = 64
COLOURED = 0.25
"""Probability that a caption tells colours: with them in all, colours alone tell most windows of
a batch apart, and no shape is learnt."""
MOST_NAMED = 3
"""Objects that a caption names: people name a few of what they see, and long texts cost time."""
RATE = 2e-3
DECAY = 0.4
"""Share of the steps in which the learning rate falls to 0."""
WARMUP = 60
"""Steps in which it rises."""


@dataclass(frozen=True)
class TransferClip:
    """A network of the study.

    :param vision: of ``open_clip.model.CLIPVisionCfg``.
    :param steps: of the training.
    :param seed: of weights and batches.
    :param kept: first blocks that begin with the demo's weights; they save most of the training.
        All others, and the projection, begin with random weights.
    :param own_texts: whether its text tower begins with random weights; else with the demo's.
    """

    vision: Mapping[str, Any]
    steps: int
    seed: int
    kept: int = 0
    own_texts: bool = False

    @property
    def side(self) -> int:
        """Side of its pictures, pixels."""
        return int(self.vision["image_size"])

    def build(self, vocabulary: Vocabulary) -> CLIP:
        """Return the network as its training begins."""
        vision = CLIPVisionCfg(**self.vision)
        text = CLIPTextCfg(
            CONTEXT,
            len(vocabulary),
            width=TEXT_WIDTH,
            heads=TEXT_WIDTH // HEAD_WIDTH,
            layers=TEXT_LAYERS,
        )
        model = CLIP(EMBED, vision, text, quick_gelu=True)
        demo = exported.read_clip(demo_weights("clip_demo"), vocabulary)["model"]
        beginning = {name: x for name, x in demo.items() if self._begins_with(name)}
        own = model.state_dict()
        beginning = {name: _resampled(name, x, own[name].shape) for name, x in beginning.items()}
        model.load_state_dict({**own, **beginning})
        return model

    def _begins_with(self, name: str) -> bool:
        """Return whether a tensor begins with the demo's weights."""
        if not name.startswith("visual."):
            return not self.own_texts and name != "logit_scale"
        block = name.removeprefix("visual.transformer.resblocks.")
        if block != name:
            return int(block.split(".")[0]) < self.kept
        return self.kept > 0 and not name.startswith(("visual.proj", "visual.ln_post"))


def _resampled(name: str, values: Tensor, shape: torch.Size) -> Tensor:
    """Return weights of another patch or grid at the size of a network's own."""
    if values.shape == shape:
        return values
    if name == "visual.positional_embedding":
        return resize_positions(values, shape[0])
    scaled = F.interpolate(values, shape[2:], mode="bilinear", align_corners=False)
    return scaled * values[0, 0].numel() / (shape[2] * shape[3])


def _vit(layers: int, patch: int, side: int) -> Mapping[str, Any]:
    sizes = {"layers": layers, "width": WIDTH, "patch_size": patch, "image_size": side}
    return {**sizes, "head_width": HEAD_WIDTH}


CLIPS: Mapping[str, TransferClip] = {
    "plain": TransferClip(_vit(6, 8, 72), steps=600, seed=1, kept=3),
    "small": TransferClip(_vit(4, 8, 64), steps=450, seed=2, kept=2, own_texts=True),
    "coarse": TransferClip(_vit(5, 16, 112), steps=450, seed=3, kept=3),
    "resnet": TransferClip(
        {"layers": (1, 1, 1, 1), "width": 16, "image_size": 128}, steps=1000, seed=4
    ),
}
"""A ViT; a smaller one with smaller pictures and texts of its own; one with patches twice as
large; a ModifiedResNet."""


class KeptWindows:
    """Windows that were cut once.

    :param folder: with ``windows.npy``, (N, S, S, 3) uint8, and ``windows.json``, their objects.
    """

    def __init__(self, folder: Path) -> None:
        self.images = np.load(folder / "windows.npy", mmap_mode="r")
        objects = json.loads((folder / "windows.json").read_text())
        self._objects = [
            (tuple(NamedObject(**item) for item, _ in each), tuple(there for _, there in each))
            for each in objects
        ]

    def batch(
        self, count: int, side: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], list[str]]:
        """Return (B, side, side, 3) pictures and their captions."""
        chosen = rng.integers(len(self.images), size=count)
        images = [_jittered(self.images[k], side, rng) for k in chosen]
        return np.stack(images), [self._caption(int(k), rng) for k in chosen]

    def _caption(self, index: int, rng: np.random.Generator) -> str:
        objects, there = self._objects[index]
        named = rng.permutation(np.flatnonzero(there))[:MOST_NAMED]
        shown = tuple(objects[k] for k in named)
        none = np.zeros(0, np.int64)
        window = Window(self.images[index], none, shown, (True,) * len(shown))
        words = window_caption(window, rng, COLOURED)
        listed = words.removeprefix("a photo of ")
        if rng.random() < 0.5:
            return TEMPLATES[int(rng.integers(len(TEMPLATES)))].format(listed)
        return words


def _jittered(image: NDArray[np.uint8], side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a window with up to a tenth of its sides cut off, at another size, or mirrored."""
    left, top, right, bottom = rng.integers(0, WINDOW_SIDE // 10, 4)
    part = image[top : WINDOW_SIDE - bottom, left : WINDOW_SIDE - right]
    resized = cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(resized[:, :: rng.choice((-1, 1))])


def keep_windows(views: Views, folder: Path, count: int, seed: int = 0) -> None:
    """Cut windows and write them, for :class:`KeptWindows`."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, WINDOW_SIDE, WINDOW_SIDE, 3), np.uint8)
    objects = []
    per_view = -(-count // len(views))
    for index in tqdm(range(count), unit="window"):
        if index % per_view == 0:
            view = views.read(index // per_view)
        part = choose_window(view.ids, rng, tight=bool(rng.random() < TIGHT))
        window = cut(view, part, WINDOW_SIDE, mirrored=False)
        images[index] = window.rgb
        pairs = zip(window.objects, window.there, strict=True)
        objects.append([(asdict(item), there) for item, there in pairs])
    np.save(folder / "windows.npy", images)
    (folder / "windows.json").write_text(json.dumps(objects))


def train(clip: TransferClip, windows: KeptWindows, out: Path, bfloat16: bool = False) -> None:
    """Train a network and write it in OpenAI's layout.

    Its file has no presence levels and no list of names: for the node, it is an unseen network.

    :param bfloat16: compute matrix products in bfloat16, for processors with instructions for it.
    """
    torch.manual_seed(clip.seed)
    vocabulary = Vocabulary()
    model = clip.build(vocabulary)
    matrices = [x for n, x in model.named_parameters() if "resblocks" in n and x.ndim == 2]
    taken = set(map(id, matrices))
    others = [x for x in model.parameters() if id(x) not in taken]
    optimizers = build_optimizers(matrices, others, RATE, weight_decay=0.05)
    rng = np.random.default_rng(clip.seed)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=bfloat16)
    progress = tqdm(range(clip.steps))
    for step in progress:
        set_rate(optimizers, RATE * _rate(step, clip.steps))
        images, captions = windows.batch(BATCH, clip.side, rng)
        pixels = normalize(relit(torch.from_numpy(images), rng))
        # torch's fused attention takes three times as long backwards on a CPU.
        with autocast, sdpa_kernel(SDPBackend.MATH):
            loss = contrastive_loss(model, pixels, vocabulary.tokens(captions))
        update(optimizers, loss, model, max_norm=5.0)
        if step % 20 == 0:
            progress.set_postfix(loss=f"{loss.item():.2f}")
    export(model.eval(), vocabulary, out)


def contrastive_loss(model: CLIP, pixels: Tensor, tokens: tuple[Tensor, Tensor]) -> Tensor:
    """Return the CLIP paper's loss between (B, 3, S, S) pictures and B captions."""
    images = F.normalize(model.visual(pixels).float(), dim=-1)
    texts = encode_texts(model, *tokens).float()
    scale = model.logit_scale.exp().clamp(max=100)
    logits = scale * (images @ texts.T).float()  # (B, B)
    pairs = torch.arange(len(logits))
    return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2


def relit(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Return (B, H, W, 3) uint8 pictures in other light, with a small cast."""
    gain = np.exp(rng.normal(0, 0.15, (len(images), 1, 1, 1)))
    gain = gain * rng.uniform(0.94, 1.06, (len(images), 1, 1, 3))
    return (images * torch.from_numpy(gain.astype(np.float32))).clamp(0, 255).byte()


def _rate(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / WARMUP, (steps - step) / (DECAY * steps))


def export(model: CLIP, vocabulary: Vocabulary, out: Path) -> None:
    """Write a network in float16."""
    state = model.state_dict()
    table = torch.zeros(VOCABULARY_SIZE, state[TABLE].shape[1])
    table[vocabulary.ids] = state[TABLE][1:]
    state[TABLE] = table
    tensors = {
        name: x.half().contiguous() if x.is_floating_point() else x for name, x in state.items()
    }
    save_file(without_unused_tokens(tensors), out, {"head_width": str(HEAD_WIDTH)})
