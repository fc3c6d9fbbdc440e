"""The event loop: uvloop where there is one.

Plain asyncio reads one datagram a loop pass and loses floods; uvloop reads many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run(main)`, on uvloop where it is installed (it is not made for Windows)."""
    try:
        import uvloop  # noqa: PLC0415 (optional)
    except ImportError:
        return asyncio.run(main)
    result: T = uvloop.run(main)
    return result
