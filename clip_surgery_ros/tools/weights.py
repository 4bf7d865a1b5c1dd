"""Pretrained networks: list, fetch and verify them, print where one is."""

from __future__ import annotations

import argparse
import sys

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.weights.catalogue import (
    CLIP,
    PRETRAINED,
    PretrainedNetwork,
    find_pretrained,
    suggestion,
)
from clip_surgery_ros.weights.fetching import (
    checksum_problem,
    download_path,
    fetch,
    find_weights,
    weights_folder,
    weights_path,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``weights list``, ``weights fetch NAME``, ``weights verify``, ``weights path NAME``."""
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="every network, and which are in place")
    fetching = actions.add_parser("fetch", help="download networks that are not in place")
    fetching.add_argument("names", nargs="+", metavar="NAME", help="as `weights list` has them")
    fetching.add_argument("--mirror", default="", help="address of the file to fetch instead")
    verifying = actions.add_parser("verify", help="compare checksums of what is in place")
    verifying.add_argument("names", nargs="*", metavar="NAME", help="default: all in place")
    telling = actions.add_parser("path", help="where the file of a network is")
    telling.add_argument("names", nargs=1, metavar="NAME")


def run(arguments: argparse.Namespace) -> int:
    """Exit status 1 when a file is not what it should be."""
    if arguments.action == "list":
        print(table())
        return 0
    models = [_known(name) for name in arguments.names]
    if arguments.action == "fetch":
        return _fetch(models, arguments.mirror)
    if arguments.action == "path":
        print(weights_path(models[0]))
        return 0
    return _verify(models)


def _fetch(models: list[PretrainedNetwork], mirror: str) -> int:
    if mirror and len(models) > 1:
        raise ConfigError("--mirror is the address of one file; fetch one network at a time")
    for model in models:
        print(f"{model.name}: licence {model.licence}", file=sys.stderr)
        print(fetch(model, mirror))
    return 0


def _verify(models: list[PretrainedNetwork]) -> int:
    there = models or [one for one in PRETRAINED if find_weights(one)]
    if not there:
        print(f"no weights are in place in {weights_folder()}")
    wrong = 0
    for model in there:
        complaint = checksum_problem(model)
        wrong += bool(complaint)
        told = (
            f"{complaint}; delete {find_weights(model)} and fetch it again"
            if complaint
            else "right"
        )
        print(f"{model.name}: {told}")
    return 1 if wrong else 0


def _known(name: str) -> PretrainedNetwork:
    model = find_pretrained(name)
    if model is None:
        raise ConfigError(
            f"there is no network '{name}'; `clip_surgery weights list` has the names"
            f"{suggestion(name)}"
        )
    return model


def _whereabouts(model: PretrainedNetwork) -> str:
    path = find_weights(model)
    if path is None:
        return ""
    return "yes" if path == download_path(model) else "Hugging Face's cache"


def table() -> str:
    """Every network in Markdown."""
    rows = [
        "| name | for | input | parameters | float32 | licence | SHA-256 | good for | in place |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in PRETRAINED:
        parameter = "clip_model" if one.kind == CLIP else "sam_model"
        cells = (
            one.name,
            parameter,
            str(one.input_size),
            f"{one.parameters:g} M",
            f"{one.memory_mb:.0f} MB",
            one.licence,
            one.sha256[:8] or "not told",
            one.good_for,
            _whereabouts(one),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)
