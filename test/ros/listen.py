"""Reads image results reliably and says so once. Usage: listen.py TOPIC"""

import sys

import rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image


def say(_: Image) -> None:
    print("received", flush=True)


rclpy.init()
node = Node("listener")
node.create_subscription(Image, sys.argv[1], say, 10)
rclpy.spin(node)
