"""Forwards the log messages of the modules without ROS to the node's log and ``/rosout``."""

from __future__ import annotations

import logging
from typing import Protocol

PACKAGE = __name__.split(".", maxsplit=1)[0]


class RosLogger(Protocol):
    """The methods of rclpy's logger that this package uses."""

    def info(self, message: str) -> object:
        """Log a message for information."""

    def warning(self, message: str) -> object:
        """Log a warning."""

    def error(self, message: str) -> object:
        """Log an error."""


class NodeLog(logging.Handler):
    """Forwards what this package's modules log to a node's logger, until it is closed.

    :param logger: of the node.
    """

    def __init__(self, logger: RosLogger) -> None:
        super().__init__(logging.INFO)
        self._logger = logger
        package = logging.getLogger(PACKAGE)
        package.addHandler(self)
        package.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record at the nearest level that ROS has.

        Each level has its own line of code: rclpy allows one level only per calling line.
        """
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)

    def close(self) -> None:
        """Stop forwarding."""
        logging.getLogger(PACKAGE).removeHandler(self)
        super().close()
