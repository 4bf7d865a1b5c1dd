"""Downloads weights from a local HTTP server: complete, interrupted, wrong and concurrent."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import multiprocessing
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.client import HTTPMessage
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from clip_surgery_ros.core.errors import ConfigError, WeightsError
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.tools.cli import main
from clip_surgery_ros.weights import catalogue, fetching
from clip_surgery_ros.weights.catalogue import CLIP, PretrainedNetwork
from clip_surgery_ros.weights.fetching import checksum_problem, download_path, fetch, weights_path

CONTENT = save({"table": torch.arange(700_000, dtype=torch.float32)})  # 2.8 MB
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """The server's content and behaviour, and the requests that it received.

    :param breaks_after: bytes of the next answer before the connection ends.
    :param held_from: bytes from this offset on wait for ``release``.
    :param endless: the content repeats for ever, without a Content-Length.
    :param content_range_start: the start in Content-Range, whatever was requested.
    """

    address: str = ""
    content: bytes = CONTENT
    kind: str = "application/octet-stream"
    tag: str = '"1"'
    breaks_after: int | None = None
    held_from: int | None = None
    release: threading.Event = field(default_factory=threading.Event)
    resumes: bool = True
    sends_length: bool = True
    endless: bool = False
    content_range_start: int | None = None
    ranges: list[str] = field(default_factory=list)


@pytest.fixture
def site() -> Iterator[Site]:
    state = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            state.ranges.append(wanted)
            if self.path == "/gone":
                self.send_error(404)
                return
            if self.path.startswith("/moved/"):  # to the address in the rest of the path
                self.send_response(302)
                self.send_header("Location", self.path.removeprefix("/moved/"))
                self.end_headers()
                return
            resuming = wanted and state.resumes and self.headers.get("If-Range") == state.tag
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if resuming else 0
            if resuming and start >= len(state.content):
                self.send_error(416)
                return
            body = state.content[start:]
            self.send_response(206 if resuming else 200)
            if state.sends_length and not state.endless:
                self.send_header("Content-Length", str(len(body)))
            if resuming:
                first = start if state.content_range_start is None else state.content_range_start
                self.send_header("Content-Range", f"bytes {first}-{start + len(body) - 1}/*")
            self.send_header("Content-Type", state.kind)
            self.send_header("ETag", state.tag)
            self.end_headers()
            if state.breaks_after is not None:
                body, state.breaks_after = body[: state.breaks_after], None
            while state.endless:
                try:
                    self.wfile.write(body)
                except OSError:  # the client closed the connection
                    return
            for offset in range(0, len(body), 1 << 20):
                if state.held_from is not None and start + offset >= state.held_from:
                    state.release.wait(60)
                self.wfile.write(body[offset : offset + (1 << 20)])

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state.address = f"http://127.0.0.1:{server.server_port}/clip_small.safetensors"
    yield state
    state.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set the folder of weights, and no proxy for the local server."""
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path / "weights"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "weights"


@pytest.fixture
def small(site: Site) -> PretrainedNetwork:
    return PretrainedNetwork(
        "test/small", CLIP, "openai", site.address, DIGEST, 224, 0.7, "Apache-2.0", "tests"
    )


def test_weights_are_downloaded_once_and_verified(site: Site, small: PretrainedNetwork) -> None:
    path = fetch(small)
    assert path.read_bytes() == CONTENT
    assert path == download_path(small) == weights_path(small)
    assert path.with_name(f"{path.name}.sha256").read_text() == f"{DIGEST}  {path.name}\n"
    assert fetch(small) == path
    assert len(site.ranges) == 1
    assert checksum_problem(small) == ""
    assert {p.name for p in path.parent.iterdir() if not p.name.startswith(".")} == {
        path.name,
        f"{path.name}.sha256",
    }


def test_weights_path_does_not_download(site: Site, small: PretrainedNetwork) -> None:
    with pytest.raises(WeightsError, match="`clip_surgery weights fetch test/small`"):
        weights_path(small)
    assert site.ranges == []


