"""The parts of the node, tested without a running node."""

from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from clip_surgery_ros.srv import Segment
from rclpy.lifecycle import TransitionCallbackReturn
from ros.fakes import FakeNetworks
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from clip_surgery_ros.core.errors import ClipSurgeryError, ImageError, QueryError
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.types import Query, Wanted
from clip_surgery_ros.node.camera_set import CameraSet
from clip_surgery_ros.node.frames import age_s, log_text, reason_before_work, reason_on_arrival
from clip_surgery_ros.node.health import describe_image
from clip_surgery_ros.node.inference import Inference
from clip_surgery_ros.node.lifecycle import Lifecycle
from clip_surgery_ros.node.networks import NodeNetworks
from clip_surgery_ros.node.services import requested_query, run_on_worker
from clip_surgery_ros.parameters.cameras import parse_cameras
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.ros.images import image_message
from clip_surgery_ros.ros.messages import query_message
from clip_surgery_ros.ros.newest_worker import NewestWorker
from clip_surgery_ros.ros.queries import ActiveQuery
from clip_surgery_ros.ros.rate_limit import RateLimit
from clip_surgery_ros.ros.tally import Tally

MUG = query_of(["mug"])
PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
ERROR = TransitionCallbackReturn.ERROR


def config(**values):
    """Return the default parameters with these changes."""
    return Config.from_values(values)


class Logger:
    """Records log messages by level."""

    def __init__(self):
        self.infos, self.warnings, self.errors = [], [], []

    def info(self, message):
        self.infos.append(message)

    def warning(self, message):
        self.warnings.append(message)

    def error(self, message):
        self.errors.append(message)


# Reasons to skip a frame


def camera_with(readers):
    return SimpleNamespace(subscribed_outputs=lambda: ("segments",) * readers, rate=RateLimit())


@pytest.mark.parametrize(
    ("query", "enabled", "readers", "reason"),
    [
        (MUG, True, 1, ""),
        (Query(), False, 0, "skipped: nothing asked"),
        (MUG, False, 0, "skipped: switched off"),
        (MUG, True, 0, "skipped: nobody reads"),
    ],
)
def test_image_on_arrival_is_skipped_for_the_first_reason(query, enabled, readers, reason):
    assert reason_on_arrival(camera_with(readers), query, enabled, 0.0) == reason


def test_skipped_images_do_not_count_for_the_rate_limit():
    camera = camera_with(readers=1)
    assert reason_on_arrival(camera, Query(), True, 0.1) == "skipped: nothing asked"
    assert reason_on_arrival(camera, MUG, True, 0.1) == ""
    assert reason_on_arrival(camera, MUG, True, 0.1) == "skipped: rate limit"


@pytest.mark.parametrize(
    ("query", "readers", "age", "max_age", "reason"),
    [
        (MUG, 1, 2.0, 3.0, ""),
        (MUG, 1, 4.0, 3.0, "skipped: too old"),
        (MUG, 1, 4.0, 0.0, ""),
        (MUG, 1, None, 3.0, ""),
        (MUG, 1, -4.0, 3.0, ""),
        (MUG, 0, 4.0, 3.0, "skipped: nobody reads"),
        (Query(), 1, 4.0, 3.0, "skipped: nothing asked"),
    ],
)
def test_image_before_inference_is_skipped_for_the_first_reason(
    query, readers, age, max_age, reason
):
    assert reason_before_work(camera_with(readers), query, age, max_age) == reason


def test_age_is_the_time_since_the_stamp():
    stamped = Header(stamp=Time(sec=5, nanosec=250_000_000))
    assert age_s(stamped, 7 * 10**9) == 1.75
    assert age_s(stamped, 5 * 10**9) == -0.25
    assert age_s(Header(stamp=Time(sec=-1)), 10**9) == 2.0


def test_age_is_unknown_without_stamp_or_simulated_time():
    assert age_s(Header(), 7 * 10**9) is None
    assert age_s(Header(stamp=Time(sec=5)), 0) is None


