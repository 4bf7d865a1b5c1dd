"""What the parts without ROS log goes to the node's own log, and so to ``/rosout``."""

from __future__ import annotations

import logging
from typing import Protocol

PACKAGE = __name__.split(".", maxsplit=1)[0]


class RosLogger(Protocol):
    """rclpy's logger."""

    def info(self, message: str) -> object:
        """Log what is good to know."""

    def warning(self, message: str) -> object:
        """Log what is not as was asked for."""

    def error(self, message: str) -> object:
        """Log what does not work."""


class NodeLog(logging.Handler):
    """Hands on what this package's modules log from now on, until closed.

    :param logger: of the node.
    """

    def __init__(self, logger: RosLogger) -> None:
        super().__init__(logging.INFO)
        self._logger = logger
        package = logging.getLogger(PACKAGE)
        package.addHandler(self)
        package.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        """Log at the level nearest to the record's, each on a line of its own.

        rclpy tells calls apart by their lines, and a line may log at one level only.
        """
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)

    def close(self) -> None:
        """Stop listening."""
        logging.getLogger(PACKAGE).removeHandler(self)
        super().close()
