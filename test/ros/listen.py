"""Subscribe reliably to image results and print each arrival. Usage: listen.py TOPIC"""

import sys

import rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image


def report(_: Image) -> None:
    print("received", flush=True)


rclpy.init()
node = Node("listener")
node.create_subscription(Image, sys.argv[1], report, 10)
rclpy.spin(node)
