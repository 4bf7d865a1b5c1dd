"""The requested device, the device in use, and what happens when it fails."""

from pathlib import Path

import numpy as np
import pytest
import torch
from clip_surgery_ros.msg import SegmentArray
from diagnostic_msgs.msg import DiagnosticStatus
from ros.harness import START_S, Inbox, Process
from ros.known_scene import known_scene
from ros.rig import CONFIGURE, values_of, wait_readers
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.node.program import DEVICE_LOST
from clip_surgery_ros.ros.images import image_message

without_gpu = pytest.mark.skipif(
    torch.cuda.is_available(), reason="this test needs a machine without CUDA"
)


def device_values(rig, state):
    """Return the node's status in this state, and its devices: in use and requested."""
    status, *_ = rig.health(lambda statuses: values_of(statuses[0])["state"] == state)
    values = values_of(status)
    return status, (values["device"], values["device asked for"])


@without_gpu
def test_auto_uses_the_cpu_without_cuda(rigs):
    rig = rigs(load=load_networks)
    rig.activate()
    status, devices = device_values(rig, "active")
    assert devices == ("cpu", "auto")
    assert status.level == DiagnosticStatus.OK


@without_gpu
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:3"])
def test_missing_cuda_device_fails_to_configure_with_an_error(rigs, device, capfd):
    rig = rigs(load=load_networks, device=device)
    assert not rig.change(CONFIGURE)
    status, devices = device_values(rig, "unconfigured")
    assert devices == ("none", device)
    assert status.level == DiagnosticStatus.ERROR
    assert f"device '{device}' was asked for" in status.message
    assert "allow_cpu_fallback" in status.message
    assert "Traceback" not in capfd.readouterr().err
    assert rig.set("device", "cpu").successful
    rig.activate()


@without_gpu
def test_allowed_cpu_fallback_runs_with_a_warning(rigs, capfd):
    rig = rigs(load=load_networks, device="cuda:0", allow_cpu_fallback=True)
    rig.activate()
    status, devices = device_values(rig, "active")
    assert devices == ("cpu", "cuda:0")
    assert status.level == DiagnosticStatus.WARN
    assert "device cuda:0 was requested but is not available" in status.message
    assert "running on the CPU" in capfd.readouterr().err


def test_out_of_memory_is_reported_and_the_next_frame_works(rigs, monkeypatch):
    """Torch raises the error itself, for an allocation larger than any machine's memory."""

    def load(config):
        networks = load_networks(config)
        encode = networks.sam.encode

        def encode_or_exhaust_memory(image_rgb):
            if image_rgb.shape[0] > 500:
                torch.empty(2**60, dtype=torch.uint8)
            return encode(image_rgb)

        monkeypatch.setattr(networks.sam, "encode", encode_or_exhaust_memory)
        return networks

    scene = known_scene()
    rig = rigs(load=load, distractors=False)
    rig.activate()
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("; ".join(scene.names))
    large = np.ascontiguousarray(scene.image.repeat(2, 0).repeat(2, 1))
    rig.show("large", image_message(large, "rgb8", Header()))
    _, camera = rig.health(lambda statuses: "out of memory" in statuses[1].message)
    assert camera.level == DiagnosticStatus.ERROR
    assert "1280 x 960" in camera.message and "clip_input_size" in camera.message
    rig.show("small", image_message(scene.image, "rgb8", Header()))
    message = segments.wait()
    assert message.header.frame_id == "small" and message.segments
    rig.health(lambda statuses: "out of memory" not in statuses[1].message)


def test_lost_gpu_ends_the_process_with_a_sentence_and_a_status(ros_node):
    """A supervisor restarts a process that ends; one that answers no frame runs for ever."""
    program = Path(__file__).parent / "ros" / "lost_gpu_node.py"
    with Process(str(program), "--ros-args", "-p", "default_query:=mug") as node:
        Inbox(ros_node, SegmentArray, "/clip_surgery/segments")
        images = ros_node.create_publisher(Image, "image_raw", 10)
        pixels = np.zeros((6, 8, 3), np.uint8)
        ros_node.create_timer(0.1, lambda: images.publish(image_message(pixels, "rgb8", Header())))
        assert node.wait(START_S) == DEVICE_LOST == 3
        (sentence,) = [line for line in node.text().splitlines() if "[FATAL]" in line]
        assert "CUDA error: unspecified launch failure" in sentence
        assert "this process ends, and its supervisor must restart it" in sentence
        assert "Traceback" not in node.text()
