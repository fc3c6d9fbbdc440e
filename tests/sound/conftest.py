"""The sound server of each test; skipped with the reason where there is none."""

from __future__ import annotations

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
    server = Pulse(tmp_path)
    try:
        yield server
    finally:
        server.kill()
