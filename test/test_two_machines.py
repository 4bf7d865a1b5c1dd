"""Images between machines: what the profile asks the system for, and that it serves."""

from __future__ import annotations

import sys
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


def test_what_is_told_of_is_what_the_profile_asks_for() -> None:
    names = {"dds": "http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"}
    sizes = ET.parse(PROFILE).findall(".//dds:receiveBufferSize", names)
    assert [int(size.text or "") for size in sizes] == [SOCKET_BYTES]
    for page in (PROFILE, ROOT / "docs" / "two-machines.md", ROOT / "docs" / "troubleshooting.md"):
        assert f"net.core.rmem_max={SOCKET_BYTES}" in page.read_text(), page


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("212992\n", "net.core.rmem_max is 212992, and images from another machine want 16777216"),
        ("16777216\n", "start the camera with config/fastdds.xml"),
        ("2147483647\n", "start the camera with config/fastdds.xml"),
        (None, "start the camera with config/fastdds.xml"),
    ],
)
def test_a_limit_of_the_system_is_named_where_it_is_too_low(
    tmp_path: Path, limit: str | None, said: str
) -> None:
    path = tmp_path / "rmem_max"
    if limit is not None:
        path.write_text(limit)
    assert loss_advice(path).startswith(said)


def test_a_middleware_that_does_not_tell_of_losses_serves_too() -> None:
    class Deaf:
        """A node whose middleware knows no such event."""

        subscriptions = publishers = ()

        def resolve_topic_name(self, topic: str) -> str:
            return f"/{topic}"

        def create_subscription(self, *_: object, event_callbacks: object, **__: object) -> str:
            if event_callbacks is not None:
                raise UnsupportedEventTypeError("message lost")
            return "a subscription"

    opened = qos.open_subscription(Deaf(), Image, "t", print, qos.newest_image(), on_lost=print)
    assert opened == "a subscription"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")
def test_images_cross_to_another_machine_with_the_profile_that_is_shipped() -> None:
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
    # A buffer of 208 kB holds a tenth of an image: whole ones come only while the reader keeps up.
    assert before.lost > 0
    assert shipped.arrived > before.arrived
    assert shipped.arrived >= 27  # of a machine that is busy with other things
