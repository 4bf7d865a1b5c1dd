"""Command lines: a parser whose errors are one sentence, and types of options.

It imports nothing heavy: help and errors in the command line are printed at once.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

USER_ERROR = 2
"""Exit status of an error that the user can correct."""


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one sentence, without the usage message."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with status 2."""
        problem = re.sub("^argument ([^:]+): is ", r"\1 is ", in_one_line(message))
        self.exit(USER_ERROR, f"{self.prog}: {problem}; see `{self.prog} --help`\n")


def in_one_line(sentence: str) -> str:
    """Return the sentence without line breaks, which names of files and queries may have."""
    return " ".join(sentence.splitlines())


def nonempty_path(text: str) -> Path:
    """Parse a path. An empty one is an error: it comes from an unset shell variable."""
    if not text:
        raise argparse.ArgumentTypeError("is empty, but must name a file or folder")
    return Path(text)


def whole_number(minimum: int, rule: str = "") -> Callable[[str], int]:
    """Return a parser of whole numbers from ``minimum`` on.

    :param rule: the end of the error message for other input; it names the minimum by default.
    """
    rule = rule or f"must be a whole number of at least {minimum}"

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = minimum - 1
        if number < minimum:
            raise argparse.ArgumentTypeError(f"is {text}, but {rule}")
        return number

    return parse


def positive_number(text: str) -> float:
    """Parse a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"is {text}, but must be a number above 0")
    return number
