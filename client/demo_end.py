"""One end of a demonstration, as a process of its own: `python -m voicelink_client.demo_end SPEC.json`.

It speaks a file, plays into a file, and tells its parent how it goes in JSON lines on standard output. It
calls, or waits for a call, when its parent writes a line to its standard input, and ends when that is
closed, so that it never outlives its parent.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from voicelink_client.call import CallOutcome, CallPlan, CallStatus, run_call
from voicelink_client.engine import CallCodec, Engine
from voicelink_client.sentences import Notice, describe
from voicelink_client.streams import PacedSink, file_source
from voicelink_client.timeline import TimelineLog

from voicelink.core.events import Event, IncomingCall
from voicelink.errors import VoicelinkError
from voicelink.net.loop import run
from voicelink.settings import Address, CodecSettings, LinkSettings, SessionSettings
from voicelink.sim.tracefile import open_link


@dataclass(frozen=True)
class EndSpec:
    """What one end is to do. All paths are absolute."""

    session: SessionSettings
    link: LinkSettings
    codec: CodecSettings
    seconds: float | None
    """Hang up after so long."""
    said: str
    heard: str
    timeline: str
    server: str = ""
    target: str | None = None
    """Whom to call; None waits for a call."""

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> EndSpec:
        """Inverse of `to_json`."""
        table: dict[str, Any] = json.loads(text)
        session = SessionSettings(**table.pop("session") | {"model_ids": ()})
        link, codec = LinkSettings(**table.pop("link")), CodecSettings(**table.pop("codec"))
        return cls(session=session, link=link, codec=codec, **table)


class PipeView:
    """A call's view that writes JSON lines to the parent."""

    def ready(self, local: Address) -> None:
        """Nothing the parent needs."""

    def event(self, event: Event | Notice) -> None:
        """Event by its name."""
        tell(type(event).__name__, text=describe(event))

    def status(self, status: CallStatus) -> None:
        """Levels and counts."""
        stats = status.stats
        tell(
            "status",
            seconds=status.seconds,
            said_dbfs=status.said_dbfs,
            heard_dbfs=status.heard_dbfs,
            wire_kbps=stats.wire_kbps,
            buffer_ms=stats.buffer.mean_ms,
            played=stats.frames_played,
            concealed=stats.frames_concealed,
            lost=stats.packets_lost,
        )

    async def ask(self, call: IncomingCall) -> bool:
        """Yes."""
        return True


def main(load: Callable[[CodecSettings], CallCodec] | None = None) -> int:
    """Run the end that `sys.argv[1]` describes, with the codec that `load` loads; returns the exit code."""
    spec = EndSpec.from_json(Path(sys.argv[1]).read_text())
    try:
        codec = (load or _load)(spec.codec)
        source, sink, log = file_source(Path(spec.said)), PacedSink(Path(spec.heard)), TimelineLog()
        dtx, constant = spec.session.dtx, spec.session.constant_rate
        engine = Engine(codec, source, sink, on_slot=log, dtx=dtx, constant_rate=constant, search=spec.codec.search)
        outcome = run(_run(spec, codec, engine))
        log.save(Path(spec.timeline), source, sink)
        outcome.raise_for_failure()
    except VoicelinkError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def tell(kind: str, **more: Any) -> None:
    """One JSON line to the parent."""
    sys.stdout.write(json.dumps({"event": kind, **more}) + "\n")
    sys.stdout.flush()


async def _run(spec: EndSpec, codec: CallCodec, engine: Engine) -> CallOutcome:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tell("loaded", model_id=codec.model_id)
    await reader.readline()
    hang_up = asyncio.Event()
    watch = asyncio.ensure_future(_hang_up_at_eof(reader, hang_up))
    plan = CallPlan(spec.session, spec.target, spec.server, local=("127.0.0.1", 0), seconds=spec.seconds)
    try:
        outcome = await run_call(plan, codec, engine, PipeView(), impairment=open_link(spec.link), hang_up=hang_up)
    finally:
        watch.cancel()
    tell("figures", **outcome.figures, buffer_steps=sorted(outcome.stats.buffer.counts.items()))
    return outcome


async def _hang_up_at_eof(reader: asyncio.StreamReader, hang_up: asyncio.Event) -> None:
    while await reader.readline():
        pass
    hang_up.set()


def _load(settings: CodecSettings) -> CallCodec:
    from voicelink.codec.api import load_call_codec  # noqa: PLC0415 (a model runtime)

    return load_call_codec(settings.model or None, engine=settings.engine)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
