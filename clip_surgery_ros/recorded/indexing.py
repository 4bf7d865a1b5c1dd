"""Indexes bags: plans what is not indexed yet, computes features, and makes the index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

from clip_surgery_ros.networks.factory import network_files, profiles_of
from clip_surgery_ros.networks.same_kernels import load_with_same_kernels
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.recorded.features import (
    ITEMS,
    LOCAL_TOKENS,
    features_file,
    index_item,
    read_features,
)
from clip_surgery_ros.recorded.index import (
    IndexedBag,
    Manifest,
    build,
    check_networks,
    read_manifest,
)
from clip_surgery_ros.recorded.plan import Item, Plan, plan_items, unused_name
from clip_surgery_ros.weights.files import check_file, sha256

_PARAMETERS = (
    *("clip_model", "clip_input_size", "attention", "recipe", "clip_windows", "precision"),
    *("templates", "distractors"),
)
"""Parameters that features and presence levels depend on."""


def networks_of(config: Config) -> dict[str, Any]:
    """Return what features depend on, as JSON has it: weights, what was fitted, parameters.

    :raises WeightsError: when a weight file is missing.
    """
    clip, _ = network_files(config)
    check_file(clip)
    values = {name: asdict(config)[name] for name in _PARAMETERS}
    return {
        **{name: list(each) if isinstance(each, tuple) else each for name, each in values.items()},
        "local_tokens": LOCAL_TOKENS,
        "weights": [sha256(clip)],
        "profiles": [_digest(profile.values) for profile in profiles_of(config)],
    }


def _digest(values: Any) -> str:
    """Return a checksum: as JSON, NaN would not equal itself."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def plan_index(
    bags: Sequence[Path], topic: str | None, every_s: float, config: Config, folder: Path
) -> Plan:
    """Plan the work. Parameters and errors are those of ``make_plan``.

    :param folder: of the index.
    :raises ConfigError: when the folder has an index of other networks.
    """
    networks, manifest = networks_of(config), read_manifest(folder)
    if manifest is not None:
        check_networks(manifest, networks, folder)
    content = {"search": 1, "version": version("clip_surgery_ros"), "networks": networks}
    return plan_items(bags, topic, every_s, content)


def unfinished(plan: Plan, folder: Path) -> list[Item]:
    """Return the items that have no features in the folder."""
    return [item for item in plan.items if not features_file(item.key, folder).exists()]


def index_bags(
    plan: Plan, config: Config, folder: Path, on_frame: Callable[[], None] = lambda: None
) -> Manifest:
    """Compute features that are missing, and make the index of them and of its bags so far.

    A bag that the index has already is replaced, also when it lies elsewhere now. A bag gets a
    number behind its name when another one of the index has the same.

    Features of a finished item are in its file at once, so that a run that was killed goes on with
    the next item.

    :param on_frame: called after each image.
    """
    (folder / ITEMS).mkdir(parents=True, exist_ok=True)
    items = unfinished(plan, folder)
    if items:
        networks = load_with_same_kernels(config)
        for item in items:
            index_item(item, networks, folder, on_frame)
    manifest = read_manifest(folder) or Manifest(networks_of(config))
    new = [_indexed(list(group)) for _, group in groupby(plan.items, key=lambda item: item.bag)]
    places, contents = {(bag.path, bag.topic) for bag in new}, {bag.items for bag in new}
    bags = [
        bag
        for bag in manifest.bags
        if (bag.path, bag.topic) not in places and bag.items not in contents
    ]
    for bag in new:
        bags.append(replace(bag, name=unused_name(bag.name, [other.name for other in bags])))
    return build(folder, replace(manifest, bags=tuple(bags)))


def skipped_images(plan: Plan, folder: Path) -> list[tuple[str, int, str]]:
    """Return bag, log time and reason of each image of a plan that could not be read."""
    return [
        (item.bag, time, reason)
        for item in plan.items
        for time, reason in read_features(features_file(item.key, folder)).skipped
    ]


def _indexed(items: Sequence[Item]) -> IndexedBag:
    """Return a bag of an index from its items."""
    first = items[0]
    return IndexedBag(
        first.bag,
        str(first.part.bag.resolve()),
        first.topic,
        tuple(item.key for item in items),
        tuple(str(item.part.file.resolve()) for item in items),
    )
