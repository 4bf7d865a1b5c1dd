"""The study of transfer: what is fitted on some networks, used on others that differ from them.

``docs/transfer.md`` says what it showed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.presence import (
    DISTRACTOR_DEVIATIONS,
    UNFITTED,
    PresenceLevel,
    deviations,
    evidence,
)
from clip_surgery_ros.core.query import query_of_names
from clip_surgery_ros.core.recipes import RECIPES
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.core.windows import encode_image
from clip_surgery_ros.evaluation.examples import Example
from clip_surgery_ros.evaluation.metrics import MATCH_IOU, auroc
from clip_surgery_ros.evaluation.outcome import Outcome, outcome_of
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.sam.backend import SamBackend
from clip_surgery_ros.networks.sam.caching_segmenter import CachingSegmenter
from clip_surgery_ros.training.transfer_clips import CLIPS, KeptWindows, keep_windows, train
from clip_surgery_ros.training.transfer_pictures import pictures
from clip_surgery_ros.training.world_views import Views, render_scenes
from clip_surgery_ros.weights.files import demo_weights

NAMES = (
    *("mug", "bowl", "bottle", "book", "banana", "spoon", "scissors", "ball", "teapot", "toy car"),
    *("traffic cone", "hat", "donut", "wine glass", "screwdriver", "padlock", "light bulb"),
    *("frying pan", "basket", "keyboard"),
)
"""What the scenes are made of: with all names of the world, ten minutes teach nothing."""
SCENES = 264
"""Of the training: five minutes of two cores."""
WINDOWS = 16_000
WANTED_FALSE_ALARMS = 0.03
"""Share of absent labels at which levels are compared."""
ASKED = 10
"""Absent labels of a picture that holds nothing asked."""
DEMO = "demo"
METHODS: Mapping[str, Settings] = {
    "published recipe": Settings(recipe=RECIPES["reference"]),
    "demo's ranking": Settings(recipe=RECIPES["instances"]),
    "nothing fitted": Settings(recipe=RECIPES["instances"], ranking=None),
}
"""Ways from maps to masks that are compared."""
LEVELS: Mapping[str, PresenceLevel] = {"CLS": PresenceLevel(), "CLS and tokens": UNFITTED}
"""Evidence of presence that is compared; each picture's own distractors give the level."""


def make(folder: Path, processes: int) -> None:
    """Render the views and train the CLIPs; what is there is kept."""
    views = folder / "views"
    for split, scenes in (("development", 60), ("held_out", 60), ("train", SCENES)):
        render_scenes(views, split, scenes, processes, names=NAMES)
    if not (folder / "windows.json").exists():
        keep_windows(Views(views, "train", SCENES), folder, WINDOWS)
    for name, clip in CLIPS.items():
        if not _file(folder, name).exists():
            train(clip, KeptWindows(folder), _file(folder, name))


def _file(folder: Path, name: str) -> Path:
    return demo_weights("clip_demo") if name == DEMO else folder / f"{name}.safetensors"


def names_of_clips(folder: Path) -> list[str]:
    """Return the CLIPs that a folder has, and the demo's.

    :raises WeightsError: it has none.
    """
    found = [name for name in CLIPS if _file(folder, name).exists()]
    if not found:
        raise WeightsError(f"{folder} has none of the CLIPs {', '.join(CLIPS)}; make them first")
    return [DEMO, *found]


def examples(folder: Path, name: str, split: str, count: int) -> Iterator[Example]:
    """Yield the pictures that a CLIP is fitted (``fit``) or measured (``measure``) on.

    They are of scenes of the training, except for the demo's CLIP, which never saw these scenes:
    after minutes of training, a CLIP knows little of others, and published CLIPs are used on
    pictures like those that they were trained on.
    """
    if name == DEMO:
        scenes = {"fit": "development", "measure": "held_out"}[split]
        return pictures(Views(folder / "views", scenes), NAMES, count)
    first = 0 if split == "fit" else count
    return pictures(Views(folder / "views", "train", SCENES), NAMES, count, first)


@dataclass(frozen=True)
class Presence:
    """How much more than the level's median labels are there, in robust standard deviations.

    :param there: (P,) of labels that are in the pictures.
    :param absent: (pictures) of those that are not.
    """

    there: NDArray[np.float64]
    absent: tuple[NDArray[np.float64], ...]

    @property
    def all_absent(self) -> NDArray[np.float64]:
        """Of all absent labels, (A,)."""
        return np.concatenate(self.absent)

    def level(self) -> float:
        """Return the level at which :data:`WANTED_FALSE_ALARMS` of absent labels are claimed."""
        return float(np.quantile(self.all_absent, 1 - WANTED_FALSE_ALARMS))

    def figures(self, level: float) -> tuple[float, float, float]:
        """Return the share of labels found, of absent ones claimed, and of pictures with a claim
        when :data:`ASKED` absent labels are asked.
        """
        claims = [bool((each[:ASKED] > level).any()) for each in self.absent if len(each) >= ASKED]
        found, claimed = self.there > level, self.all_absent > level
        return float(found.mean()), float(claimed.mean()), float(np.mean(claims))


