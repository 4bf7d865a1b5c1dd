"""Publish numbered 1280 x 720 images at 30 Hz, best effort.

It prints "matched" when it has discovered the receiver, and starts at a line on standard input.

Usage: send_images.py TOPIC COUNT
"""

import sys

import numpy as np
import rclpy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.images import image_message

TOPIC, COUNT = sys.argv[1], int(sys.argv[2])
RATE_HZ = 30

rclpy.init()
node = rclpy.create_node("sender")
publisher = node.create_publisher(Image, TOPIC, qos.newest_image())
pixels = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
sent = 0
while not publisher.get_subscription_count():
    rclpy.spin_once(node, timeout_sec=0.05)
print("matched", flush=True)
sys.stdin.readline()


def send():
    global sent
    if sent < COUNT:
        publisher.publish(image_message(pixels, "rgb8", Header(frame_id=str(sent))))
        sent += 1


node.create_timer(1 / RATE_HZ, send)
while sent < COUNT:
    rclpy.spin_once(node)
print("sent", sent, flush=True)
# Wait for a second line: images on their way are in this process's shared memory.
sys.stdin.readline()
rclpy.shutdown()
