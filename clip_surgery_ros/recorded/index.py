"""An index of features, made from the files of items; ``answers.py`` asks it.

FAISS (Douze et al., arXiv 2401.08281) searches embeddings and local tokens apart: cosines of texts
with the two are not alike, and either could crowd out the other.
"""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import ClipSurgeryError, ConfigError
from clip_surgery_ros.core.files import write_whole
from clip_surgery_ros.recorded.features import features_file, read_features

if TYPE_CHECKING:
    import faiss

MANIFEST = "index.json"
"""Says which networks and bags an index is of. It is written last."""
FORMAT = 1
"""Raise it when the files of an index change."""
EXACT_UP_TO = 20_000
"""Entries up to which all are compared, in float16: about 10 ms with 512 channels. More are
divided into cells, of which the nearest ones are searched, with 8 bits for each channel."""
CELLS = 1024
"""Most cells of an index: with 1 million entries about 1000 in each."""
TRAINING = 64
"""Entries for each cell from which cells are learned: FAISS asks for at least 39."""
_CHUNK = 65_536
"""Entries that are added at once: 130 MB with 512 channels."""
FRAME = np.dtype(
    [
        *(("bag", "<i4"), ("item", "<i4"), ("row", "<i4"), ("copy", "<i4")),
        *(("log_time", "<i8"), ("stamp", "<i8"), ("level", "<f4"), ("spare", "<i4")),
    ]
)
"""An image: numbers of its bag and item, its place in the item, its times in ns, its level."""
Rows = NDArray[Any]


@dataclass(frozen=True)
class IndexedBag:
    """A bag of an index.

    :param path: absolute.
    :param items: keys of its items, in order.
    :param files: absolute path of each item's file.
    """

    name: str
    path: str
    topic: str
    items: tuple[str, ...]
    files: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """What an index is of.

    :param networks: what its features depend on.
    :param built: beginning of the names of its files; empty if there are none yet.
    """

    networks: Mapping[str, Any]
    bags: tuple[IndexedBag, ...] = ()
    built: str = ""


def need_faiss() -> None:
    """Refuse to go on without FAISS.

    :raises ConfigError: saying what to install.
    """
    if importlib.util.find_spec("faiss") is None:
        raise ConfigError("searching needs FAISS: pip install 'clip_surgery_ros[search]'")


