"""Packets that no publisher sent: what a receiver sees after memory or a link was damaged."""

from __future__ import annotations

import os
import socket
import struct

from rclpy.node import Node
from rclpy.serialization import serialize_message

PROCESSES = 10
"""Participants of a domain that may have a UDP port."""


def send_with_number(node: Node, topic: str, message: object, number: int) -> None:
    """Send a message in the name of the topic's first publisher, with this sequence number.

    It goes by UDP to all participants of the domain (RTPS 2.3: 9.4.5.3, a DATA submessage; 9.6.1,
    the ports).
    """
    publisher = bytes(node.get_publishers_info_by_topic(topic)[0].endpoint_gid)[:16]
    prefix, entity = publisher[:12], publisher[12:]
    any_reader, to_inline_qos = bytes(4), 16
    high, low = number >> 32, number & 0xFFFFFFFF
    data = struct.pack("<HH4s4siI", 0, to_inline_qos, any_reader, entity, high, low)
    data += serialize_message(message)
    little_endian_with_data = 0x05
    packet = b"RTPS\x02\x03\x01\x0f" + prefix
    packet += struct.pack("<BBH", 0x15, little_endian_with_data, len(data)) + data
    first_port = 7400 + 250 * int(os.environ["ROS_DOMAIN_ID"]) + 11
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for participant in range(PROCESSES):
            sender.sendto(packet, ("127.0.0.1", first_port + 2 * participant))