def test_log_has_a_traceback_only_for_unexpected_errors():
    assert log_text(ImageError("too large"), "Traceback") == "too large"
    assert log_text(ValueError("a defect"), "Traceback") == "Traceback"


# Networks


def node_networks(loads, logger=None, **networks):
    """Return node networks that record each load and release."""

    def load(parameters):
        loads.append(parameters.device)
        fake = FakeNetworks()
        for name, value in networks.items():
            setattr(fake, name, value)
        return fake

    return NodeNetworks(
        load, lambda: loads.append("free"), lambda: loads.append("loaded"), logger or Logger()
    )


def test_networks_load_once_for_the_same_parameters():
    events = []
    networks = node_networks(events)
    first = networks.load(config(device="cpu", max_rate_hz=1.0))
    assert networks.load(config(device="cpu", max_rate_hz=2.0)) is first
    assert events == ["free", "cpu", "loaded"]


def test_old_networks_are_released_before_new_ones_load():
    events = []
    networks = node_networks(events)
    networks.load(config(device="cpu"))
    networks.load(config(device="auto"))
    assert events == ["free", "cpu", "loaded", "free", "auto", "loaded"]
    networks.release()
    assert networks.loaded is None and networks.unknown_notes(MUG) == []


def test_fallback_to_the_cpu_is_a_warning():
    logger = Logger()
    node_networks([], logger, fell_back=True).load(config(device="cuda:0"))
    assert "device cuda:0 is not available; running on the CPU" in logger.warnings[0]


def test_engine_is_rebuilt_when_parameters_change():
    networks = node_networks([])
    first, second = config(), config()
    networks.engine(first)
    networks.engine(first)
    networks.engine(second)
    assert networks.loaded.configs == [first, second]


def test_inference_converts_an_image_and_times_its_stages():
    networks, tally = node_networks([]), Tally()
    inference = Inference(networks, tally, on_device_lost=lambda error: None)
    message = image_message(PIXELS, "bgr8", Header(frame_id="camera"))
    image_rgb = inference.to_rgb(message)
    assert image_rgb.tolist() == PIXELS[..., ::-1].tolist()
    active = ActiveQuery(MUG, query_message(MUG, Time()))
    frame = inference.run(image_rgb, message.header, active, Wanted(), config())
    assert frame.header.frame_id == "camera" and frame.result.query == MUG
    assert set(tally.counts) == {"convert", "clip", "sam"}


# Cameras


class FakeCamera:
    """A camera without topics that records calls."""

    def __init__(self, topic, newest=None):
        self.topic, self.newest_image = topic, newest
        self.image_topic = topic.topic
        self.events = []

    def listen(self, transport, on_image):
        self.events.append(transport)

    def stop_listening(self):
        self.events.append("stop listening")

    def close(self):
        self.events.append("close")


def test_cameras_stay_open_while_topics_are_unchanged():
    cameras = CameraSet(FakeCamera)
    cameras.open(parse_cameras(["front:=/a", "rear:=/b"]))
    first = cameras.all
    cameras.open(parse_cameras(["front:=/a", "rear:=/b"]))
    assert cameras.all is first
    cameras.open(parse_cameras(["front:=/a"]))
    assert [camera.events for camera in first] == [["close"], ["close"]]
    assert [camera.topic.name for camera in cameras] == ["front"]


def test_newest_image_is_found_by_camera_name():
    cameras = CameraSet(FakeCamera)
    cameras.open(parse_cameras(["front:=/a", "rear:=/b"]))
    cameras.all[1].newest_image = image = Image()
    assert cameras.newest_image("rear") is image
    with pytest.raises(ImageError, match="no image has arrived on /a yet"):
        cameras.newest_image("front")
    for name in ("", "left"):
        with pytest.raises(ImageError, match=f"no camera '{name}'; the cameras are: front, rear"):
            cameras.newest_image(name)


def test_newest_image_of_a_single_camera_needs_no_name():
    cameras = CameraSet(FakeCamera)
    cameras.open(parse_cameras(["image_raw"]))
    cameras.all[0].newest_image = image = Image()
    assert cameras.newest_image("") is image
    with pytest.raises(ImageError, match="a single one, without a name"):
        cameras.newest_image("front")


