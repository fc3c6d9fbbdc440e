"""The sound server of each test; skipped with the reason where there is none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sound.pulse import Pulse, missing


@pytest.fixture(scope="session")
def why_not() -> str:
    return missing()


@pytest.fixture
def pulse(why_not: str, tmp_path: Path) -> Iterator[Pulse]:
    if why_not:
        pytest.skip(why_not)
    _prefer(-15)
    server = Pulse(tmp_path)
    try:
        yield server
    finally:
        server.kill()
        _prefer(0)


def _prefer(nice: int) -> None:
    """Sound before other sessions' work where Linux lets us, as rtkit does on a desktop."""
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(nice))
