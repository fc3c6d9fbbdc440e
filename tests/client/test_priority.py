"""A call with devices asks for the processor before others, and leaves a niceness that the user chose."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from voicelink_client.priority import NICE, raise_priority

SCRIPT = (
    "import os, threading; from voicelink_client.priority import raise_priority;"
    "os.nice(int('{nice}') - os.nice(0)); print(raise_priority());"
    "t = threading.Thread(target=lambda: print(os.getpriority(os.PRIO_PROCESS, 0))); t.start(); t.join()"
)


def priority(nice: int) -> tuple[bool, int]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(nice=nice)], capture_output=True, text=True, check=True, timeout=60
    )
    given, value = done.stdout.split()
    return given == "True", int(value)


def test_threads_started_later_have_it_where_the_system_allows_it() -> None:
    if os.nice(0) > 0 and os.geteuid() != 0:
        pytest.skip("this process itself is a nice one")
    given, value = priority(0)
    assert value == (NICE if given else 0)
    if os.geteuid() == 0:
        assert given


def test_what_the_user_chose_stays() -> None:
    assert priority(max(os.nice(0), 7)) == (False, max(os.nice(0), 7))


@pytest.mark.parametrize("error", [PermissionError("no"), AttributeError("Windows")])
def test_not_allowed_is_no_error(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "getpriority", lambda *_: 0)
    monkeypatch.setattr(os, "setpriority", refuse)
    assert raise_priority() is False
