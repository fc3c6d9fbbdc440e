"""`voicelink proxy`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voicelink.commands.common import Common, command
from voicelink.commands.scenario import ScenarioOptions, make_scenario
from voicelink.settings import format_address

if TYPE_CHECKING:
    from voicelink.sim.scenario import Scenario


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    command(app, "proxy", "voicelink proxy --listen 127.0.0.1:47602 --to 127.0.0.1:47601 --profile wifi")(proxy)


def proxy(
    common: Common,
    path: ScenarioOptions,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="UDP address to listen at (port 0: any).")],
    to: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to pass on what comes.")],
    seconds: Annotated[float | None, typer.Option(min=0.1, help="End after so long, s (default: with Ctrl-C).")] = None,
) -> None:
    """A bad network between two real endpoints, without root: passes UDP on as the link model says.

    Whoever would send to --to sends to --listen instead; replies take the way back. Each address that sends has a path
    of its own. Works for any UDP protocol. With --json the first line is {"listening": "HOST:PORT"}.
    """
    from voicelink.net.loop import run  # noqa: PLC0415

    scenario = make_scenario(common, None, path.values())
    figures = run(_serve(scenario, listen, to, seconds, common.as_json))
    lines = [
        f"{way}: {figures['received'][i]} datagrams came, {figures['sent'][i]} went on"
        for i, way in enumerate(("towards the target", "back"))
    ]
    common.result(figures, lines)


async def _serve(scenario: Scenario, listen: str, to: str, seconds: float | None, as_json: bool) -> dict[str, Any]:
    import asyncio  # noqa: PLC0415
    import contextlib  # noqa: PLC0415
    import signal  # noqa: PLC0415

    from voicelink.net.proxy import Proxy  # noqa: PLC0415
    from voicelink.sim.timedlink import TimedLink  # noqa: PLC0415

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with await Proxy.open(listen, to, lambda way: TimedLink(scenario, way)) as made:
        address = format_address(made.local_address)
        _say(json.dumps({"listening": address}) if as_json else f"{address} -> {to}; Ctrl-C ends it")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
        counts = made.counts
        links = [link.counts for link in made.links if isinstance(link, TimedLink)]
    return {
        "received": counts.received,
        "sent": counts.sent,
        "bytes_sent": counts.bytes_sent,
        "refused": counts.refused,
        "lost": [sum(c.lost for c in links[way::2]) for way in (0, 1)],
        "dropped": [sum(c.dropped for c in links[way::2]) for way in (0, 1)],
        "peers": len(links) // 2,
    }


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
