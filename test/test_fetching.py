"""Weights from a local HTTP server: whole, broken off, wrong, and by two at once."""

from __future__ import annotations

import hashlib
import http.server
import multiprocessing
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from clip_surgery_ros.backends import fetching
from clip_surgery_ros.backends.fetching import fetch, in_place, place, problem
from clip_surgery_ros.core import catalogue
from clip_surgery_ros.core.catalogue import CLIP, Published
from clip_surgery_ros.core.config import Config
from clip_surgery_ros.core.errors import ConfigError, WeightsError
from clip_surgery_ros.tools.cli import main

CONTENT = save({"table": torch.arange(700_000, dtype=torch.float32)})  # 2.8 MB
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """What the server has, how it behaves, and what it was asked.

    :param breaks_after: bytes sent of the next answer before the connection ends.
    :param held_from: bytes from this one on wait for ``let_go``.
    """

    address: str = ""
    content: bytes = CONTENT
    kind: str = "application/octet-stream"
    tag: str = '"1"'
    breaks_after: int | None = None
    held_from: int | None = None
    let_go: threading.Event = field(default_factory=threading.Event)
    resumes: bool = True
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def site() -> Iterator[Site]:
    state = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            state.asked.append(wanted)
            if self.path == "/gone":
                self.send_error(404)
                return
            goes_on = wanted and state.resumes and self.headers.get("If-Range") == state.tag
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if goes_on else 0
            if goes_on and start >= len(state.content):
                self.send_error(416)
                return
            body = state.content[start:]
            self.send_response(206 if goes_on else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", state.kind)
            self.send_header("ETag", state.tag)
            self.end_headers()
            if state.breaks_after is not None:
                body, state.breaks_after = body[: state.breaks_after], None
            for first in range(0, len(body), 1 << 20):
                if state.held_from is not None and start + first >= state.held_from:
                    state.let_go.wait(60)
                self.wfile.write(body[first : first + (1 << 20)])

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state.address = f"http://127.0.0.1:{server.server_port}/clip_small.safetensors"
    yield state
    state.let_go.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of weights, and no proxy on the way to the local server."""
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path / "weights"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "weights"


@pytest.fixture
def small(site: Site) -> Published:
    return Published(
        "test/small", CLIP, "openai", site.address, DIGEST, 224, 0.7, "Apache-2.0", "tests"
    )


def test_what_is_fetched_is_whole_verified_and_fetched_once(site: Site, small: Published) -> None:
    path = fetch(small)
    assert path.read_bytes() == CONTENT
    assert path == place(small) == in_place(small)
    assert path.with_name(f"{path.name}.sha256").read_text() == f"{DIGEST}  {path.name}\n"
    assert fetch(small) == path
    assert len(site.asked) == 1
    assert problem(small) == ""
    assert {p.name for p in path.parent.iterdir() if not p.name.startswith(".")} == {
        path.name,
        f"{path.name}.sha256",
    }


def test_nothing_is_downloaded_that_was_not_asked_for(site: Site, small: Published) -> None:
    with pytest.raises(WeightsError, match="`clip_surgery weights fetch test/small`"):
        in_place(small)
    assert site.asked == []


def test_a_download_goes_on_where_it_broke_off(site: Site, small: Published) -> None:
    site.breaks_after = 1_500_000
    with pytest.raises(WeightsError, match="goes on where it stopped"):
        fetch(small)
    assert not place(small).exists()
    assert fetch(small).read_bytes() == CONTENT
    assert site.asked == ["", "bytes=1500000-"]


@pytest.mark.parametrize("change", [{"resumes": False}, {"tag": '"2"'}, {"tag": 'W/"1"'}], ids=str)
def test_what_cannot_go_on_begins_anew(site: Site, small: Published, change: dict) -> None:
    site.breaks_after = 1_500_000
    if str(change.get("tag", "")).startswith("W/"):
        site.tag = change["tag"]
    with pytest.raises(WeightsError):
        fetch(small)
    for name, value in change.items():
        setattr(site, name, value)
    assert fetch(small).read_bytes() == CONTENT


def test_a_part_that_is_whole_is_only_verified(site: Site, small: Published) -> None:
    fetch(small)
    path = place(small)
    path.rename(path.with_name(f"{path.name}.part"))
    path.with_name(f"{path.name}.part.etag").write_text(site.tag)
    assert fetch(small).read_bytes() == CONTENT
    assert site.asked[-1] == f"bytes={len(CONTENT)}-"


def test_what_is_not_the_file_meant_is_thrown_away(site: Site, small: Published) -> None:
    site.content = CONTENT[:-1] + b"x"
    with pytest.raises(WeightsError, match="the publisher tells"):
        fetch(small)
    assert [p for p in place(small).parent.iterdir() if p.name[0] != "."] == []
    site.content = CONTENT
    assert fetch(small).read_bytes() == CONTENT


@pytest.mark.parametrize("told", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_no_weights(site: Site, small: Published, told: str) -> None:
    site.content, site.kind = b"<!DOCTYPE html><title>Sign in</title>", told
    with pytest.raises(WeightsError, match="is a web page, not weights"):
        fetch(replace(small, sha256=""))
    assert not place(small).exists()


def test_a_file_that_is_not_there_is_told_with_its_address(site: Site, small: Published) -> None:
    address = site.address.replace("clip_small.safetensors", "gone")
    with pytest.raises(WeightsError, match=r"/gone answers 404"):
        fetch(small, mirror=address)


def test_no_server_is_told(small: Published) -> None:
    with pytest.raises(WeightsError, match="cannot be fetched"):
        fetch(small, mirror="http://127.0.0.1:9/x.pt")


def test_a_silent_server_is_not_waited_for_for_ever(
    site: Site, small: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT_S", 0.2)
    site.held_from = 0
    with pytest.raises(WeightsError, match="timed out"):
        fetch(small)


def test_a_mirror_serves_and_the_checksum_stays(site: Site, small: Published) -> None:
    elsewhere = replace(small, address="https://example.invalid/clip_small.safetensors")
    assert fetch(elsewhere, mirror=site.address).read_bytes() == CONTENT


def test_a_proxy_is_used(site: Site, small: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", site.address.rsplit("/", 1)[0])
    elsewhere = replace(small, address="http://example.invalid/clip_small.safetensors")
    assert fetch(elsewhere).read_bytes() == CONTENT


def test_two_processes_at_once_fetch_it_once(site: Site, small: Published) -> None:
    site.held_from = 0
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=fetch, args=(small,)) for _ in range(2)]
    for process in both:
        process.start()
    end_s = time.monotonic() + 60
    while not site.asked and time.monotonic() < end_s:
        time.sleep(0.02)
    site.let_go.set()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert len(site.asked) == 1
    assert place(small).read_bytes() == CONTENT


def test_a_killed_download_goes_on(site: Site, small: Published) -> None:
    site.held_from = 1 << 20
    process = multiprocessing.get_context("spawn").Process(target=fetch, args=(small,))
    process.start()
    part = place(small).with_name(f"{place(small).name}.part")
    end_s = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < end_s:
        time.sleep(0.02)
    process.kill()
    process.join()
    site.held_from = None
    assert fetch(small).read_bytes() == CONTENT
    assert site.asked[-1].startswith("bytes=")


def test_damage_after_fetching_is_found(small: Published) -> None:
    path = fetch(small)
    path.write_bytes(CONTENT[:-1] + b"x")
    assert "the publisher tells" in problem(small)
    assert "has changed since it was fetched" in problem(replace(small, sha256=""))


def test_the_command_line_fetches_verifies_and_tells_the_path(
    site: Site, capsys: pytest.CaptureFixture
) -> None:
    name = "laion2b/ViT-B-32"  # whose publisher tells no checksum, so that any weights will do
    path = place(catalogue.published(name))
    assert main(["weights", "verify"]) == 0
    assert "no weights are in place" in capsys.readouterr().out
    for asked in ("path", "verify"):
        assert main(["weights", asked, name]) == 2
        assert f"weights fetch {name}" in capsys.readouterr().err
    assert main(["weights", "fetch", name, "--mirror", site.address]) == 0
    told = capsys.readouterr()
    assert told.out.strip() == str(path)
    assert "licence MIT" in told.err
    assert main(["weights", "path", name]) == 0
    assert capsys.readouterr().out.strip() == str(path)
    assert main(["weights", "list"]) == 0
    (there,) = [row for row in capsys.readouterr().out.splitlines() if row.endswith("| yes |")]
    assert there.startswith(f"| {name} |")
    assert main(["weights", "verify"]) == 0
    assert capsys.readouterr().out == f"{name}: right\n"
    path.write_bytes(CONTENT[:-1])
    assert main(["weights", "verify", name]) == 1
    assert "fetch it again" in capsys.readouterr().out
    assert path.exists()  # the user's to delete
    assert main(["weights", "fetch", "other"]) == 2
    assert "there is no network 'other'" in capsys.readouterr().err


def test_a_wrong_mirror_does_not_pass_for_a_published_network(
    site: Site, capsys: pytest.CaptureFixture
) -> None:
    assert main(["weights", "fetch", "vit_b", "--mirror", site.address]) == 2
    assert "the publisher tells 01ec64" in capsys.readouterr().err
    assert main(["weights", "fetch", "vit_b", "vit_l", "--mirror", site.address]) == 2
    assert "one network at a time" in capsys.readouterr().err


def test_names_of_the_catalogue_need_no_checkpoint_and_others_do() -> None:
    config = Config.from_values({"clip_model": "openai/ViT-B-16", "sam_model": "vit_b"})
    assert config.clip_checkpoint == ""
    for wrong in ({"clip_model": "ViT-B-16"}, {"clip_model": "vit_b"}):
        with pytest.raises(ConfigError, match="weights list"):
            Config.from_values(wrong)
