"""The processor before others: sound that is late by 20 ms is a gap, whatever else this machine has to do."""

from __future__ import annotations

import contextlib
import os
from typing import Final

#: As sound servers take for themselves.
NICE: Final = -11


def raise_priority() -> bool:
    """Ask for it, for this thread and those that it starts; whether it was given.

    All of a call's threads: the callback of a device waits for Python's lock, whoever holds it. Not where the user has
    given the process a niceness of its own, nor where the system does not allow it.
    """
    with contextlib.suppress(AttributeError, OSError):  # Windows has no such function
        if os.getpriority(os.PRIO_PROCESS, 0) == 0:
            os.setpriority(os.PRIO_PROCESS, 0, NICE)
            return True
    return False
