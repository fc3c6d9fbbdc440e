"""`python -m tests.namespaces.end`: one end of a call without sound, for tests in network namespaces.

Speaks numbered frames, and prints a JSON line for each event and every 100 ms what it has heard so far.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

from tests.core.world import frame
from voicelink.core import events as ev
from voicelink.net.loop import run
from voicelink.net.udp import SessionDriver
from voicelink.settings import SessionSettings, parse_address
from voicelink.units import frames_to_ns


def say(**fields: object) -> None:
    sys.stdout.write(json.dumps({"time": round(time.monotonic(), 3), **fields}) + "\n")
    sys.stdout.flush()


async def main(options: argparse.Namespace) -> None:
    settings = SessionSettings(name=options.name, model_ids=("m",))
    async with await SessionDriver.open(settings, local=parse_address(options.local)) as driver:
        if options.call:
            await driver.call(options.call, options.server)
        else:
            await driver.listen(options.server)
        talking = None
        while True:
            event = await driver.next_event()
            tell(event)
            if isinstance(event, ev.IncomingCall):
                driver.accept()
            elif isinstance(event, ev.Connected):
                talking = asyncio.ensure_future(talk(driver))
            elif isinstance(event, ev.Ended):
                break
        if talking is not None:
            talking.cancel()


def tell(event: ev.Event) -> None:
    if isinstance(event, (ev.Connected, ev.PathChanged)):
        say(event=type(event).__name__, relayed=event.relayed, path=event.path[0])
    elif isinstance(event, ev.Ended):
        say(event="Ended", reason=event.reason, detail=event.detail)
    elif not isinstance(event, ev.PeerReport):
        say(event=type(event).__name__)


async def talk(driver: SessionDriver) -> None:
    start_ns = time.monotonic_ns()
    index, told = 0, 0
    while True:
        while start_ns + frames_to_ns(index) <= time.monotonic_ns():
            driver.send_frame(frame(index))
            driver.pull_frame()
            index += 1
        stats = driver.stats()
        if index - told >= 8:
            told = index
            say(heard=stats.packets_received)
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="")
    parser.add_argument("--server")
    parser.add_argument("--call")
    parser.add_argument("--local", default="0.0.0.0:0")
    run(main(parser.parse_args()))
