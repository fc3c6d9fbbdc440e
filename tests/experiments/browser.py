"""A headless Chromium by its DevTools protocol: enough to load a page, run script in it, and hear its console."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
START_S = 60


def find_browser() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Page:
    """An open page. `problems` are console errors, uncaught exceptions, failed and outside requests."""

    def __init__(self, browser: str, profile: Path) -> None:
        self.problems: list[str] = []
        self._ids = itertools.count(1)
        self._process = subprocess.Popen(
            [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
             "--autoplay-policy=no-user-gesture-required", "--mute-audio", "--disable-dev-shm-usage",
             "--no-first-run", "--window-size=1360,1000", f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._loop = asyncio.new_event_loop()
        self._socket = self._loop.run_until_complete(self._connect(profile))
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Page:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.run_until_complete(self._disconnect())
        self._process.kill()
        self._process.wait()
        self._loop.close()

    def open(self, path: Path) -> None:
        self.send("Page.navigate", url=path.resolve().as_uri())
        self.run("new Promise(done => document.readyState === 'complete' ? done(1) : addEventListener('load', done))")

    def run(self, script: str) -> Any:
        """What `script` comes to, promises awaited."""
        found = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        found = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def send(self, method: str, **values: Any) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(self._send(method, values), 60))

    async def _connect(self, profile: Path) -> Any:
        from tornado.websocket import websocket_connect

        deadline, port_file = time.monotonic() + START_S, profile / "DevToolsActivePort"
        while not port_file.exists() or len(port_file.read_text().split()) < 2:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError("the browser did not start")
            await asyncio.sleep(0.1)
        port = port_file.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            pages = [entry for entry in json.load(answer) if entry["type"] == "page"]
        return await websocket_connect(pages[0]["webSocketDebuggerUrl"], max_message_size=1 << 28)

    async def _disconnect(self) -> None:
        self._socket.close()  # inside the loop: tornado makes another one, and leaves it open, where none is running
        await asyncio.sleep(0)

    async def _send(self, method: str, values: dict[str, Any]) -> Any:
        number = next(self._ids)
        await self._socket.write_message(json.dumps({"id": number, "method": method, "params": values}))
        while True:
            text = await self._socket.read_message()
            message = json.loads(text)
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, values = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(str(values["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning", "assert"):
            self.problems.append(str(values["args"]))
        elif method == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.problems.append(values["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not values["request"]["url"].startswith(("file:", "data:")):
            self.problems.append(f"asked for {values['request']['url']}")
