"""``clip_surgery ask`` sends a query to a running node and prints the answer."""

import os
import signal
import threading

import cv2
import pytest
from ros.harness import Process
from ros.rig import ACTIVATE, CONFIGURE, DEACTIVATE, PIXELS, wait_readers
from sensor_msgs.msg import Image

from clip_surgery_ros.tools.cli import main

ASK = ("-m", "clip_surgery_ros.tools.cli", "ask")
SOON = ("--wait", "2")
"""A short wait, for tests without an answer."""


def without_wait_notes(lines):
    """Drop the notes that a busy machine causes."""
    return [line for line in lines if not line.startswith("waiting for ")]


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), cv2.cvtColor(PIXELS, cv2.COLOR_RGB2BGR))
    return path


@pytest.fixture
def run_ask(capsys):
    """Run the subcommand in this process; return exit status, output and error output."""

    def ask(*arguments):
        status = main(["ask", *arguments])
        printed = capsys.readouterr()
        return status, printed.out, "".join(without_wait_notes(printed.err.splitlines()))

    return ask


def test_ask_with_picture_answers_and_keeps_the_stream_query(active, run_ask, photo):
    active.ask("saw")
    status, printed, complaint = run_ask("mug; red  cup", "--image", str(photo))
    assert (status, complaint) == (0, "")
    assert printed.splitlines() == [
        "  found      mug                score 0.75  presence 0.88  box 4 x 3 at (2, 1)",
        "  not found  red cup            nothing like it",
    ]
    image, query, _ = active.engine.requests[-1]
    assert image.tolist() == PIXELS.tolist() and query.names == ("mug", "red cup")
    assert list(active.echo.messages[-1].labels) == ["saw"]


def test_ask_without_picture_answers_for_the_next_camera_frame(active):
    active.ask("saw")
    with Process(*ASK, "mug; cup") as ask:
        active.echo.wait(lambda query: list(query.labels) == ["mug", "cup"])
        wait_readers(active, "segments")
        active.show("after the query")
        assert ask.wait() == 0
        assert [line.split()[:3] for line in without_wait_notes(ask.lines)] == [
            ["found", "mug", "score"],
            ["not", "found", "cup"],
        ]


def test_ask_ignores_a_frame_of_the_previous_query(rigs):
    rig = rigs(default_query="saw")
    rig.activate()
    release = threading.Event()
    rig.engine._before = lambda _: release.wait()
    with Process(*ASK, "mug") as ask:
        wait_readers(rig, "segments")
        rig.show("of the previous query")
        rig.echo.wait(lambda query: list(query.labels) == ["mug"])
        release.set()
        rig.show("of this query")
        assert ask.wait() == 0
        assert [line.split()[1] for line in without_wait_notes(ask.lines)] == ["mug"]


def test_ask_with_camera_option_uses_that_camera(rigs):
    rig = rigs(image_topics=["/front/image_raw", "/rear/image_raw"])
    rig.activate()
    with Process(*ASK, "mug", "--camera", "rear", "--node", "/clip_surgery") as ask:
        rig.echo.wait(lambda query: list(query.labels) == ["mug"])
        wait_readers(rig, "segments", camera=1)
        publisher = rig.outside.create_publisher(Image, "/rear/image_raw", 1)
        rig.show("seen by the rear camera", publisher=publisher)
        assert ask.wait() == 0
        assert [line.split()[1] for line in without_wait_notes(ask.lines)] == ["mug"]


def test_ask_without_node_is_one_sentence(ros_context, run_ask):
    status, printed, complaint = run_ask("mug", "--wait", "0.5", "--node", "/robot/finder")
    assert (status, printed) == (2, "")
    assert complaint.startswith("clip_surgery: there is no node /robot/finder after 0.5 s; start")


def test_ask_without_images_is_one_sentence_with_the_node_status(active, run_ask):
    status, printed, complaint = run_ask("mug", *SOON)
    assert (status, printed) == (2, "")
    assert "no answer on /clip_surgery/segments within 2 s" in complaint
    assert "the node says: clip_surgery: " in complaint and "camera: " in complaint


def test_ask_prints_the_error_of_an_inactive_node(rig, run_ask, photo):
    assert rig.change(CONFIGURE) and rig.change(ACTIVATE) and rig.change(DEACTIVATE)
    status, _, complaint = run_ask("mug", "--image", str(photo))
    assert status == 2
    assert "/clip_surgery: the node was deactivated; activate it first" in complaint


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((" ; ",), "names nothing"),
        (("mug", "--image", "nowhere.png"), "nowhere.png"),
        (("mug", "--node", "no name!"), "'no name!' is no name of a node"),
        (("mug", "--camera", "front door"), "'front door' is no name of a camera"),
    ],
)
def test_ask_with_invalid_argument_is_one_sentence(run_ask, arguments, sentence):
    status, printed, complaint = run_ask(*arguments, *SOON)
    assert (status, printed) == (2, "")
    assert sentence in complaint and len(complaint.splitlines()) == 1


@pytest.mark.parametrize("wait", ["0", "-1", "nan", "inf", "soon"])
def test_ask_with_invalid_wait_is_one_sentence(run_ask, wait):
    status, printed, complaint = run_ask("mug", f"--wait={wait}")
    assert (status, printed) == (2, "")
    assert f"--wait is {wait}, but must be a number above 0" in complaint


def test_ctrl_c_ends_ask_without_a_traceback(ros_context):
    with Process(*ASK, "mug") as ask:
        ask.wait_for_line("waiting for /clip_surgery")
        ask.signal(signal.SIGINT)
        assert ask.wait() == 130
        assert "Traceback" not in ask.text()


def test_ask_without_ros_names_the_missing_module(tmp_path):
    (tmp_path / "rclpy.py").write_text("raise ModuleNotFoundError(\"No module named 'rclpy'\")\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with Process(*ASK, "mug", environment={"PYTHONPATH": path}) as ask:
        assert ask.wait() == 2
        assert ask.text() == (
            "clip_surgery: ask needs ROS (No module named 'rclpy'); source it, or use the "
            "environment that ./demo makes"
        )
