"""Without warnings of packages about themselves."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quietly() -> Iterator[None]:
    """Without the warnings of packages that use what their own dependencies no longer like."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