def read_manifest(folder: Path) -> Manifest | None:
    """Return what an index is of; None where there is no index.

    :raises ClipSurgeryError: when its manifest is damaged, or of another version.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']} is not {FORMAT}")
        bags = [
            IndexedBag(
                each["name"], each["path"], each["topic"],
                tuple(each["items"]), tuple(each["files"]),
            )
            for each in content["bags"]
        ]  # fmt: skip
        return Manifest(dict(content["networks"]), tuple(bags), str(content["built"]))
    except (LookupError, TypeError, ValueError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> ClipSurgeryError:
    """Return the error for a file of an index that cannot be used, with what to do."""
    return ClipSurgeryError(
        f"{path} is damaged or of another version ({error}); delete {path.parent / MANIFEST} and "
        "index the bags again: items that are done are not done again"
    )


def check_networks(manifest: Manifest, networks: Mapping[str, Any], folder: Path) -> None:
    """Refuse networks that the features of an index do not belong to.

    :raises ConfigError: naming what differs.
    """
    differ = [name for name in networks if manifest.networks.get(name) != networks[name]]
    if not differ:
        return
    changes = ", ".join(
        f"{name} was {manifest.networks.get(name)} and is {networks[name]}"
        for name in differ
        if name not in ("weights", "profiles")
    )
    reason = changes or f"the {' and '.join(differ)} of its networks are not these"
    raise ConfigError(
        f"the index {folder} is of other networks: {reason}; give the options that it was made "
        "with, or name another --index"
    )


def build(folder: Path, manifest: Manifest) -> Manifest:
    """Make the files of an index from the features of its items, and write its manifest.

    Files of the index before stay until the new ones are complete.

    :param manifest: with the bags that the index is to have, and the files of the index before.
    :raises ClipSurgeryError: when a file of features is damaged or missing.
    """
    keys = [key for bag in manifest.bags for key in bag.items]
    built = sha256(json.dumps([FORMAT, keys]).encode()).hexdigest()[:16]
    if manifest.built != built:
        _write_entries(folder, built, manifest.bags)
    done = replace(manifest, built=built)
    _write_manifest(folder, done)
    for suffix in ("frames.npy", "vectors.npy", "whole.faiss", "local.faiss"):
        for old in folder.glob(f"*.{suffix}"):
            if not old.name.startswith(built):
                old.unlink()
    return done


def build_from(folder: Path, manifest: Manifest, built: str, frames: Rows) -> None:
    """Make an index of an array of vectors in the folder, which has the name ``built`` too.

    :param frames: (n,) of :data:`FRAME`.
    """
    write_searches(folder, built, frames)
    _write_manifest(folder, replace(manifest, built=built))


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    content = {"format": FORMAT, **asdict(manifest)}
    write_whole(folder / MANIFEST, json.dumps(content, indent=1).encode())


def _write_entries(folder: Path, built: str, bags: Sequence[IndexedBag]) -> None:
    """Write the files of an index. The features of one item at a time are in memory."""
    keys = [(number, key) for number, bag in enumerate(bags) for key in bag.items]
    tables, shape = [], (0, 0)
    for item, (bag, key) in enumerate(keys):
        features = read_features(features_file(key, folder))
        rows = np.zeros(len(features.level), FRAME)
        rows["bag"], rows["item"], rows["row"] = bag, item, np.arange(len(rows))
        for name in ("log_time", "copy", "stamp", "level"):
            rows[name] = getattr(features, name)
        tables.append(rows)
        if len(rows):
            shape = features.vectors.shape[1:]
    frames = np.concatenate(tables)
    if not len(frames):
        raise ClipSurgeryError("no image of these bags could be read, so there is nothing to ask")
    with new_array(folder / f"{built}.vectors.npy", (len(frames), *shape)) as vectors:
        done = 0
        for (_, key), rows in zip(keys, tables, strict=True):
            if len(rows):
                vectors[done : done + len(rows)] = read_features(
                    features_file(key, folder)
                ).vectors
                done += len(rows)
    write_searches(folder, built, frames)


@contextmanager
def new_array(path: Path, shape: tuple[int, ...]) -> Iterator[NDArray[np.float16]]:
    """Give an array of float16 in a file, which has its name when it is complete."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    array = np.lib.format.open_memmap(unfinished, "w+", np.float16, shape)
    yield array
    array.flush()
    unfinished.replace(path)


def write_searches(folder: Path, built: str, frames: Rows) -> None:
    """Write the table of images and the two searches, from the array of vectors in the folder.

    :param frames: (n,) of :data:`FRAME`.
    """
    import faiss

    content = io.BytesIO()
    np.save(content, frames, allow_pickle=False)
    write_whole(folder / f"{built}.frames.npy", content.getvalue())
    vectors = np.load(folder / f"{built}.vectors.npy", mmap_mode="r")
    for name, part in (("whole", vectors[:, :1]), ("local", vectors[:, 1:])):
        path = folder / f"{built}.{name}.faiss"
        unfinished = path.with_name(f"{path.name}.unfinished")
        faiss.write_index(_search_of(part), str(unfinished))
        unfinished.replace(path)


def _search_of(vectors: NDArray[np.float16]) -> faiss.Index:
    """Return a search by cosine of (n, k, C) unit rows."""
    import faiss

    count, each, channels = vectors.shape
    if count * each <= EXACT_UP_TO:
        search = faiss.index_factory(channels, "SQfp16", faiss.METRIC_INNER_PRODUCT)
    else:
        cells = min(CELLS, count * each // TRAINING)
        search = faiss.index_factory(channels, f"IVF{cells},SQ8", faiss.METRIC_INNER_PRODUCT)
        some = np.random.default_rng(0).permutation(count)[: cells * TRAINING // each]
        search.train(vectors[np.sort(some)].reshape(-1, channels).astype(np.float32))
    step = max(1, _CHUNK // each)
    for start in range(0, count, step):
        rows = vectors[start : start + step].reshape(-1, channels)
        if not search.is_trained:
            search.train(rows.astype(np.float32))
        search.add(rows.astype(np.float32))
    return search