def presence_of(
    clip: ClipBackend,
    shown: Sequence[Example],
    kind: PresenceLevel,
    names: Sequence[str] = NAMES,
) -> Presence:
    """Measure a kind of evidence, without windows.

    :param names: all that are asked of any picture; they are the distractors too.
    """
    texts = clip.text_features(names)
    rng, there, absent = np.random.default_rng(0), [], []
    for example in shown:
        tokens, _ = encode_image(clip, clip.surgery_tokens, example.image, windows=False)
        values = deviations(evidence(tokens[0], texts, kind)).double().numpy()
        there.append(values[[names.index(name) for name in example.present]])
        absent.append(rng.permutation(values[[names.index(name) for name in example.absent]]))
    return Presence(np.concatenate(there), tuple(absent))


def print_presence(folder: Path, count: int) -> None:
    """Print how levels of presence transfer: found / claimed / pictures with a claim."""
    names = names_of_clips(folder)
    for title, kind in LEVELS.items():
        fits, measured = {}, {}
        for name in tqdm(names, desc=title):
            clip = ClipBackend.from_file(_file(folder, name))
            fits[name], measured[name] = (
                presence_of(clip, [*examples(folder, name, split, count)], kind)
                for split in ("fit", "measure")
            )
        print(f"presence by {title}: AUROC; own level, that of the others, the default")
        for name in names:
            own = fits[name].level()
            others = float(np.mean([fits[other].level() for other in names if other != name]))
            shown = measured[name]
            rows = [
                f"{level:.2f}: " + " / ".join(f"{value:.2f}" for value in shown.figures(level))
                for level in (own, others, DISTRACTOR_DEVIATIONS)
            ]
            value = auroc(shown.there.tolist(), shown.all_absent.tolist())
            print(f"| {name} | {value:.2f} | {' | '.join(rows)} |")


def print_masks(folder: Path, sam: Path, count: int) -> None:
    """Print what each method finds of labels that are there, by CLIP and windows."""
    segmenter = CachingSegmenter(SamBackend.from_file(sam))
    print(f"masks of {sam.stem}: IoU per object, objects found, masks right, first mask right")
    for name in names_of_clips(folder):
        clip = ClipBackend.from_file(_file(folder, name))
        shown = [*examples(folder, name, "measure", count)]
        for windows in (False, True):
            outcomes = masks_of(clip, segmenter, shown, windows)
            cells = [" / ".join(f"{x:.2f}" for x in figures(each)) for each in outcomes.values()]
            print(f"| {name}{', windows' if windows else ''} | {' | '.join(cells)} |")


def masks_of(
    clip: ClipBackend, segmenter: CachingSegmenter, shown: Sequence[Example], windows: bool
) -> dict[str, list[Outcome]]:
    """Return what each of :data:`METHODS` finds when the labels that are there are asked."""
    settings = {
        name: replace(each, presence_threshold=0.0, distractor_names=NAMES, windows=windows)
        for name, each in METHODS.items()
    }
    pipelines = {name: Pipeline(clip, segmenter, each) for name, each in settings.items()}
    outcomes: dict[str, list[Outcome]] = {name: [] for name in METHODS}
    for example in tqdm([each for each in shown if each.present]):
        asked = replace(example, absent=())
        for name, pipeline in pipelines.items():
            result = pipeline.run(asked.image, query_of_names(asked.queried))
            outcomes[name].append(outcome_of(asked, result))
    return outcomes


def figures(outcomes: Sequence[Outcome]) -> tuple[float, float, float, float]:
    """Return IoU per object, and the shares of objects found, of masks right, of first masks
    right.
    """
    ious = np.array([*chain.from_iterable(each.instance_ious for each in outcomes)])
    right = [*chain.from_iterable(each.true_positives for each in outcomes)]
    first = [*chain.from_iterable(each.first_right for each in outcomes)]
    found = float((ious >= MATCH_IOU).mean())
    return float(ious.mean()), found, float(np.mean(right)), float(np.mean(first))


def measure(folder: Path, sams: Sequence[Path], count: int, threads: int) -> None:
    """Print all tables.

    :param sams: files of SAMs in the demo's layout.
    """
    torch.set_num_threads(threads)
    print_presence(folder, count)
    for sam in sams:
        print_masks(folder, sam, count)
