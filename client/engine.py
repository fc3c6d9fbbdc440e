"""The codec thread of a call: microphone -> encoder -> session, and session -> decoder -> loudspeaker.

One thread does both directions in real time, since a frame takes about 3 ms of the 11.6 ms there are. It
never waits for the network: the driver's `send_frame` and `pull_frame` hold a lock for microseconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from voicelink_client.cleaning import Cleaner
from voicelink_client.keeper import Keeper
from voicelink_client.lasting import LastingSink, LastingSource
from voicelink_client.playout import Decoder, Playout
from voicelink_client.recorder import Recorder
from voicelink_client.streams import Sink, Source
from voicelink_client.talker import Talker
from voicelink_client.tones import Tone, TonePlayer

from voicelink.audio.level import LevelMeter
from voicelink.audio.resampler import StreamResampler
from voicelink.core.events import PlayoutDecision, Wait
from voicelink.errors import AudioError
from voicelink.frame import Frame, Pause
from voicelink.units import FRAME_SAMPLES, NS_PER_MS, NS_PER_S, SAMPLE_RATE_HZ, frames_to_ns

#: Where the thread neither worked nor wanted to wait for so long, the machine had other things to do.
STALL_NS: Final = frames_to_ns(1)

#: Told after each slot: what was decided, and when the slot's first sample leaves the loudspeaker, ns.
SlotObserver = Callable[[PlayoutDecision, int], None]

#: So many gaps in the sound, and the encoder search is given up.
PATIENCE: Final = 5

_log = logging.getLogger(__name__)


class CallCodec(Protocol):
    """A loaded model (`voicelink.codec.api.Codec`)."""

    @property
    def model_id(self) -> str:
        """What both ends must share."""

    def encoder(self, sample_rate: int = ..., bits: int = ..., rounds: int | None = ...) -> Any:
        """A new encoder."""

    def decoder(self) -> Any:
        """A new decoder."""


class MediaPort(Protocol):
    """What the thread needs of a SessionDriver; all may be called from any thread."""

    def send_bits(self) -> int:
        """Bits a frame to code with; 0: nothing is to be sent."""

    def sends_second(self) -> bool:
        """Whether second descriptions of frames would be sent."""

    def send_frame(self, frame: Frame | Pause) -> None:
        """Send a coded frame, or a pause in its place."""

    def pull_frame(self, *, quiet: bool = ...) -> PlayoutDecision:
        """What to play next; `quiet`: the last slot was."""


class _Call(NamedTuple):
    """What the thread works for."""

    port: MediaPort
    talker: Talker
    playout: Playout


class Engine:
    """Runs a call's sound from `start` to `finish`, and tones from `open` to `stop`.

    `failed` is called on the thread if it breaks down. `tone`, `set_gain` and the figures are for any thread.

    A `cleaner` needs a source at its rate (`cleaning.RATE_HZ`). With `dtx`, frames of silence are not coded;
    with `constant_rate` all are, of silence where nothing is to be sent. `search`: rounds of the encoder search, given
    up for good where the machine falls behind with them.

    Codes half a second of silence when it is made, so that the first frames of the call do not wait for a model
    runtime that is still warming up.
    """

    def __init__(
        self,
        codec: CallCodec,
        source: Source,
        sink: Sink,
        *,
        recorder: Recorder | None = None,
        cleaner: Cleaner | None = None,
        on_slot: SlotObserver | None = None,
        dtx: bool = False,
        constant_rate: bool = False,
        search: int = 0,
    ) -> None:
        self._dtx, self._constant_rate = dtx, constant_rate
        self._codec, self._source, self._sink, self._recorder = codec, source, sink, recorder
        self._cleaner, self._on_slot = cleaner, on_slot
        self._search = search
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._to_sink = StreamResampler(SAMPLE_RATE_HZ, sink.rate_hz)
        self.said, self.heard = LevelMeter(source.rate_hz), LevelMeter(SAMPLE_RATE_HZ)
        self.started_ns = self.stopped_ns = 0
        self.output_ms = 0.0
        """How long the last block waited until it left the loudspeaker."""
        self.stalls, self.longest_stall_ms, self.stalled_ms = 0, 0.0, 0.0
        """Times that the thread was kept from working for more than a frame, the longest, and all together."""
        self._cpu_ns = 0
        self._call: _Call | None = None
        self._gain = 1.0
        self._player: TonePlayer | None = None
        self._failed: Callable[[Exception], None] = lambda error: None
        _warm_up(codec, search)

    def start(self, port: MediaPort, bits: int, failed: Callable[[Exception], None]) -> None:
        """Begin: code into `port` (at `bits` a frame until it wants others, or for ever), and play what it gives."""
        encoder = self._codec.encoder(self._source.rate_hz, bits, rounds=self._search, pauses=self._dtx)
        playout = Playout(self._codec.decoder(), port.pull_frame)
        self._cpu_ns = time.process_time_ns()
        self.started_ns = time.monotonic_ns()
        talker = Talker(encoder, self._source.rate_hz, bits if self._constant_rate else 0)
        self._call = _Call(port, talker, playout)
        self.open(failed)

    def open(self, failed: Callable[[Exception], None]) -> None:
        """Let the loudspeaker run already before the call, for tones."""
        self._failed = failed
        if self._thread is None:
            self._thread = threading.Thread(target=self._guard, name="codec", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """The call is over: nothing of it is coded or played any more. Once or more."""
        self._call = None
        if self.started_ns and not self.stopped_ns:
            self._cpu_ns = time.process_time_ns() - self._cpu_ns
            self.stopped_ns = time.monotonic_ns()

    def stop(self) -> None:
        """End the thread (waiting for the frame in work), close source, sink and recording. Once or more."""
        if self._thread is not None and not self._stop.is_set():
            self._stop.set()
            self._thread.join()
        self.finish()
        self._source.close()
        self._sink.close()
        if self._recorder is not None:
            self._recorder.close()

    def change_input(self, text: str) -> None:
        """Go on with another microphone (a device's name or number, a file, null), opened in the background.

        From any thread; `notices` tell how it went. Raises AudioError where the microphone cannot be changed.
        """
        _keeper(self._source).change(text)

    def change_output(self, text: str) -> None:
        """The same for the loudspeaker."""
        _keeper(self._sink).change(text)

    def devices(self) -> dict[str, tuple[str, bool]]:
        """By `input` and `output`: what is open or waited for, and whether it is gone. Empty where it cannot change."""
        ends = {"input": self._source, "output": self._sink}
        return {
            name: (end.keeper.text, end.keeper.lost)
            for name, end in ends.items()
            if isinstance(end, (LastingSource, LastingSink))
        }

    def notices(self) -> list[str]:
        """Sentences for the user about devices since the last call: gone, back, changed, or why not."""
        keepers = [end.keeper for end in (self._source, self._sink) if isinstance(end, (LastingSource, LastingSink))]
        return [text for keeper in keepers for text in iter(keeper.notice, None)]

    @property
    def tone(self) -> Tone | None:
        """What sounds beside the call."""
        player = self._player
        return None if player is None else player.tone

    @tone.setter
    def tone(self, tone: Tone | None) -> None:
        if tone is not self.tone:
            self._player = None if tone is None else TonePlayer(tone)

    def set_gain(self, gain: float) -> None:
        """How loud the other end is played, a factor; 0: not at all."""
        self._gain = gain

    @property
    def input_ended(self) -> bool:
        """Whether a file that is the microphone has been spoken to its end."""
        return self._source.ended

    @property
    def seconds(self) -> float:
        """How long it ran, or runs so far."""
        return ((self.stopped_ns or time.monotonic_ns()) - self.started_ns) / NS_PER_S if self.started_ns else 0.0

    @property
    def cpu_rtf(self) -> float:
        """CPU time of the whole process over the time it ran; after `stop`. 1.0 is one core fully used."""
        return self._cpu_ns / NS_PER_S / self.seconds if self.stopped_ns else 0.0

    @property
    def underruns(self) -> int:
        """Times that the loudspeaker had nothing to play."""
        return self._sink.underruns

    @property
    def overruns(self) -> int:
        """Times that captured sound was lost."""
        return self._source.overruns

    @property
    def device_xruns(self) -> int:
        """Times that a sound device itself said that it lost or lacked sound."""
        return self._source.device_xruns + self._sink.device_xruns

    def _guard(self) -> None:
        try:
            self._run()
        except Exception as error:
            _log.debug("codec thread", exc_info=True)
            self._failed(error)

    def _run(self) -> None:
        source, sink = self._source, self._sink
        sink.start(self.started_ns or time.monotonic_ns())
        captures = False
        while not self._stop.is_set():
            now_ns, cpu_ns, call, waits_ns = time.monotonic_ns(), time.thread_time_ns(), self._call, 0
            if call is not None and not captures:
                source.start(self.started_ns)
                captures = True
            if wanted := sink.wants(now_ns):
                self._play(call)
            # also where the loudspeaker wants more at once: a machine that is too slow for both starves neither
            if call is not None and (block := source.read(now_ns)) is not None:
                self._say(block, call)
            elif not wanted:
                due_ns = sink.due_ns(now_ns) if call is None else min(source.due_ns(now_ns), sink.due_ns(now_ns))
                waits_ns = max(0, due_ns - now_ns)
                self._stop.wait(waits_ns / NS_PER_S)
            self._look_for_stall(now_ns, cpu_ns, waits_ns)

    def _look_for_stall(self, since_ns: int, cpu_ns: int, waited_ns: int) -> None:
        """Whether time since `since_ns` was neither worked (processor time then: `cpu_ns`) nor waited on purpose."""
        worked_ns = time.thread_time_ns() - cpu_ns
        lost_ns = time.monotonic_ns() - since_ns - worked_ns - waited_ns
        if lost_ns > STALL_NS:
            self.stalls += 1
            self.stalled_ms += lost_ns / NS_PER_MS
            self.longest_stall_ms = max(self.longest_stall_ms, lost_ns / NS_PER_MS)

    def _say(self, block: NDArray[np.float32], call: _Call) -> None:
        bits = call.port.send_bits()
        if self._cleaner is not None:
            block = self._cleaner.said(block)
        self.said.push(block)
        if self._recorder is not None:
            self._recorder.said(block if bits else np.zeros_like(block))  # what is not sent was not said
        if self._search and self._sink.underruns + self._source.overruns >= PATIENCE:
            _log.warning("this machine is too slow for --search %d; the call goes on without", self._search)
            self._search = 0
            call.talker.simplify()
        twice = self._search > 0 and call.port.sends_second()
        for frame in call.talker.push(block, bits, twice=twice):
            call.port.send_frame(frame)

    def _play(self, call: _Call | None) -> None:
        decision: PlayoutDecision = Wait()
        block: NDArray[np.float32] = np.zeros(FRAME_SAMPLES, np.float32)
        if call is not None:
            decision, block = call.playout.next_slot()
            self.heard.push(block)
            if self._recorder is not None:
                self._recorder.heard(block)
        player, gain = self._player, self._gain
        if gain != 1.0:
            block = np.clip(block * np.float32(gain), -1.0, 1.0)
        if player is not None:
            block = block + player.block(len(block))
        if self._cleaner is not None:
            self._cleaner.played(block)
        now_ns = time.monotonic_ns()
        leave_ns = self._sink.write(self._to_sink.push(block), now_ns)
        self.output_ms = (leave_ns - now_ns) / NS_PER_MS
        if self._on_slot is not None and call is not None:
            self._on_slot(decision, leave_ns)


def _keeper(end: Source | Sink) -> Keeper[Any]:
    if isinstance(end, (LastingSource, LastingSink)):
        return end.keeper
    raise AudioError("this end of the call has no device that could be changed")


def _warm_up(codec: CallCodec, search: int) -> None:
    decoder: Decoder = codec.decoder()
    for frame in codec.encoder(SAMPLE_RATE_HZ, 32, rounds=search).push(np.zeros(SAMPLE_RATE_HZ // 2, np.float32)):
        decoder.play(frame)
    decoder.conceal()