def test_interrupted_download_resumes(site: Site, small: PretrainedNetwork) -> None:
    site.breaks_after = 1_500_000
    with pytest.raises(WeightsError, match="resume the download"):
        fetch(small)
    assert not download_path(small).exists()
    assert fetch(small).read_bytes() == CONTENT
    assert site.ranges == ["", "bytes=1500000-"]


@pytest.mark.parametrize("change", [{"resumes": False}, {"tag": '"2"'}, {"tag": 'W/"1"'}], ids=str)
def test_download_restarts_if_it_cannot_resume(
    site: Site, small: PretrainedNetwork, change: dict
) -> None:
    site.breaks_after = 1_500_000
    if str(change.get("tag", "")).startswith("W/"):
        site.tag = change["tag"]
    with pytest.raises(WeightsError):
        fetch(small)
    for name, value in change.items():
        setattr(site, name, value)
    assert fetch(small).read_bytes() == CONTENT


def test_complete_part_file_is_only_verified(site: Site, small: PretrainedNetwork) -> None:
    fetch(small)
    path = download_path(small)
    path.rename(path.with_name(f"{path.name}.part"))
    path.with_name(f"{path.name}.part.etag").write_text(site.tag)
    assert fetch(small).read_bytes() == CONTENT
    assert site.ranges[-1] == f"bytes={len(CONTENT)}-"


def test_file_with_wrong_checksum_is_deleted(site: Site, small: PretrainedNetwork) -> None:
    site.content = CONTENT[:-1] + b"x"
    with pytest.raises(WeightsError, match="the publisher gives"):
        fetch(small)
    assert [p for p in download_path(small).parent.iterdir() if p.name[0] != "."] == []
    site.content = CONTENT
    assert fetch(small).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_web_page_instead_of_weights_is_an_error(
    site: Site, small: PretrainedNetwork, kind: str
) -> None:
    site.content, site.kind = b"<!DOCTYPE html><title>Sign in</title>", kind
    with pytest.raises(WeightsError, match="is a web page, not weights"):
        fetch(replace(small, sha256=""))
    assert not download_path(small).exists()


def test_http_404_is_an_error_with_the_address(site: Site, small: PretrainedNetwork) -> None:
    address = site.address.replace("clip_small.safetensors", "gone")
    with pytest.raises(WeightsError, match=r"/gone answers 404"):
        fetch(small, mirror=address)


def test_unreachable_server_is_an_error(small: PretrainedNetwork) -> None:
    with pytest.raises(WeightsError, match="cannot be fetched"):
        fetch(small, mirror="http://127.0.0.1:9/x.pt")