# Transitions


class LifecycleParts:
    """A lifecycle with fakes of all parts that it starts and stops.

    :param failing: names of steps that raise an error.
    """

    def __init__(self, *failing):
        self.events, self.logger = [], Logger()

        def step(name, result=None):
            def run(*_):
                self.events.append(name)
                if name in failing:
                    raise ClipSurgeryError(f"{name} failed")
                return result

            return run

        class Cameras(list):
            open, close = step("open"), step("close")
            listen, stop_listening = step("listen"), step("stop listening")

        self.lifecycle = Lifecycle(
            SimpleNamespace(config=config()),
            SimpleNamespace(load=step("load", FakeNetworks()), release=step("release")),
            Cameras(),
            SimpleNamespace(listen=step("transforms"), stop=step("no transforms")),
            SimpleNamespace(start=step("start"), stop=step("stop"), is_running=True),
            SimpleNamespace(begin=lambda _: None, on_image=None),
            self.logger,
            on_device_lost=lambda error: None,
        )


def test_transitions_start_and_stop_parts_in_order():
    parts = LifecycleParts()
    assert parts.lifecycle.configure() == parts.lifecycle.activate() == SUCCESS
    assert parts.events == ["load", "open", "load", "open", "start", "listen"]
    parts.events.clear()
    assert parts.lifecycle.deactivate() == parts.lifecycle.clean_up() == SUCCESS
    stopped = ["stop listening", "stop", "no transforms"]
    assert parts.events == stopped * 2 + ["close", "release"]


def test_failed_activation_is_undone():
    parts = LifecycleParts("listen")
    assert parts.lifecycle.activate() == FAILURE
    assert parts.events[-3:] == ["stop listening", "stop", "no transforms"]
    assert parts.lifecycle.last_error == "cannot activate: listen failed"
    assert parts.logger.errors == ["cannot activate: listen failed"]


def test_failed_transition_that_cannot_be_undone_is_an_error():
    parts = LifecycleParts("load", "close")
    assert parts.lifecycle.configure() == ERROR
    assert parts.lifecycle.last_error == "cannot configure: load failed"
    assert parts.logger.errors[1] == "cannot undo configure: close failed"


def test_successful_transition_clears_the_last_error():
    parts = LifecycleParts("load")
    parts.lifecycle.configure()
    assert parts.lifecycle.deactivate() == SUCCESS
    assert parts.lifecycle.last_error == ""


# Services and diagnostics


def test_request_without_labels_uses_the_active_query():
    active = ActiveQuery(MUG, query_message(MUG, Time()))
    assert requested_query(Segment.Request(), active, Time()) is active
    saw = requested_query(Segment.Request(labels=["saw"], thresholds=[0.5]), active, Time(sec=3))
    assert saw.query.names == ("saw",) and list(saw.message.thresholds) == [0.5]
    assert saw.message.header.stamp.sec == 3


@pytest.mark.parametrize(
    ("labels", "message"), [([], "there is no query"), ([" "], "the labels are empty")]
)
def test_request_without_labels_and_query_is_rejected(labels, message):
    empty = ActiveQuery(Query(), query_message(Query(), Time()))
    with pytest.raises(QueryError, match=message):
        requested_query(Segment.Request(labels=labels), empty, Time())


def test_run_on_worker_returns_the_result_or_raises_the_error():
    worker = NewestWorker()
    with pytest.raises(ClipSurgeryError, match="the node was deactivated"):
        run_on_worker(worker, lambda: "result")
    worker.start()
    assert run_on_worker(worker, lambda: "result") == "result"
    with pytest.raises(ZeroDivisionError):
        run_on_worker(worker, lambda: 1 / 0)
    worker.stop()


def test_image_description_has_size_and_encoding():
    assert describe_image(None) == "none yet"
    assert describe_image(Image(width=640, height=480, encoding="rgb8")) == "640 x 480 rgb8"
    jpeg = CompressedImage(format="jpeg", data=b"abc")
    assert describe_image(jpeg) == "jpeg, 3 bytes"
