"""How OpenMP's threads wait for each other. Imports nothing that loads OpenMP."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

SPINS = "1000"
"""Turns of a waiting thread's loop, some 20 us: about what waking it costs. As many by default as
take 3 ms, which on a busy machine is taken from whoever else would work, the thread that is waited
for among them. None at all cost a frame of small networks some per cent on an idle machine."""
_WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": SPINS}
"""The first for every OpenMP, the second for GNU's, which comes with torch."""
_USERS = (*_WAITING, "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Who set one of these has decided."""


def limit_thread_spinning(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads sleep that wait for work, unless the user decided how they wait.

    Without effect once torch is imported: OpenMP reads its variables when it is loaded.
    """
    if not any(name in environment for name in _USERS):
        environment.update(_WAITING)
