"""Settings for how OpenMP's threads wait. Imports nothing that loads OpenMP."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

SPINS = "1000"
"""Iterations of the loop in which a thread waits before it sleeps. They take about 20 us, as long
as it takes to wake a thread. By default the loop takes 3 ms. On a busy machine it takes this time
from other threads, among them the one that is waited for. Without the loop, a frame of small
networks takes a few per cent longer on an idle machine."""
_SETTINGS = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": SPINS}
"""The first variable is for every OpenMP, the second for GNU's, which comes with torch."""
_USER_VARIABLES = (*_SETTINGS, "KMP_BLOCKTIME", "KMP_LIBRARY")
"""If the user has set one of these variables, nothing is changed."""


def limit_thread_spinning(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads that wait for work sleep soon, unless the user has set how they wait.

    This has no effect after torch is imported: OpenMP reads its variables when it is loaded.
    """
    if not any(name in environment for name in _USER_VARIABLES):
        environment.update(_SETTINGS)
