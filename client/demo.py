"""The demonstration: a server and two ends that call each other over real UDP, as three child processes."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from voicelink_client.child import child_process
from voicelink_client.clips import bundled_clips, clip_for
from voicelink_client.demo_end import EndSpec
from voicelink_client.demo_results import write_results

from voicelink.audio.files import write_audio
from voicelink.errors import AudioError
from voicelink.settings import CodecSettings, LinkSettings, SessionSettings
from voicelink.units import SAMPLE_RATE_HZ, bits_per_frame

NAMES: Final = ("alice", "bob")
#: A cold start of the model runtime on a slow machine.
LOAD_TIMEOUT_S: Final = 60.0
#: How much longer than the call an end may take.
GRACE_S: Final = 30.0
SERVER_COMMAND: Final = (
    *(sys.executable, "-m", "voicelink.cli", "server"),
    *("--listen", "127.0.0.1:0", "--json", "--until-input-closes"),
)
END_COMMAND: Final = (sys.executable, "-m", "voicelink_client.demo_end")


@dataclass(frozen=True)
class DemoPlan:
    """What to demonstrate; the defaults are those of `voicelink demo`."""

    out: Path
    seconds: float = 15.0
    bitrate_bps: int = 3000
    session: SessionSettings = field(default_factory=SessionSettings)
    link: LinkSettings = field(default_factory=LinkSettings)
    codec: CodecSettings = field(default_factory=CodecSettings)
    clips: tuple[Path, ...] = ()
    """Two audio files to speak; empty for the bundled ones."""
    end_command: tuple[str, ...] = END_COMMAND


class DemoView(Protocol):
    """What the user sees while it runs."""

    def phase(self, text: str) -> None:
        """What happens now."""

    def message(self, name: str, message: dict[str, Any]) -> None:
        """A JSON line of an end."""


async def run_demo(plan: DemoPlan, view: DemoView) -> dict[str, Any]:
    """Run the call, measure it, write recordings, picture and report; returns the figures.

    Raises CallError where a process fails, AudioError where files cannot be used. However it ends, no
    child process is left.
    """
    out = plan.out.absolute()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AudioError(f"{out}: cannot be made ({error.strerror or error}); choose another --out") from error
    for name, clip in zip(NAMES, plan.clips or bundled_clips(), strict=False):
        write_audio(out / f"{name}_said.wav", clip_for(clip, plan.seconds), SAMPLE_RATE_HZ)
    with tempfile.TemporaryDirectory(prefix="voicelink-demo-") as scratch:
        ends = await _call(plan, out, Path(scratch), view)
        view.phase("measuring")
        return await asyncio.to_thread(write_results, out, Path(scratch), ends, _conditions(plan))


async def _call(plan: DemoPlan, out: Path, scratch: Path, view: DemoView) -> dict[str, dict[str, Any]]:
    """Both ends' figures by name."""
    async with AsyncExitStack() as stack:
        view.phase("starting a server and two clients")
        server = await stack.enter_async_context(child_process("server", SERVER_COMMAND, scratch))
        address = (await server.read_until("listening", LOAD_TIMEOUT_S))["listening"]
        ends = {}
        for name, target in zip(NAMES, (NAMES[1], None), strict=True):
            spec = replace(_spec(plan, name, out, scratch), server=address, target=target)
            (scratch / f"{name}.json").write_text(spec.to_json())
            command = (*plan.end_command, str(scratch / f"{name}.json"))
            ends[name] = await stack.enter_async_context(child_process(name, command, scratch, view.message))
        for end in ends.values():
            await end.read_until("loaded", LOAD_TIMEOUT_S)
        caller, callee = (ends[name] for name in NAMES)
        callee.go()
        await callee.read_until("Registered", LOAD_TIMEOUT_S)
        view.phase(f"{NAMES[0]} calls {NAMES[1]} through the server at {address}")
        caller.go()
        limit_s = plan.seconds + GRACE_S
        found = await asyncio.gather(*(end.read_until("figures", limit_s) for end in ends.values()))
        for end in ends.values():
            await end.finish(GRACE_S)
        return dict(zip(ends, found, strict=True))


def _spec(plan: DemoPlan, name: str, out: Path, scratch: Path) -> EndSpec:
    bits = bits_per_frame(plan.bitrate_bps)
    side = NAMES.index(name)
    free = plan.session.wire_kbps or plan.session.adapts
    least = min(plan.session.bits_min, bits) if free else bits
    return EndSpec(
        session=replace(plan.session, name=name, bits_min=least, bits_max=bits),
        link=replace(plan.link, seed=2 * plan.link.seed + side),
        codec=plan.codec,
        seconds=plan.seconds if side == 0 else None,
        said=str(out / f"{name}_said.wav"),
        heard=str(out / f"{name}_heard.wav"),
        timeline=str(scratch / f"{name}.npz"),
    )


def _conditions(plan: DemoPlan) -> dict[str, object]:
    """What was set, for the report."""
    session, link = plan.session, plan.link
    return {
        "length of the call, s": plan.seconds,
        "frames a packet (wanted)": session.frames_per_packet,
        "frames repeated in a packet (at least)": session.redundancy,
        "rate and redundancy": "follow the path" if session.adapts else "as set",
        "frames that may be late, %": 100 * session.target_late_rate,
        "playout delay, ms": session.playout_delay_ms or "follows the path",
        "packets lost on purpose, %": 100 * link.loss,
        "mean burst of lost packets": link.burst,
        "delay added, ms": link.delay_ms,
        "jitter added, at most, ms": link.jitter_ms,
        "seed": link.seed,
    }
