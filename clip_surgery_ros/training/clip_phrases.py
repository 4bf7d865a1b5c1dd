"""The texts of a training step of the CLIP, and which are true of each window and token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clip_surgery_ros.core.templates import TEMPLATES
from clip_surgery_ros.training.clip_model import Vocabulary
from clip_surgery_ros.training.windows import MIXED, ROOM, Window
from clip_surgery_ros.world.colours import COLOURS, FINISHES
from clip_surgery_ros.world.frame import NamedObject
from clip_surgery_ros.world.objects import NAMES
from clip_surgery_ros.world.words import (
    FINISH_WORDS,
    article,
    caption,
    phrase,
    random_form,
)

IGNORED = -100
"""Target of a token that the loss ignores, torch's default."""
COLOURED_NAMES = 10
"""Names of a step that are asked in all colours: with 18, texts take as long as pictures of 64
pixels."""
FINISHED_NAMES = 6
"""Pairs of name and colour of a step that are asked in all finishes."""
UNKNOWN_TEXTS = 8
"""Texts of unknown words in every step; they are absent from every window."""
COLOUR_NAMES = tuple(COLOURS)


@dataclass(frozen=True)
class Phrases:
    """What is asked of a batch of B windows with N tokens each.

    Texts come in this order: the K names, P coloured names in groups of all colours, F finished
    ones in groups of all finishes, the colours by themselves, the unknown words.

    :param texts: T texts.
    :param present: (B, T) 1 there, 0 not there, NaN neither.
    :param name_targets: (B, N) which name a token shows, K for the room.
    :param joint_targets: (B, N) which of K + P names and coloured names and the room (last).
    :param joint_left_out: (K,) names that the joint choice leaves out: those asked in colours.
    :param finish_targets: (B, N, F groups) finish of a token that shows the group's object.
    :param colour_targets: (B, N) colour of a token.
    :param counts: (names, coloured names, finished names).
    """

    texts: tuple[str, ...]
    present: Tensor
    name_targets: Tensor
    joint_targets: Tensor
    joint_left_out: Tensor
    finish_targets: Tensor
    colour_targets: Tensor
    counts: tuple[int, int, int]

    def to(self, device: torch.device) -> Phrases:
        """Return the phrases with their tensors on a device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors: dict[str, Any] = {
            name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors)


Label = tuple[str, str, str]
"""Name, colour and finish; the last two may be empty."""


def ask(windows: Sequence[Window], vocabulary: Vocabulary, rng: np.random.Generator) -> Phrases:
    """Choose the texts of a step and find their truth."""
    coloured = _coloured_names(windows, rng)
    finished = _finished_names(windows, rng)
    labels: list[Label] = [(name, "", "") for name in NAMES]
    labels += [(name, colour, "") for name in coloured for colour in COLOUR_NAMES]
    labels += [(name, colour, finish) for name, colour in finished for finish in FINISHES]
    texts = [_text(label, rng) for label in labels]
    texts += [_in_template(f"{colour} thing", rng) for colour in COLOUR_NAMES]
    texts += [_in_template(text, rng) for text in vocabulary.unknown_texts(rng, UNKNOWN_TEXTS)]
    joint = _JointTargets(coloured)
    finishes = [_token_targets(windows, partial(_finish, group=group)) for group in finished]
    return Phrases(
        tuple(texts),
        _presence(windows, labels, len(texts)),
        _token_targets(windows, lambda item: NAMES.index(item.name), len(NAMES)),
        _token_targets(windows, joint.target, joint.room),
        joint.left_out,
        torch.stack(finishes, dim=-1),
        _token_targets(windows, _colour),
        (len(NAMES), len(coloured) * len(COLOUR_NAMES), len(finished) * len(FINISHES)),
    )


class _JointTargets:
    """Targets among all names and, of some names, all colours.

    :param coloured: names that are asked in all colours.
    """

    def __init__(self, coloured: Sequence[str]) -> None:
        self._groups = {
            name: len(NAMES) + k * len(COLOUR_NAMES) for k, name in enumerate(coloured)
        }
        self.room = len(NAMES) + len(coloured) * len(COLOUR_NAMES)
        self.left_out = torch.tensor([name in self._groups for name in NAMES])

    def target(self, item: NamedObject) -> int:
        """Return the target of tokens that show an object."""
        if item.name not in self._groups:
            return NAMES.index(item.name)
        if not item.colour:
            return IGNORED
        return self._groups[item.name] + COLOUR_NAMES.index(item.colour)


def _colour(item: NamedObject) -> int:
    return COLOUR_NAMES.index(item.colour) if item.colour else IGNORED


def _finish(item: NamedObject, group: tuple[str, str]) -> int:
    """Return the finish of an object of a group, else :data:`IGNORED`."""
    in_group = (item.name, item.colour) == group and item.finish
    return FINISHES.index(item.finish) if in_group else IGNORED


def _presence(windows: Sequence[Window], labels: Sequence[Label], count: int) -> Tensor:
    """Return (B, T) which texts are true of which window; the colours come after the labels."""
    by_label: dict[Label, list[int]] = {}
    for index, label in enumerate(labels):
        by_label.setdefault(label, []).append(index)
    present = torch.zeros(len(windows), count)
    for row, window in enumerate(windows):
        _mark(present[row], window, by_label, len(labels))
    return present


def _mark(
    present: Tensor,
    window: Window,
    by_label: dict[Label, list[int]],
    colours_begin: int,
) -> None:
    """Set the truth of one window: what is there counts before what is hardly there."""
    order = sorted(range(len(window.objects)), key=lambda k: window.there[k])
    for k in order:
        item, value = window.objects[k], 1.0 if window.there[k] else float("nan")
        for label in (
            (item.name, "", ""),
            (item.name, item.colour, ""),
            (item.name, item.colour, item.finish),
        ):
            for index in by_label.get(label, ()):
                present[index] = value
        if item.colour:
            present[colours_begin + COLOUR_NAMES.index(item.colour)] = value


def _token_targets(
    windows: Sequence[Window], target: Callable[[NamedObject], int], room: int = IGNORED
) -> Tensor:
    """Return the target of each token, (B, N).

    :param target: of tokens that show an object.
    :param room: of tokens that show the room.
    """
    rows = []
    for window in windows:
        table = np.array([*map(target, window.objects), IGNORED, room], np.int64)
        owners = window.owners
        rows.append(table[np.where(owners == ROOM, -1, np.where(owners == MIXED, -2, owners))])
    return torch.from_numpy(np.stack(rows))


def _coloured_names(windows: Sequence[Window], rng: np.random.Generator) -> list[str]:
    """Draw names that are in the batch in some colour."""
    names = sorted({item.name for w in windows for item in w.objects if item.colour})
    return [names[i] for i in rng.permutation(len(names))[:COLOURED_NAMES]]


def _finished_names(windows: Sequence[Window], rng: np.random.Generator) -> list[tuple[str, str]]:
    """Draw pairs of name and colour that are in the batch in some finish."""
    pairs = sorted(
        {(item.name, item.colour) for w in windows for item in w.objects if item.finish}
    )
    return [pairs[i] for i in rng.permutation(len(pairs))[:FINISHED_NAMES]]


def _text(label: Label, rng: np.random.Generator) -> str:
    name, colour, finish = label
    word = str(rng.choice(FINISH_WORDS[finish])) if finish else ""
    return _in_template(phrase(random_form(name, rng), colour, word), rng)


def _in_template(words: str, rng: np.random.Generator) -> str:
    """Return words as captions have them, or in a random template, or by themselves."""
    kind = rng.random()
    if kind < 0.25:
        return f"a photo of {article(words)} {words}"
    return TEMPLATES[int(rng.integers(len(TEMPLATES)))].format(words) if kind < 0.95 else words


def window_caption(window: Window, rng: np.random.Generator, coloured: float = 0.85) -> str:
    """Return a sentence about what is there: with counts, finishes in 40 %, and colours.

    :param coloured: probability of colours.
    """
    with_colour, with_finish = rng.random(2) < (coloured, 0.4)
    counted: dict[tuple[str, str], int] = {}
    for k in rng.permutation(len(window.objects)):
        item = window.objects[k]
        if not window.there[k]:
            continue
        finish = str(rng.choice(FINISH_WORDS[item.finish])) if item.finish and with_finish else ""
        words = phrase(item.name, item.colour if with_colour else "", finish)
        counted[words, item.name] = counted.get((words, item.name), 0) + 1
    kept = list(counted.items())[:6]
    if not kept:
        return "a photo of no thing"
    return caption(
        [words for (words, _), _ in kept], [n for _, n in kept], [name for (_, name), _ in kept]
    )
