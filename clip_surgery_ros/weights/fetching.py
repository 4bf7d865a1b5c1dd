"""Pretrained weights in one folder: fetched when the user says so, verified before use.

``CLIP_SURGERY_ROS_HOME`` names the folder; copied to another machine it works there offline.
What Hugging Face's cache has already is used from there.
"""

from __future__ import annotations

import os
import re
import shutil
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import Any

from filelock import FileLock
from huggingface_hub import try_to_load_from_cache
from tqdm import tqdm

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.weights.catalogue import PretrainedNetwork
from clip_surgery_ros.weights.files import OPEN_CLIP_FILES, check_complete, check_file, sha256

HOME = "CLIP_SURGERY_ROS_HOME"
TIMEOUT_S = 30.0
"""Without a byte: longer than a busy server or a weak radio link pauses."""
PIECE = 1 << 20
"""Bytes between two looks at the progress bar."""
AGENT = "clip_surgery_ros"


def weights_folder() -> Path:
    """Folder of weights: ``CLIP_SURGERY_ROS_HOME``, or in the user's cache."""
    named = os.environ.get(HOME)
    if named:
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "clip_surgery_ros"


def download_path(model: PretrainedNetwork) -> Path:
    """Where the file of a network is fetched to."""
    return weights_folder() / model.file_name


def find_weights(model: PretrainedNetwork) -> Path | None:
    """The file of a network in the folder of weights, else in Hugging Face's cache."""
    path = download_path(model)
    return path if path.is_file() else _in_hugging_face_s_cache(model)


def weights_path(model: PretrainedNetwork) -> Path:
    """The file of a network.

    :raises WeightsError: when it is not there, telling how to fetch it. Nothing is downloaded.
    """
    path = find_weights(model)
    if path is None:
        raise WeightsError(
            f"the weights of {model.name} are not in place ({download_path(model)}); "
            f"`clip_surgery weights fetch {model.name}` downloads them, or copy the folder from "
            "another machine"
        )
    return path


def fetch(model: PretrainedNetwork, mirror: str = "") -> Path:
    """Download a network's weights unless they are here; goes on where it was broken off.

    Several processes may fetch the same at once: one does, the others wait. The file has its name
    only when it is whole and verified; its SHA-256 is put beside it, as ``sha256sum -c`` reads it.

    :param mirror: address to fetch from instead; the checksum stays.
    :returns: the file.
    :raises WeightsError: saying what went wrong and what to do.
    """
    path = download_path(model)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            return find_weights(model) or _brought(model, mirror or model.address, path)
    except OSError as error:
        raise WeightsError(
            f"the folder of weights {path.parent} cannot be used: {error.strerror or error}; make "
            f"it writable, or name another by {HOME}"
        ) from error


def _brought(model: PretrainedNetwork, address: str, path: Path) -> Path:
    """Download, verify, and only then give the file its name."""
    part = path.with_name(f"{path.name}.part")
    _download(address, part, model)
    digest = _verified(part, model)
    _digest_file(path).write_text(f"{digest}  {path.name}\n")
    part.replace(path)
    _tag_file(part).unlink(missing_ok=True)
    return path


def checksum_problem(model: PretrainedNetwork) -> str:
    """What is wrong with the file of a network; empty when nothing is.

    :raises WeightsError: when it is not in place.
    """
    path = weights_path(model)
    digest = sha256(path)
    if path != download_path(model):
        return _problem_in_cache(path, digest)
    if not digest.startswith(model.sha256):
        return f"has the SHA-256 {digest}, but the publisher tells {model.sha256}"
    try:
        recorded = _digest_file(path).read_text().split()[0]
    except (OSError, IndexError):
        return "" if model.sha256 else "has no checksum to compare with"
    return "" if digest == recorded else f"has changed since it was fetched: {recorded} then"


def _in_hugging_face_s_cache(model: PretrainedNetwork) -> Path | None:
    """Nothing is downloaded; ``HF_HOME`` and ``HF_HUB_CACHE`` are respected."""
    for name in OPEN_CLIP_FILES if model.hub else ():
        cached = try_to_load_from_cache(model.hub, name)
        if isinstance(cached, str):
            return Path(cached)
    return None


def _problem_in_cache(path: Path, digest: str) -> str:
    """Hugging Face's cache calls a large file by its SHA-256, and links to it."""
    blob = path.resolve().name
    if not re.fullmatch("[0-9a-f]{64}", blob):
        return "has no checksum to compare with"
    return "" if digest == blob else f"has the SHA-256 {digest}, but its publisher tells {blob}"


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _tag_file(part: Path) -> Path:
    """Holds the server's name for the version of the file that a part is of."""
    return part.with_name(f"{part.name}.etag")


