"""The parts of the web console that need neither ROS processes nor a browser."""

from __future__ import annotations

import asyncio
import json
import math
import re
import socket
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_surgery_ros.msg import AbsentLabel, HeatmapArray, Place, SegmentArray, TextQuery
from clip_surgery_ros.msg import Segment as SegmentMessage
from ros.fakes import frame_result
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.run_lengths import mask_of_runs
from clip_surgery_ros.pictures.render import PALETTE
from clip_surgery_ros.ros.images import image_message
from clip_surgery_ros.ros.messages import heatmap_array, query_message, segment_array
from clip_surgery_ros.web.content import (
    LONGEST_SIDE,
    framed,
    heatmaps_content,
    jpeg_of,
    result_content,
)
from clip_surgery_ros.web.feed import Pictures
from clip_surgery_ros.web.files import PAGE, page_files
from clip_surgery_ros.web.guard import (
    SECURITY_HEADERS,
    is_own_host,
    is_own_origin,
    is_token,
    own_names,
)
from clip_surgery_ros.web.hub import MOST_ANSWERS, STATE, Hub, Mailbox, Viewer
from clip_surgery_ros.web.options import parse_options, read_token
from clip_surgery_ros.web.requests import LONGEST_TEXT, Ask, RequestError, Watch, parse_request
from clip_surgery_ros.web.server import Allowance

FRAME, MAPS = ("", "frame"), ("", "heatmaps")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8350",
        "127.0.0.1:1",
        "[::1]:8350",
        "192.168.1.7:80",
        socket.gethostname(),
    ],
)
def test_own_names_and_addresses_in_numbers_are_hosts(host: str) -> None:
    assert is_own_host(host, own_names())


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "localhost.evil.example", "evil.example:8350", "a@localhost",
     "localhost/x", "localhost:8350#x", "localhost:99999", "[::1", "localhost, evil.example",
     "127.0.0.1.nip.io"],
)  # fmt: skip
def test_other_names_are_no_hosts(host: str) -> None:
    assert not is_own_host(host, own_names())
    assert is_own_host("robot.example", own_names(["Robot.example"]))


def test_only_the_page_itself_is_an_origin() -> None:
    assert is_own_origin("http://localhost:8350", "localhost:8350")
    assert is_own_origin("https://robot.example", "robot.example")
    foreign = (
        None,
        "",
        "null",
        "http://evil.example",
        "http://localhost:8351",
        "file://localhost:8350",
    )
    assert not any(is_own_origin(origin, "localhost:8350") for origin in foreign)


def test_a_token_must_be_the_same_text() -> None:
    assert (
        is_token("", "")
        and is_token("anything", "")
        and is_token("sixteen letters!", "sixteen letters!")
    )
    assert not any(
        is_token(given, "secret") for given in ("", "secre", "secret ", "Secret", "sécret")
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "no known type"),
        ('{"type": "eval"}', "no known type"),
        ('{"type": "hello", "token": 7}', "text is missing"),
        ('{"type": "watch"}', "no list"),
        ('{"type": "watch", "wishes": [["", "frame"], 3]}', "no pair"),
        ('{"type": "watch", "wishes": [["", "/rosout"]]}', "no channel"),
        ('{"type": "watch", "wishes": [["../secret", "frame"]]}', "no camera"),
        (json.dumps({"type": "watch", "wishes": [["a", "frame"]] * 100}), "too many"),
        ('{"type": "ask", "text": "mug"}', "no number"),
        ('{"type": "ask", "number": true, "text": "mug"}', "no number"),
        (json.dumps({"type": "ask", "number": 1, "text": "x" * (LONGEST_TEXT + 1)}), "more than"),
        ('{"type": "ask", "number": 1, "text": "\\ud800"}', "no text can have"),
        ('{"type": "ask", "number": 1, "text": "a\\u0000b"}', "no text can have"),
        ('{"type": "ask", "number": 1, "text": "mug", "thresholds": [1]}', "no table"),
        ('{"type": "ask", "number": 1, "text": "mug", "thresholds": {"mug": NaN}}', "no cosine"),
        ('{"type": "ask", "number": 1, "text": "mug", "thresholds": {"mug": "0"}}', "no cosine"),
    ],
)
def test_what_the_page_never_sends_is_refused(text: str, problem: str) -> None:
    with pytest.raises(RequestError, match=problem):
        parse_request(text)


def test_what_the_page_sends_is_understood() -> None:
    assert parse_request('{"type": "watch", "wishes": []}') == Watch(frozenset())
    text = '{"type": "ask", "number": 3, "text": "mug; saw", "thresholds": {"mug": 0.2}}'
    assert parse_request(text) == Ask(3, "mug; saw", {"mug": 0.2})


