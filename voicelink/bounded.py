"""Small files of bounded size, whoever wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: Read at a time. A buffer as long as the limit for every file, mostly to be cut to a few hundred bytes, left holes in
#: the heap: ten megabytes of them after a million files.
_BLOCK_BYTES: Final = 16_384


def read_bounded(path: Path, limit_bytes: int) -> bytes | None:
    """All of the file, or None where it is longer than `limit_bytes`. Raises OSError as `open`."""
    data = bytearray()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            data += block
            if len(data) > limit_bytes:
                return None
    return bytes(data)
