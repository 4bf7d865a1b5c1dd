"""``evaluate --protocol``: figures by the protocol of a paper, beside the published ones."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.evaluation.published.protocols import (
    DATASETS,
    PAPERS,
    Protocol,
    find_protocol,
)
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.tools.options import config_from_options
from clip_surgery_ros.tools.output import check_output_folder, output_folder

if TYPE_CHECKING:
    from clip_surgery_ros.evaluation.published.datasets import LabelledPictures

_OTHER_MEASUREMENTS = ("sets", "objects", "absent", "space", "scenes", "masks")


def add_protocol_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--protocol NAME`` and ``--paper NAME``."""
    group = parser.add_argument_group("published figures")
    group.add_argument(
        "--protocol",
        choices=tuple(DATASETS),
        metavar="NAME",
        help="measure mIoU by the protocol of a paper beside the published figures, with CLIP "
        f"alone (no SAM): {', '.join(DATASETS)}; --voc names the folder of VOC 2012, or of VOC "
        "2010 for context, --coco that of the masks of COCO-Stuff",
    )
    group.add_argument(
        "--paper",
        choices=tuple(PAPERS),
        help="whose rules (default: the first of these that has rules for the data set)",
    )


def run_protocol(arguments: argparse.Namespace) -> int:
    """Print the figures of a protocol beside the published ones."""
    protocol = find_protocol(arguments.protocol, arguments.paper)
    _check_options(arguments)
    config = _config(protocol, arguments)
    if arguments.output:
        check_output_folder(arguments.output)
    pictures = _pictures(protocol, arguments)
    next(pictures.read())  # an error comes before networks are loaded

    from clip_surgery_ros.evaluation.published.measure import kept_file, measure
    from clip_surgery_ros.evaluation.published.report import ProtocolReport, markdown, write
    from clip_surgery_ros.networks.factory import load_networks, weight_files
    from clip_surgery_ros.weights.fetching import weights_folder
    from clip_surgery_ros.weights.files import sha256

    networks = load_networks(config)
    some = replace(pictures, files=pictures.files[: arguments.count])
    checksums = [sha256(file) for file in weight_files(config)]
    kept = kept_file(weights_folder() / "evaluations", networks, checksums, protocol, some)
    report = ProtocolReport(
        protocol,
        measure(networks.clip, protocol, some, kept),
        pictures=len(some),
        all_pictures=len(pictures),
        network=networks.sources.split("; ")[0],
        attention=config.attention,
        precision=networks.precision,
        input_size=networks.clip.input_size,
    )
    print(markdown(report))
    if arguments.output:
        with output_folder(arguments.output) as unfinished:
            written = write(report, unfinished)
        for file in written:
            print(f"wrote {arguments.output / file.name}")
    return 0


def _config(protocol: Protocol, arguments: argparse.Namespace) -> Config:
    """Return the configuration of the options, with the protocol's prompts.

    ``precision: auto`` may be bfloat16, whose rounding exchanges classes of similar cosine; the
    papers measured in float16 or float32.

    :raises ConfigError: when a value is wrong, or values contradict each other.
    """
    config = config_from_options(arguments)
    precision = "float32" if config.precision == "auto" else config.precision
    return replace(config, templates=protocol.rules.templates, precision=precision)


def _check_options(arguments: argparse.Namespace) -> None:
    """Refuse options of other measurements, and what the protocol itself decides.

    :raises ConfigError: naming the option.
    """
    given = [name for name in _OTHER_MEASUREMENTS if getattr(arguments, name)]
    may_be_empty = ("sequences", "conditions")
    given += [name for name in may_be_empty if getattr(arguments, name) is not None]
    if given:
        raise ConfigError(f"--{given[0]} is another measurement; leave it out with --protocol")
    if arguments.templates:
        raise ConfigError("--protocol decides the templates; leave --templates out")


def _pictures(protocol: Protocol, arguments: argparse.Namespace) -> LabelledPictures:
    """Return the pictures of a protocol's data set.

    :raises ConfigError: when the options do not name their folder.
    :raises DatasetError: when the folder lacks a part.
    """
    from clip_surgery_ros.evaluation.published.datasets import (
        coco_pictures,
        context_pictures,
        voc_pictures,
    )

    dataset = protocol.dataset
    folder = _folder(dataset, arguments)
    if "coco" in dataset:
        return coco_pictures(folder, arguments.images, stuff=dataset == "coco-stuff")
    read = context_pictures if "context" in dataset else voc_pictures
    return read(folder, background=protocol.explains or dataset in ("voc21", "context60"))


def _folder(dataset: str, arguments: argparse.Namespace) -> Path:
    """Return the folder that ``--coco`` or ``--voc`` names.

    :raises ConfigError: when it is the other one, none, or a file.
    """
    option, other = ("coco", "voc") if "coco" in dataset else ("voc", "coco")
    folder: Path | None = getattr(arguments, option)
    if folder is None or getattr(arguments, other):
        raise ConfigError(f"--protocol {dataset} needs --{option} DIR, and no --{other}")
    if arguments.images and option != "coco":
        raise ConfigError("--images belongs to --coco; leave it out with --voc")
    if not folder.is_dir():
        raise ConfigError(
            f"--{option} {folder} is not a folder; --protocol {dataset} reads masks of classes, "
            "not a file of instances"
        )
    return folder