def test_a_slow_viewer_gets_the_newest_of_each_kind_and_nothing_older() -> None:
    async def run() -> list[object]:
        viewer = Viewer()
        viewer.wishes = frozenset({FRAME, MAPS})
        for number in range(1000):
            viewer.offer(FRAME, b"frame %d" % number)
            viewer.offer(MAPS, b"maps %d" % number)
            viewer.offer((str(number), "answer"), str(number))
        assert viewer.waiting == 2 + MOST_ANSWERS
        return [await viewer.next(), await viewer.next(), await viewer.next()]

    assert asyncio.run(run()) == [b"frame 999", b"maps 999", str(1000 - MOST_ANSWERS)]


def test_what_nobody_looks_at_is_not_wanted_and_not_kept() -> None:
    async def run() -> None:
        changes: list[tuple[frozenset, int]] = []
        hub = Hub(lambda wishes, viewers: changes.append((wishes, viewers)))
        one, other = hub.join(), hub.join()
        assert changes[-1] == (frozenset(), 2)
        hub.look(one, frozenset({FRAME, MAPS}))
        hub.look(other, frozenset({FRAME}))
        assert changes[-1][0] == {FRAME, MAPS}
        hub.deliver(MAPS, b"maps")
        hub.deliver(FRAME, b"frame")
        assert (one.waiting, other.waiting) == (2, 1)
        hub.look(one, frozenset())
        assert one.waiting == 0, "what waited is not looked at any more"
        hub.look(one, frozenset({FRAME, MAPS}))
        assert await one.next() == b"frame", "what another sees is there at once; no old maps are"
        hub.leave(one)
        hub.leave(other)
        assert changes[-1] == (frozenset(), 0)
        hub.deliver(STATE, "old state")
        assert hub.join().waiting == 1

    asyncio.run(run())


def test_other_threads_hand_over_the_newest_only() -> None:
    async def run() -> list[object]:
        delivered: list[object] = []
        mailbox = Mailbox(
            asyncio.get_running_loop(), lambda key, payload: delivered.append(payload)
        )
        thread = threading.Thread(
            target=lambda: [mailbox.put(FRAME, b"%d" % n) for n in range(100)]
        )
        thread.start()
        thread.join()  # the loop was busy meanwhile
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return delivered

    assert asyncio.run(run()) == [b"99"]


def test_an_allowance_ends_and_comes_back() -> None:
    allowance = Allowance(rate=1e9, burst=3)
    slow = Allowance(rate=0, burst=3)
    assert [slow.take() for _ in range(5)] == [True] * 3 + [False] * 2
    assert all(allowance.take() for _ in range(100))


def message_of(name: str = "mug") -> SegmentArray:
    query = parse_query(f"{name}; saw")
    header = Header(frame_id="<img src=x>")
    return segment_array(frame_result(query), header, query_message(query, header.stamp))


def test_a_result_has_everything_and_its_mask_survives() -> None:
    message = message_of()
    content = json.loads(json.dumps(result_content(message), allow_nan=False))
    (segment,) = content["segments"]
    assert segment["box"] == [2, 1, 4, 3] and segment["score"] == 0.75
    expected = np.ones((3, 4), bool)
    expected[0, 0] = False
    np.testing.assert_array_equal(mask_of_runs(segment["runs"], (3, 4)), expected)
    assert segment["points"] == [[3, 2, True], [7, 5, False]]
    assert content["absent"][0]["label"] == "saw" and content["calibration"] is None
    assert content["stages"] == [["clip", 0.25], ["sam", 0.5]]
    assert content["query"]["thresholds"] == [None, None]


def test_places_are_metres_or_a_reason() -> None:
    message = message_of()
    assert result_content(message)["segments"][0]["place"] is None, "no depth"
    place = Place(has_box=True, is_lower_bound=True)
    place.box.position.x, place.size.z = 1.5, 0.25
    message.segments[0].place = place
    shown = result_content(message)["segments"][0]["place"]
    assert shown["box"]["position"] == [1.5, 0, 0] and shown["box"]["size"][2] == 0.25
    message.segments[0].place = Place(reason="no_depth", message="no depth image came")
    assert result_content(message)["segments"][0]["place"]["message"] == "no depth image came"


def test_absent_labels_have_their_presence_or_null() -> None:
    message = message_of()
    (absent,) = result_content(message)["absent"]
    assert (absent["presence"], absent["presence_threshold"]) == (0.125, 0.5)
    message.absent = [AbsentLabel(label="saw", presence=math.nan, presence_threshold=math.nan)]
    (absent,) = result_content(message)["absent"]
    assert absent["presence"] is None and absent["presence_threshold"] is None


def test_messages_that_contradict_themselves_are_errors_and_no_crash() -> None:
    message = message_of()
    message.segments[0].mask.data = b"\1"
    with pytest.raises(ValueError, match="reshape"):
        result_content(message)
    maps = HeatmapArray(labels=["a", "b"], values=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="reshape"):
        heatmaps_content(maps)


