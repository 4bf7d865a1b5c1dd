"""Count best-effort images until the last one or a pause.

It prints "matched" when it has discovered the sender; earlier images would be dropped.

Usage: receive_images.py TOPIC COUNT
"""

import sys
import time

import rclpy
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

TOPIC, COUNT = sys.argv[1], int(sys.argv[2])
PATIENCE_S = 5.0
DISCOVERY_S = 30.0

rclpy.init()
node = rclpy.create_node("receiver")
numbers = set()
# A short queue tolerates a busy machine; the test is about the transport between processes.
quality = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
node.create_subscription(
    Image,
    TOPIC,
    lambda image: numbers.add(int(image.header.frame_id)) if len(image.data) == 2764800 else None,
    quality,
    event_callbacks=SubscriptionEventCallbacks(matched=lambda _: print("matched", flush=True)),
)
deadline = time.monotonic() + DISCOVERY_S
while time.monotonic() < deadline and COUNT - 1 not in numbers:
    before = len(numbers)
    rclpy.spin_once(node, timeout_sec=0.5)
    if len(numbers) > before:
        deadline = time.monotonic() + PATIENCE_S
print("received", len(numbers), "missing", sorted(set(range(COUNT)) - numbers), flush=True)
rclpy.shutdown()
