"""The folder of downloaded weights: downloads on request, verified before use.

``CLIP_SURGERY_ROS_HOME`` names the folder. A copy of it on another machine works there offline.
Files that are in Hugging Face's cache are used from there.
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
"""Longest time without data: longer than the pauses of a busy server or a weak radio link."""
READ_BYTES = 1 << 20
"""Bytes per read; the progress bar moves after each."""
AGENT = "clip_surgery_ros"


def weights_folder() -> Path:
    """Return the folder of weights: ``CLIP_SURGERY_ROS_HOME``, or one in the user's cache."""
    folder = os.environ.get(HOME)
    if folder:
        return Path(folder).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "clip_surgery_ros"


def download_path(model: PretrainedNetwork) -> Path:
    """Return the path that a network's file is downloaded to."""
    return weights_folder() / model.file_name


def find_weights(model: PretrainedNetwork) -> Path | None:
    """Return a network's file in the folder of weights or Hugging Face's cache, or None."""
    path = download_path(model)
    return path if path.is_file() else _find_in_hugging_face_cache(model)


def weights_path(model: PretrainedNetwork) -> Path:
    """Return a network's file. Nothing is downloaded.

    :raises WeightsError: when the file does not exist, with how to download it.
    """
    path = find_weights(model)
    if path is None:
        raise WeightsError(
            f"the weights of {model.name} are not installed ({download_path(model)}); "
            f"`clip_surgery weights fetch {model.name}` downloads them, or copy the folder from "
            "another machine"
        )
    return path


def fetch(model: PretrainedNetwork, mirror: str = "") -> Path:
    """Download a network's weights unless they are installed; resume an interrupted download.

    Several processes may call this at once: one downloads, the others wait. The file gets its name
    only when it is complete and verified. Its SHA-256 is stored beside it, as ``sha256sum -c``
    reads it.

    :param mirror: URL to download from instead of the publisher's; the checksum stays the same.
    :returns: path of the file.
    :raises WeightsError: with what went wrong and what to do.
    """
    path = download_path(model)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            return find_weights(model) or _install(model, mirror or model.address, path)
    except OSError as error:
        raise WeightsError(
            f"the folder of weights {path.parent} cannot be used: {error.strerror or error}; make "
            f"it writable, or name another by {HOME}"
        ) from error


def _install(model: PretrainedNetwork, address: str, path: Path) -> Path:
    """Download a file, verify it, and only then give it its name."""
    part = path.with_name(f"{path.name}.part")
    _download(address, part, model)
    digest = _verify(part, model)
    _digest_file(path).write_text(f"{digest}  {path.name}\n")
    part.replace(path)
    _tag_file(part).unlink(missing_ok=True)
    return path


def checksum_problem(model: PretrainedNetwork) -> str:
    """Return what is wrong with a network's file; empty when nothing is.

    :raises WeightsError: when the file does not exist.
    """
    path = weights_path(model)
    digest = sha256(path)
    if path != download_path(model):
        return _checksum_problem_in_cache(path, digest)
    if not digest.startswith(model.sha256):
        return f"has the SHA-256 {digest}, but the publisher gives {model.sha256}"
    try:
        recorded = _digest_file(path).read_text().split()[0]
    except (OSError, IndexError):
        return "" if model.sha256 else "has no checksum to compare with"
    if digest == recorded:
        return ""
    return f"has changed since it was fetched: its SHA-256 was {recorded}"


def _find_in_hugging_face_cache(model: PretrainedNetwork) -> Path | None:
    """Return a network's file in Hugging Face's cache, or None.

    The cache is where ``HF_HOME`` and ``HF_HUB_CACHE`` say. Nothing is downloaded.
    """
    for name in OPEN_CLIP_FILES if model.hub else ():
        cached = try_to_load_from_cache(model.hub, name)
        if isinstance(cached, str):
            return Path(cached)
    return None


def _checksum_problem_in_cache(path: Path, digest: str) -> str:
    """Return what is wrong with a file in Hugging Face's cache.

    Large files are stored there under their SHA-256, with links to them.
    """
    blob = path.resolve().name
    if not re.fullmatch("[0-9a-f]{64}", blob):
        return "has no checksum to compare with"
    return "" if digest == blob else f"has the SHA-256 {digest}, but its publisher gives {blob}"


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _tag_file(part: Path) -> Path:
    """Return the path that holds the ETag of a partial file: the server's name for its version."""
    return part.with_name(f"{part.name}.etag")