def test_maps_are_row_by_row() -> None:
    result = frame_result(parse_query("mug; saw"))
    content = heatmaps_content(heatmap_array(result, Header()))
    assert (content["height"], content["width"], content["labels"]) == (2, 3, ["mug", "saw"])
    assert content["maps"][1] == pytest.approx([0.6, 0.7, 0.8, 0.9, 1.0, 1.1])


def test_a_binary_message_is_length_json_and_picture() -> None:
    message = framed({"name": "ä"}, b"JPEG")
    length = int.from_bytes(message[:4], "little")
    assert json.loads(message[4 : 4 + length]) == {"name": "ä"}
    assert message[4 + length :] == b"JPEG"


def test_large_images_are_made_smaller_and_jpeg_is_passed_on() -> None:
    pixels = np.zeros((1000, 2560, 3), np.uint8)
    pixels[:, :1280] = (250, 30, 20)
    jpeg, width, height = jpeg_of(image_message(pixels, "rgb8", Header()))
    assert (width, height) == (2560, 1000)
    shown = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (500, LONGEST_SIDE, 3)
    np.testing.assert_allclose(shown[250, 100], (20, 30, 250), atol=6)  # BGR
    np.testing.assert_allclose(shown[250, 1200], (0, 0, 0), atol=6)
    compressed = CompressedImage(format="rgb8; jpeg compressed bgr8", data=jpeg)
    assert jpeg_of(compressed) == (jpeg, 0, 0)


def test_images_wait_for_their_result_within_a_limit() -> None:
    kept = Pictures(most_bytes=30)
    for second in range(5):
        message = Image(data=bytes(10))
        message.header.stamp.sec = second
        kept.keep(message)
    assert kept.take("1.000000000") is None, "the oldest two went"
    assert kept.take("3.000000000").header.stamp.sec == 3
    assert kept.take("2.000000000") is None, "older than one that was taken"
    assert kept.take("3.000000000") is not None, "the result of the same image may come again"


def test_the_page_is_complete_and_has_no_inline_code() -> None:
    files = page_files()
    index = files["index.html"].data.decode()
    linked = re.findall(r'(?:src|href)="([^"#]+)"', index)
    imported = [
        str((Path(name).parent / target).as_posix())
        for name, file in files.items()
        if name.endswith(".js")
        for target in re.findall(r'(?:from\s?|import\()"(\./[^"]+)"', file.data.decode())
    ]
    assert {"app.js", "style.css", "icon.svg"} <= set(linked)
    assert {"space.js", "vendor/three.module.min.js", "vendor/three.core.min.js"} <= set(imported)
    assert set(linked) | set(imported) <= files.keys()
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=|javascript:", index)
    own = "".join(f.data.decode() for name, f in files.items() if not name.startswith("vendor/"))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", own)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", own), "works without a network"
    policy = SECURITY_HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_libraries_of_the_page_have_their_licence() -> None:
    notice = (Path(__file__).parents[1] / "NOTICE").read_text()
    for name in ("three", "fflate"):
        assert "MIT" in (PAGE / "vendor" / f"{name}.LICENSE").read_text()
        assert f"vendor/{name}.LICENSE" in notice


def test_colours_are_those_of_the_overlay() -> None:
    numbers = re.findall(r"\[(\d+), (\d+), (\d+)\]", (PAGE / "palette.js").read_text())
    assert [tuple(map(int, each)) for each in numbers[: len(PALETTE)]] == list(PALETTE)


def test_other_addresses_than_this_machine_need_a_token(tmp_path: Path) -> None:
    assert parse_options([]).host == "127.0.0.1" and parse_options([]).token == ""
    assert parse_options(["--host", "::1"]).token == ""
    one, other = (parse_options(["--host", "0.0.0.0"]).token for _ in range(2))
    assert len(one) >= 32 and one != other
    file = tmp_path / "token"
    file.write_text("0123456789abcdef\n")
    given = parse_options(["--host", "192.168.1.7", "--token-file", str(file)])
    assert given.token == "0123456789abcdef"
    file.write_text("short")
    with pytest.raises(ConfigError, match="at least 16"):
        read_token(file)
    file.write_text("a token with spaces in it")
    with pytest.raises(ConfigError, match="nothing else"):
        read_token(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(tmp_path / "none")


def test_a_node_that_is_named_wrongly_is_refused() -> None:
    for options in (["--node", "no spaces"], ["--demo-camera", "1st"]):
        with pytest.raises(ConfigError, match="is no name of a node"):
            parse_options(options)


def test_a_wrong_command_line_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(["--port", "70000"])
    assert capsys.readouterr().err.startswith("clip_surgery_web: --port is 70000, but ports end")


def test_unused_query_message_fields_are_harmless() -> None:
    query = TextQuery(labels=["a", "b"], thresholds=[0.25, float("nan")])
    content = result_content(SegmentArray(query=query, segments=[SegmentMessage()]))
    assert content["query"]["thresholds"] == [0.25, None]
    assert content["segments"][0]["runs"] == []