def _download(address: str, part: Path, model: PretrainedNetwork) -> None:
    """Bring ``part`` to full length."""
    have, tag = (part.stat().st_size if part.is_file() else 0), _tag_of(part)
    if have > model.most_bytes:  # of a server that sent too much, or of another file
        part.unlink()
        have = 0
    headers = {"User-Agent": AGENT}
    if have and tag:  # else nobody knows whether the rest would be of the same file
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    try:
        request = urllib.request.Request(address, headers=headers)
        # An opener of its own: urlopen's keeps the proxies of the process's first request.
        opener = urllib.request.build_opener(_SafeRedirects)
        with opener.open(request, timeout=TIMEOUT_S) as response:
            _receive(response, part, have, model)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # what is here is as long as the file: the checksum decides
            return
        raise WeightsError(f"{address} answers {error.code} {error.reason}; {_ADVICE}") from error
    except (OSError, HTTPException, ValueError) as error:  # URLError and time-outs are OSErrors
        raise WeightsError(f"{address} cannot be fetched: {error}; {_ADVICE}") from error


_ADVICE = (
    "run the same command again, which goes on where it stopped, or give --mirror ADDRESS; "
    "https_proxy names a proxy"
)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from an encrypted connection to one that anybody may change."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """See the base class.

        :raises WeightsError: when the new address is not encrypted and the old one is.
        """
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise WeightsError(f"{req.full_url} leads to {newurl}, which is not https; {_ADVICE}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(response: Any, part: Path, have: int, model: PretrainedNetwork) -> None:
    """Append to what is here, or begin anew where the server does not go on."""
    if "text/html" in response.headers.get("Content-Type", ""):
        raise WeightsError(f"{response.url} is a web page, not weights; {_ADVICE}")
    goes_on = response.status == 206
    start = have if goes_on else 0
    told = response.headers.get("Content-Range", f"bytes {have}-") if goes_on else ""
    if goes_on and not told.startswith(f"bytes {have}-"):
        raise OSError(f"the server goes on with '{told}' instead of at byte {have}")
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    _check_room(part, model, total, start)
    if not goes_on:
        _tag_file(part).write_text(response.headers.get("ETag", ""))
    with (
        open(part, "ab" if goes_on else "wb") as file,
        tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=model.name) as progress,
    ):
        end = start
        while piece := response.read(PIECE):
            end += len(piece)
            if end > model.most_bytes:
                raise _too_large(part, model, f"is more than {end} bytes")
            file.write(piece)
            progress.update(len(piece))
    if total is not None and end < total:
        raise OSError(f"the connection ended after {end} of {total} bytes")


def _check_room(part: Path, model: PretrainedNetwork, total: int | None, start: int) -> None:
    """Refuse a file that is too large for what it shall be, or for the disk.

    :param total: bytes of the whole file, None where the server does not tell.
    """
    if total is None:
        return
    if total > model.most_bytes:
        raise _too_large(part, model, f"is {total} bytes")
    free = shutil.disk_usage(part.parent).free
    if total - start > free:
        raise WeightsError(
            f"{model.name} needs {(total - start) / 1e6:.0f} MB more, but {part.parent} has "
            f"{free / 1e6:.0f} MB free; make room, or name another folder by {HOME}"
        )


def _too_large(part: Path, model: PretrainedNetwork, told: str) -> WeightsError:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)
    return WeightsError(
        f"what was fetched for {model.name} {told}, but its weights take at most "
        f"{model.most_bytes}; it was thrown away. Fetch it from elsewhere"
    )


def _tag_of(part: Path) -> str:
    """A weak tag does not promise the same bytes, and counts as none."""
    try:
        tag = _tag_file(part).read_text()
    except OSError:
        return ""
    return "" if tag.startswith("W/") else tag


def _verified(part: Path, model: PretrainedNetwork) -> str:
    """SHA-256 of a whole download; one that is not the file meant is thrown away."""
    digest = sha256(part)
    try:
        if not digest.startswith(model.sha256):
            raise WeightsError(
                f"what was fetched for {model.name} has the SHA-256 {digest}, but the publisher "
                f"tells {model.sha256}; it was thrown away. Fetch it again, or from elsewhere"
            )
        check_file(part, model.file_name)
        check_complete(part)
    except WeightsError:
        part.unlink()
        _tag_file(part).unlink(missing_ok=True)
        raise
    return digest