def _download(address: str, part: Path, model: PretrainedNetwork) -> None:
    """Download the rest of a partial file."""
    size, tag = (part.stat().st_size if part.is_file() else 0), _read_tag(part)
    if size > model.max_bytes:  # the server sent too much, or another file
        part.unlink()
        size = 0
    headers = {"User-Agent": AGENT}
    if size and tag:  # without a tag, the rest could be of another version of the file
        headers |= {"Range": f"bytes={size}-", "If-Range": tag}
    try:
        request = urllib.request.Request(address, headers=headers)
        # Not urlopen, whose opener keeps the proxies of the process's first request.
        opener = urllib.request.build_opener(_SafeRedirects)
        with opener.open(request, timeout=TIMEOUT_S) as response:
            _receive(response, part, size, model)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the partial file has the full length: the checksum decides
            return
        raise WeightsError(f"{address} answers {error.code} {error.reason}; {_ADVICE}") from error
    except (OSError, HTTPException, ValueError) as error:  # URLError and timeouts are OSErrors
        raise WeightsError(f"{address} cannot be fetched: {error}; {_ADVICE}") from error


_ADVICE = (
    "run the same command again to resume the download, or give --mirror ADDRESS; https_proxy "
    "names a proxy"
)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from https to a connection that is not encrypted."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request for the new address.

        :raises WeightsError: when the old address is https and the new one is not.
        """
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise WeightsError(f"{req.full_url} leads to {newurl}, which is not https; {_ADVICE}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(response: Any, part: Path, size: int, model: PretrainedNetwork) -> None:
    """Write a response to a partial file.

    :param size: bytes of the partial file. The response is appended if the server resumes there,
        and replaces them if it sends the whole file.
    """
    if "text/html" in response.headers.get("Content-Type", ""):
        raise WeightsError(f"{response.url} is a web page, not weights; {_ADVICE}")
    resumes = response.status == 206
    start = size if resumes else 0
    sent_range = response.headers.get("Content-Range", f"bytes {size}-") if resumes else ""
    if resumes and not sent_range.startswith(f"bytes {size}-"):
        raise OSError(f"the server resumes with '{sent_range}' instead of at byte {size}")
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    _check_size(part, model, total, start)
    if not resumes:
        _tag_file(part).write_text(response.headers.get("ETag", ""))
    with (
        open(part, "ab" if resumes else "wb") as file,
        tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=model.name) as progress,
    ):
        end = start
        while data := response.read(READ_BYTES):
            end += len(data)
            if end > model.max_bytes:
                raise _too_large(part, model, f"is more than {end} bytes")
            file.write(data)
            progress.update(len(data))
    if total is not None and end < total:
        raise OSError(f"the connection ended after {end} of {total} bytes")


def _check_size(part: Path, model: PretrainedNetwork, total: int | None, start: int) -> None:
    """Check that a file is not too large for this network, nor for the disk.

    :param total: bytes of the complete file; None where the server does not say.
    :param start: bytes of it that are on the disk.
    :raises WeightsError: when it is too large.
    """
    if total is None:
        return
    if total > model.max_bytes:
        raise _too_large(part, model, f"is {total} bytes")
    free = shutil.disk_usage(part.parent).free
    if total - start > free:
        raise WeightsError(
            f"{model.name} needs {(total - start) / 1e6:.0f} MB more, but {part.parent} has "
            f"{free / 1e6:.0f} MB free; make room, or name another folder by {HOME}"
        )


def _too_large(part: Path, model: PretrainedNetwork, size: str) -> WeightsError:
    """Delete a partial file, and return the error to raise."""
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)
    return WeightsError(
        f"what was fetched for {model.name} {size}, but its weights take at most "
        f"{model.max_bytes}; it was deleted. Fetch it from elsewhere"
    )


def _read_tag(part: Path) -> str:
    """Return the ETag of a partial file; empty without one.

    A weak tag does not guarantee the same bytes, and counts as none.
    """
    try:
        tag = _tag_file(part).read_text()
    except OSError:
        return ""
    return "" if tag.startswith("W/") else tag


def _verify(part: Path, model: PretrainedNetwork) -> str:
    """Return the SHA-256 of a complete download; delete it if it is the wrong file.

    :raises WeightsError: when it is the wrong file.
    """
    digest = sha256(part)
    try:
        if not digest.startswith(model.sha256):
            raise WeightsError(
                f"what was fetched for {model.name} has the SHA-256 {digest}, but the publisher "
                f"gives {model.sha256}; it was deleted. Fetch it again, or from elsewhere"
            )
        check_file(part, model.file_name)
        check_complete(part)
    except WeightsError:
        part.unlink()
        _tag_file(part).unlink(missing_ok=True)
        raise
    return digest
