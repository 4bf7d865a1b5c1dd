"""Images between machines: the socket buffers of the DDS profile, and a measurement."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rclpy.event_handler import UnsupportedEventTypeError
from ros.harness import PROFILE, ROOT
from sensor_msgs.msg import Image

from clip_surgery_ros.benchmark.two_machines import (
    SHIPPED,
    SMALL_BUFFER,
    Case,
    NoNamespaces,
    measure,
    table_row,
    two_machines,
)
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.transport import LIMIT, SOCKET_BYTES, loss_advice

IMAGE_BYTES = 1280 * 720 * 3


def test_documented_socket_buffer_is_that_of_the_profile() -> None:
    names = {"dds": "http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"}
    sizes = ET.parse(PROFILE).findall(".//dds:receiveBufferSize", names)
    assert [int(size.text or "") for size in sizes] == [SOCKET_BYTES]
    for page in (PROFILE, ROOT / "docs" / "two-machines.md", ROOT / "docs" / "troubleshooting.md"):
        assert f"net.core.rmem_max={SOCKET_BYTES}" in page.read_text(), page


@pytest.mark.parametrize(
    ("limit", "advice"),
    [
        ("212992\n", "net.core.rmem_max is 212992, and images from another machine want 16777216"),
        ("16777216\n", "start the camera with config/fastdds.xml"),
        ("2147483647\n", "start the camera with config/fastdds.xml"),
        (None, "start the camera with config/fastdds.xml"),
    ],
)
def test_advice_names_the_system_limit_if_it_is_too_low(
    tmp_path: Path, limit: str | None, advice: str
) -> None:
    path = tmp_path / "rmem_max"
    if limit is not None:
        path.write_text(limit)
    assert loss_advice(path).startswith(advice)


def test_subscription_opens_without_the_event_of_lost_messages() -> None:
    class NodeWithoutLossEvent:
        """A node whose middleware does not support the event of lost messages."""

        subscriptions = publishers = ()

        def resolve_topic_name(self, topic: str) -> str:
            return f"/{topic}"

        def create_subscription(self, *_: object, event_callbacks: object, **__: object) -> str:
            if event_callbacks is not None:
                raise UnsupportedEventTypeError("message lost")
            return "a subscription"

    opened = qos.open_subscription(
        NodeWithoutLossEvent(), Image, "t", print, qos.newest_image(), on_lost=print
    )
    assert opened == "a subscription"


@pytest.mark.slow
def test_shipped_profile_carries_images_between_machines() -> None:
    if int(LIMIT.read_text()) < IMAGE_BYTES:
        pytest.skip(f"net.core.rmem_max is below an image's {IMAGE_BYTES} bytes")
    outcomes = {}
    try:
        for profile in (SMALL_BUFFER, SHIPPED):
            case = Case("", "raw", 10, 30, profile)
            with two_machines() as spaces:
                outcomes[profile] = measure(case, spaces)
            print(table_row(case, outcomes[profile]))
    except NoNamespaces as reason:
        pytest.skip(str(reason))
    before, shipped = outcomes[SMALL_BUFFER], outcomes[SHIPPED]
    assert before.sent == shipped.sent == 30
    # A buffer of 208 kB holds a tenth of an image, so the small profile loses images.
    assert before.lost > 0
    assert shipped.arrived > before.arrived
    assert shipped.arrived >= 27  # tolerance for a busy machine
