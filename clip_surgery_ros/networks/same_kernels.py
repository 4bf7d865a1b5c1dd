"""Loads networks that compute the same bits in all processes of a machine.

Several kernels have the same result up to rounding, and the fastest is chosen by timing them. Two
processes may choose differently. So the first process writes down what it chose, and the others
choose the same.
"""

from __future__ import annotations

import json
import logging
import platform
from pathlib import Path

import torch
from filelock import FileLock

from clip_surgery_ros.arithmetic.timing import choices, use_choices
from clip_surgery_ros.core.files import write_whole
from clip_surgery_ros.networks.factory import LoadedNetworks, load_networks
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.weights.fetching import weights_folder

_LOG = logging.getLogger(__name__)
FILE = "kernels.json"
"""Choices by machine, in the folder of weights. Without it they are made anew."""


def load_with_same_kernels(config: Config) -> LoadedNetworks:
    """Load networks as :func:`~clip_surgery_ros.networks.factory.load_networks` does, with the
    kernels that the first process on this machine chose for their shapes.

    :raises ClipSurgeryError: as ``load_networks``.
    """
    try:
        return _load(config, weights_folder() / FILE)
    except OSError as error:
        _LOG.warning(
            "the choice of kernels cannot be kept in %s (%s): results of several processes may "
            "differ in their last digits",
            weights_folder(), error.strerror,
        )  # fmt: skip
        return load_networks(config)


def _load(config: Config, path: Path) -> LoadedNetworks:
    """Load networks; others wait only while the first choices on this machine are made.

    :raises OSError: the file of choices cannot be read or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    machine, lock = _machine(config), FileLock(path.with_name(f".{FILE}.lock"))
    with lock:
        known = _read(path)
        if machine not in known:
            networks = load_networks(config)
            _write(path, {**known, machine: dict(choices())})
            return networks
    use_choices(known[machine])
    networks = load_networks(config)
    with lock:
        known = _read(path)
        merged = {
            **choices(),
            **known.get(machine, {}),
        }  # other networks may have brought new ones
        if merged != known.get(machine):
            _write(path, {**known, machine: merged})
    return networks


def _read(path: Path) -> dict[str, dict[str, str]]:
    """Return the choices of a file; none of a damaged one, which is written anew."""
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_bytes())
        return {
            str(machine): {str(name): str(chosen) for name, chosen in each.items()}
            for machine, each in known.items()
        }
    except (ValueError, AttributeError):
        return {}


def _write(path: Path, known: dict[str, dict[str, str]]) -> None:
    write_whole(path, json.dumps(known, indent=1, sort_keys=True).encode() + b"\n")


def _machine(config: Config) -> str:
    """Return what choices depend on besides the networks: processor, GPU, torch, threads."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    capability = torch.backends.cpu.get_cpu_capability()
    processor = f"{platform.machine()} {platform.processor()} {capability}"
    return f"{processor}, {gpu}, torch {torch.__version__}, {config.cpu_threads} threads"