def test_silent_server_times_out(
    site: Site, small: PretrainedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT_S", 0.2)
    site.held_from = 0
    with pytest.raises(WeightsError, match="timed out"):
        fetch(small)


def files_in(folder: Path) -> list[str]:
    """Return the names of files, without locks."""
    return [file.name for file in folder.iterdir() if not file.name.startswith(".")]


def test_endless_body_is_rejected_at_the_size_limit(site: Site, small: PretrainedNetwork) -> None:
    site.endless = True
    with pytest.raises(WeightsError, match=f"at most {small.max_bytes}; it was deleted"):
        fetch(small)
    assert files_in(download_path(small).parent) == []


def test_content_length_above_the_limit_is_rejected_at_once(
    site: Site, small: PretrainedNetwork
) -> None:
    site.content = bytes(small.max_bytes + 1)
    site.held_from = 0
    with pytest.raises(WeightsError, match=f"is {small.max_bytes + 1} bytes, but its weights"):
        fetch(small)
    assert files_in(download_path(small).parent) == []


def test_size_limits_fit_the_published_files() -> None:
    megabytes = {  # as the publishers list them
        "vit_b": 375,
        "vit_l": 1250,
        "vit_h": 2565,
        "vit_t": 40.7,
        "sam2.1_hiera_tiny": 156,
        "sam2.1_hiera_large": 898,
        "openai/ViT-B-32": 354,  # half precision
        "openai/ViT-L-14": 933,
    }
    for name, length in megabytes.items():
        assert length <= catalogue.find_pretrained(name).max_bytes / 1e6 <= 3 * length


def test_complete_body_without_content_length_is_accepted(
    site: Site, small: PretrainedNetwork
) -> None:
    site.sends_length = False
    assert fetch(small).read_bytes() == CONTENT


def test_interrupted_body_without_content_length_is_rejected(
    site: Site, small: PretrainedNetwork
) -> None:
    site.sends_length = False
    site.breaks_after = 1_000_000
    with pytest.raises(WeightsError, match="is truncated"):
        fetch(replace(small, sha256=""))
    assert files_in(download_path(small).parent) == []


def test_resumed_part_with_wrong_start_is_rejected(site: Site, small: PretrainedNetwork) -> None:
    site.breaks_after = 1_500_000
    with pytest.raises(WeightsError):
        fetch(small)
    site.content_range_start = 1_000_000
    with pytest.raises(WeightsError, match="instead of at byte 1500000"):
        fetch(small)
    site.content_range_start = None
    assert fetch(small).read_bytes() == CONTENT


def test_redirect_is_followed_when_a_download_resumes(
    site: Site, small: PretrainedNetwork
) -> None:
    root = site.address.rpartition("/")[0]
    moved = f"{root}/moved/{site.address}"
    site.breaks_after = 1_500_000
    with pytest.raises(WeightsError, match="resume the download"):
        fetch(small, mirror=moved)
    assert fetch(small, mirror=moved).read_bytes() == CONTENT
    assert site.ranges[-1] == "bytes=1500000-"


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("{root}/gone", "answers 404"),
        ("file:///etc/passwd", "not allowed"),
        ("/moved/loop", "infinite loop"),
        ("http://127.0.0.1:9/x.pt", "cannot be fetched"),
    ],
)
def test_invalid_redirect_is_an_error(
    site: Site, small: PretrainedNetwork, target: str, error: str
) -> None:
    root = site.address.rpartition("/")[0]
    if target == "/moved/loop":
        target = f"/moved/{target}"  # relative: it redirects to itself
    with pytest.raises(WeightsError, match=error):
        fetch(small, mirror=f"{root}/moved/{target.format(root=root)}")
    assert not download_path(small).exists()


def test_redirect_from_https_to_http_is_rejected() -> None:
    handler = fetching._SafeRedirects()
    request = urllib.request.Request("https://example.invalid/a.pt")
    with pytest.raises(WeightsError, match=r"leads to http://.*, which is not https"):
        handler.redirect_request(
            request, None, 302, "Found", HTTPMessage(), "http://example.invalid/a.pt"
        )
    followed = handler.redirect_request(
        request, None, 302, "Found", HTTPMessage(), "https://example.invalid/b.pt"
    )
    assert followed is not None and followed.full_url == "https://example.invalid/b.pt"


@pytest.mark.parametrize(
    "content",
    [b'{"error": "rate limit"}', gzip.compress(CONTENT), b"\x89PNG\r\n\x1a\n" + bytes(900), b""],
    ids=["JSON", "gzip", "PNG", "nothing"],
)
def test_invalid_weight_file_is_deleted(
    site: Site, small: PretrainedNetwork, content: bytes
) -> None:
    site.content = content
    with pytest.raises(WeightsError, match=r"is text|neither safetensors nor|is empty"):
        fetch(replace(small, sha256=""))
    assert files_in(download_path(small).parent) == []


def test_invalid_folder_of_weights_is_an_error(
    small: PretrainedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="name another by CLIP_SURGERY_ROS_HOME"):
        fetch(small)


def test_mirror_replaces_the_address(site: Site, small: PretrainedNetwork) -> None:
    network = replace(small, address="https://example.invalid/clip_small.safetensors")
    assert fetch(network, mirror=site.address).read_bytes() == CONTENT


