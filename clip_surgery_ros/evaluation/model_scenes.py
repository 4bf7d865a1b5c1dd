"""Examples of rendered scenes of a user's own textured models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from clip_surgery_ros.evaluation.examples import Example, sample_absent
from clip_surgery_ros.world.asking import Thing, is_there
from clip_surgery_ros.world.export import frames, users_models
from clip_surgery_ros.world.frame import Frame
from clip_surgery_ros.world.models import Model
from clip_surgery_ros.world.seeds import SPLITS


def model_examples(models: Sequence[Model], split: str, count: int) -> Iterator[Example]:
    """Yield one example of each of the first scenes of a split, rendered as it is asked for.

    The names of what is there are queried, and two of models that are not. What is seen of objects
    that are too small or too hidden to be asked for is ignored.

    :param models: as ``world.models.load_models`` returns them, at least one.
    :param split: ``development`` or ``held_out``.
    :raises WorldError: a scene cannot be made, or a package is missing.
    """
    source = users_models(models)
    first = SPLITS[split].start
    for scene, frame in frames(source, range(first, first + count)):
        yield _example(frame, source.names, scene.seed)


def _example(frame: Frame, names: Sequence[str], seed: int) -> Example:
    side = min(frame.ids.shape)
    things = tuple(map(Thing.of, frame.objects))
    there = [thing for thing in things if is_there(thing, side)]
    hidden = [thing.instance for thing in things if thing not in there]
    return Example.of_objects(
        frame.rgb,
        [thing.name for thing in there],
        [frame.mask(thing.instance) for thing in there],
        sample_absent(names, [thing.name for thing in things], seed),
        np.isin(frame.ids, hidden),
    )
