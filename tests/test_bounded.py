"""Files of bounded size are read whole or not at all, whatever kind of file they are."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from voicelink.bounded import read_bounded


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 50_000])
def test_whole_up_to_the_limit(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(i % 251 for i in range(size)))
    assert read_bounded(path, size) == path.read_bytes()
    if size:
        assert read_bounded(path, size - 1) is None


def test_endless_and_special_files_end_too(tmp_path: Path) -> None:
    assert read_bounded(Path("/dev/zero"), 1 << 20) is None
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"a" * 100_000))
    writer.start()
    assert read_bounded(pipe, 1 << 20) == b"a" * 100_000
    writer.join()


def test_what_cannot_be_read_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "nothing", 10)
