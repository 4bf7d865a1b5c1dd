"""Published networks: list them, fetch one, verify what is there, tell where it is."""

from __future__ import annotations

import argparse
import sys

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.weights.catalogue import CLIP, PUBLISHED, Published, published, suggestion
from clip_surgery_ros.weights.fetching import fetch, found, home, in_place, place, problem


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
        print(in_place(models[0]))
        return 0
    return _verify(models)


def _fetch(models: list[Published], mirror: str) -> int:
    if mirror and len(models) > 1:
        raise ConfigError("--mirror is the address of one file; fetch one network at a time")
    for model in models:
        print(f"{model.name}: licence {model.licence}", file=sys.stderr)
        print(fetch(model, mirror))
    return 0


def _verify(models: list[Published]) -> int:
    there = models or [one for one in PUBLISHED if found(one)]
    if not there:
        print(f"no weights are in place in {home()}")
    wrong = 0
    for model in there:
        complaint = problem(model)
        wrong += bool(complaint)
        told = f"{complaint}; delete {found(model)} and fetch it again" if complaint else "right"
        print(f"{model.name}: {told}")
    return 1 if wrong else 0


def _known(name: str) -> Published:
    model = published(name)
    if model is None:
        raise ConfigError(
            f"there is no network '{name}'; `clip_surgery weights list` has the names"
            f"{suggestion(name)}"
        )
    return model


def _whereabouts(model: Published) -> str:
    path = found(model)
    if path is None:
        return ""
    return "yes" if path == place(model) else "Hugging Face's cache"


def table() -> str:
    """Every network in Markdown."""
    rows = [
        "| name | for | input | parameters | float32 | licence | SHA-256 | good for | in place |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in PUBLISHED:
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
