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

COLUMNS = (
    *("name", "for", "input", "parameters", "float32"),
    *("licence", "SHA-256", "good for", "downloaded"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``weights list``, ``fetch NAME``, ``verify`` and ``path NAME``."""
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="list every network, and which are downloaded")
    fetching = actions.add_parser("fetch", help="download networks that are missing here")
    fetching.add_argument("names", nargs="+", metavar="NAME", help="a name from `weights list`")
    fetching.add_argument("--mirror", default="", help="fetch the file from this address instead")
    verifying = actions.add_parser("verify", help="compare the checksums of downloaded files")
    verifying.add_argument(
        "names", nargs="*", metavar="NAME", help="default: all that are downloaded"
    )
    locating = actions.add_parser("path", help="print the path of a network's file")
    locating.add_argument("names", nargs=1, metavar="NAME")


def run(arguments: argparse.Namespace) -> int:
    """Run the action. The exit status is 1 if ``verify`` finds a wrong file."""
    if arguments.action == "list":
        print(table())
        return 0
    models = [_network_of_name(name) for name in arguments.names]
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
    models = models or [model for model in PRETRAINED if find_weights(model)]
    if not models:
        print(f"no weights are downloaded in {weights_folder()}")
    status = 0
    for model in models:
        if problem := checksum_problem(model):
            status = 1
            print(f"{model.name}: {problem}; delete {find_weights(model)} and fetch it again")
        else:
            print(f"{model.name}: checksum correct")
    return status


def _network_of_name(name: str) -> PretrainedNetwork:
    model = find_pretrained(name)
    if model is None:
        raise ConfigError(
            f"there is no network '{name}'; `clip_surgery weights list` has the names"
            f"{suggestion(name)}"
        )
    return model


def _downloaded(model: PretrainedNetwork) -> str:
    """Return the table's cell: whether the network is downloaded, and by whom."""
    path = find_weights(model)
    if path is None:
        return ""
    return "yes" if path == download_path(model) else "Hugging Face's cache"


def table() -> str:
    """Return the table of all networks in Markdown."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *map(_cells, PRETRAINED)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _cells(model: PretrainedNetwork) -> tuple[str, ...]:
    return (
        model.name,
        "clip_model" if model.kind == CLIP else "sam_model",
        str(model.input_size),
        f"{model.parameters:g} M",
        f"{model.memory_mb:.0f} MB",
        model.licence,
        model.sha256[:8] or "not published",
        model.good_for,
        _downloaded(model),
    )