def test_proxy_of_the_environment_is_used(
    site: Site, small: PretrainedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", site.address.rsplit("/", 1)[0])
    network = replace(small, address="http://example.invalid/clip_small.safetensors")
    assert fetch(network).read_bytes() == CONTENT


def test_two_processes_download_a_file_once(site: Site, small: PretrainedNetwork) -> None:
    site.held_from = 0
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=fetch, args=(small,)) for _ in range(2)]
    for process in both:
        process.start()
    end_s = time.monotonic() + 60
    while not site.ranges and time.monotonic() < end_s:
        time.sleep(0.02)
    site.release.set()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert len(site.ranges) == 1
    assert download_path(small).read_bytes() == CONTENT


def test_killed_download_resumes(site: Site, small: PretrainedNetwork) -> None:
    site.held_from = 1 << 20
    process = multiprocessing.get_context("spawn").Process(target=fetch, args=(small,))
    process.start()
    part = download_path(small).with_name(f"{download_path(small).name}.part")
    end_s = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < end_s:
        time.sleep(0.02)
    process.kill()
    process.join()
    site.held_from = None
    assert fetch(small).read_bytes() == CONTENT
    assert site.ranges[-1].startswith("bytes=")


def test_changed_file_fails_the_checksum(small: PretrainedNetwork) -> None:
    path = fetch(small)
    path.write_bytes(CONTENT[:-1] + b"x")
    assert "the publisher gives" in checksum_problem(small)
    assert "has changed since it was fetched" in checksum_problem(replace(small, sha256=""))


def test_weights_command_fetches_verifies_and_prints_the_path(
    site: Site, capsys: pytest.CaptureFixture
) -> None:
    name = "laion2b/ViT-B-32"  # its publisher gives no checksum, so any weights are valid
    path = download_path(catalogue.find_pretrained(name))
    assert main(["weights", "verify"]) == 0
    assert "no weights are downloaded" in capsys.readouterr().out
    for command in ("path", "verify"):
        assert main(["weights", command, name]) == 2
        assert f"weights fetch {name}" in capsys.readouterr().err
    assert main(["weights", "fetch", name, "--mirror", site.address]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == str(path)
    assert "licence MIT" in printed.err
    assert main(["weights", "path", name]) == 0
    assert capsys.readouterr().out.strip() == str(path)
    assert main(["weights", "list"]) == 0
    (downloaded,) = [
        row for row in capsys.readouterr().out.splitlines() if row.endswith("| yes |")
    ]
    assert downloaded.startswith(f"| {name} |")
    assert main(["weights", "verify"]) == 0
    assert capsys.readouterr().out == f"{name}: checksum correct\n"
    path.write_bytes(CONTENT[:-1])
    assert main(["weights", "verify", name]) == 1
    assert "fetch it again" in capsys.readouterr().out
    assert path.exists()  # only the user may delete it
    assert main(["weights", "fetch", "other"]) == 2
    assert "there is no network 'other'" in capsys.readouterr().err


def test_mirror_with_a_wrong_file_fails_the_checksum(
    site: Site, capsys: pytest.CaptureFixture
) -> None:
    assert main(["weights", "fetch", "vit_b", "--mirror", site.address]) == 2
    assert "the publisher gives 01ec64" in capsys.readouterr().err
    assert main(["weights", "fetch", "vit_b", "vit_l", "--mirror", site.address]) == 2
    assert "one network at a time" in capsys.readouterr().err


def test_only_names_of_the_catalogue_need_no_checkpoint() -> None:
    config = Config.from_values({"clip_model": "openai/ViT-B-16", "sam_model": "vit_b"})
    assert config.clip_checkpoint == ""
    for wrong in ({"clip_model": "ViT-B-16"}, {"clip_model": "vit_b"}):
        with pytest.raises(ConfigError, match="weights list"):
            Config.from_values(wrong)
