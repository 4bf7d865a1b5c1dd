"""A program that sends images like a camera, or receives and counts them like the node.

``python -m clip_surgery_ros.benchmark.image_link send raw 10 60`` or ``... receive raw 60``; each
prints its measurements as one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import cv2
import rclpy
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from clip_surgery_ros.benchmark.picture import table_picture
from clip_surgery_ros.demo.readers import KNOWN_S
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.images import image_message

TOPIC = "image_raw"
SIZE_HW = (720, 1280)
JPEG_QUALITY = 95
"""The default of image_transport's compressed images."""
DISCOVERY_S = 60.0
"""The longest time until both programs run and know each other, on a busy machine."""
LOST_S = 5.0
"""Without an image for so long, the receiver expects no more."""
LIMIT_S = 30.0
"""The sender stops after this time: a publisher that blocks so long has been measured."""


def message(kind: str) -> Image | CompressedImage:
    """Make a message with a picture: ``raw``, 2.8 MB, or ``jpeg``, about 150 kB."""
    rgb = table_picture(SIZE_HW)
    if kind == "raw":
        return image_message(rgb, "rgb8", Header())
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return CompressedImage(format="rgb8; jpeg compressed bgr8", data=jpeg.tobytes())


def send(kind: str, rate_hz: float, count: int) -> dict[str, float]:
    """Wait for a subscriber, then publish images.

    :return: ``sent``, the number of images, ``rate`` in Hz, and ``longest``, the longest call of
        ``publish`` in seconds.
    """
    image, node = message(kind), Node("camera")
    publisher = node.create_publisher(type(image), TOPIC, qos.newest_image())
    end_s = time.monotonic() + DISCOVERY_S
    while not publisher.get_subscription_count() and time.monotonic() < end_s:
        time.sleep(0.05)
    time.sleep(KNOWN_S)
    start_s, publish_s = time.monotonic(), [0.0]
    for number in range(count):
        time.sleep(max(0.0, start_s + number / rate_hz - time.monotonic()))
        if time.monotonic() - start_s > LIMIT_S:
            break
        image.header.stamp = node.get_clock().now().to_msg()
        before_s = time.monotonic()
        publisher.publish(image)
        publish_s.append(time.monotonic() - before_s)
    sent = len(publish_s) - 1
    duration_s = max(time.monotonic() - start_s, (sent - 1) / rate_hz)
    return {"sent": sent, "rate": (sent - 1) / duration_s, "longest": max(publish_s)}


def receive(kind: str, count: int) -> dict[str, float]:
    """Count images until all have arrived or no more come.

    :return: ``arrived``, the number of images, ``lost``, the number that the middleware reported
        as lost, and ``age``, the median age on arrival in seconds, NaN without images.
    """
    node, ages_s, lost = Node("receiver"), list[float](), [0]

    def receive_image(image: Any) -> None:
        sent_ns = Time.from_msg(image.header.stamp).nanoseconds
        ages_s.append((node.get_clock().now().nanoseconds - sent_ns) / 1e9)

    def count_lost(number: int) -> None:
        lost[0] += number

    image_type = Image if kind == "raw" else CompressedImage
    qos.open_subscription(
        node, image_type, TOPIC, receive_image, qos.newest_image(), on_lost=count_lost
    )
    end_s = time.monotonic() + DISCOVERY_S
    while len(ages_s) < count and time.monotonic() < end_s:
        before = len(ages_s), lost[0]
        rclpy.spin_once(node, timeout_sec=0.2)
        if before != (len(ages_s), lost[0]):
            end_s = time.monotonic() + LOST_S
    age_s = statistics.median(ages_s) if ages_s else float("nan")
    return {"arrived": len(ages_s), "lost": lost[0], "age": age_s}


def main() -> None:
    """Send or receive, depending on the command line."""
    role, kind, *numbers = sys.argv[1:]
    rclpy.init()
    if role == "send":
        print(json.dumps(send(kind, float(numbers[0]), int(numbers[1]))), flush=True)
        sys.stdin.read()  # images on their way are lost when this process ends
    else:
        print(json.dumps(receive(kind, int(numbers[0]))), flush=True)
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
