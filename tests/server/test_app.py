"""The server as its users start it: a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from voicelink.core import events as ev
from voicelink.net.loop import run
from voicelink.net.udp import SessionDriver
from voicelink.settings import SessionSettings

COMMAND = [sys.executable, "-m", "voicelink_server"]


@contextmanager
def serving(*options: str, listen: str = "127.0.0.1:0") -> Iterator[tuple[dict[str, str], subprocess.Popen[str]]]:
    arguments = [*COMMAND, "--listen", listen, "--json", *options]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline()), process
        finally:
            process.kill()


def scrape(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=5) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        lines = response.read().decode().splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines if line[0] != "#")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_stops_cleanly(number: signal.Signals) -> None:
    with serving() as (where, process):
        assert where["listening"].startswith("127.0.0.1:")
        process.send_signal(number)
        assert process.wait(timeout=10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_registered_name_shows_in_the_metrics() -> None:
    async def register(server: str) -> None:
        async with await SessionDriver.open(SessionSettings(name="bob"), local=("127.0.0.1", 0)) as driver:
            await driver.listen(server)
            assert isinstance(await driver.next_event(), ev.Registered)
            assert scrape(url)["voicelink_registrations"] == 1

    with serving("--metrics", "127.0.0.1:0") as (where, _):
        url = where["metrics"]
        before = scrape(url)
        assert before["voicelink_registrations"] == before["voicelink_datagrams_received_total"] == 0
        run(register(where["listening"]))
        assert scrape(url)["voicelink_cookies_total"] == 1
        with pytest.raises(urllib.error.HTTPError, match="404") as failed:
            urllib.request.urlopen(url.replace("/metrics", "/"), timeout=5)
        failed.value.close()


@pytest.mark.parametrize(
    ("options", "environment", "code", "message"),
    [
        (["--listen", "here"], {}, 2, "server.listen: 'here' is not HOST:PORT"),
        (["--listen", "192.0.2.1:5"], {}, 1, "cannot listen at 192.0.2.1:5: this machine has no such address"),
        ([], {"VOICELINK_SERVER_MAX_CALLS": "0"}, 2, "VOICELINK_SERVER_MAX_CALLS: server.max_calls = 0"),
        (["--config", "no-such-file.toml"], {}, 2, "cannot read settings from no-such-file.toml"),
    ],
)
def test_bad_starts_get_one_line_and_an_exit_code(
    options: list[str], environment: dict[str, str], code: int, message: str
) -> None:
    done = subprocess.run(
        [*COMMAND, *options], env=os.environ | environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_taken_ports_are_told() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        udp.bind(("127.0.0.1", 0))
        free, web = "127.0.0.1:0", f"127.0.0.1:{tcp.getsockname()[1]}"
        taken = f"127.0.0.1:{udp.getsockname()[1]}"
        for options, what in (
            (["--listen", free, "--metrics", web], f"cannot serve metrics at {web}"),
            (["--listen", taken], f"cannot listen at {taken}"),
        ):
            done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=20, check=False)
            assert done.returncode == 1
            assert done.stderr == f"voicelink_server: {what}: the port is taken; choose another, or 0 for a free one\n"


def test_it_needs_no_model_runtime_and_no_audio_device() -> None:
    code = (
        "import sys, voicelink_server.__main__\n"
        "print([m for m in ('torch', 'onnxruntime', 'sounddevice', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.strip() == "[]"
