"""What the echo canceller, the noise suppressor and the gain do in a simulated room: `python -m tests.sound.room`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np
from voicelink_client.cleaning import RATE_HZ, Cleaner
from voicelink_client.measure import estoi

from tests.sound.line import CLIPS
from voicelink.audio.files import read_audio
from voicelink.audio.resampler import StreamResampler, resample
from voicelink.units import FRAME_SAMPLES, SAMPLE_RATE_HZ

SECONDS = 24
HALF = SECONDS * SAMPLE_RATE_HZ // 2


@dataclass(frozen=True)
class Room:
    """An echo path, a talker who speaks in the second half only, and noise."""

    echo_db: float = -10.0
    """The echo's level against what the loudspeaker is given; an open laptop has -5 to -20 dB."""
    delay_ms: float = 60.0
    """Of the direct sound: the device's buffers."""
    decay_s: float = 0.25
    """Until the room's reverberation has fallen by 60 dB."""
    drift_ppm: float = 0.0
    """How much faster the microphone's clock runs."""
    noise_db: float = -70.0
    """Steady noise, dB of full scale."""
    near_db: float = -26.0
    far_db: float = -26.0


@dataclass(frozen=True)
class Outcome:
    """What the processing did."""

    erle_db: float
    """Echo taken away while nobody speaks here, from the fourth second on."""
    first_s_db: float
    """The same in the first two seconds of the far voice."""
    before: float
    """ESTOI of the near voice in the microphone, both talking."""
    after: float
    """The same after the processing."""
    level_db: float
    """Level of the near half, dB of full scale."""
    pause_db: float
    """Level of what is left where nobody speaks, dB of full scale."""
    delay_ms: float
    cpu: float
    """Share of a core."""


def measure(room: Room, *, echo: bool, noise: bool = False, gain: bool = False) -> Outcome:
    """Simulate, process in blocks of a frame as in a call, and judge."""
    far, near = _voice(0, room.far_db), _voice(1, room.near_db)
    near[:HALF] = 0
    rng = np.random.default_rng(7)
    back = _echo(far, room, rng)
    mic = (back + near + 10 ** (room.noise_db / 20) * rng.normal(size=len(near))).astype(np.float32)
    cleaner = Cleaner(echo=echo, noise=noise, gain=gain)
    into, back = StreamResampler(SAMPLE_RATE_HZ, RATE_HZ), StreamResampler(RATE_HZ, SAMPLE_RATE_HZ)
    out, cpu_s = [], time.process_time()
    for at in range(0, len(mic) - FRAME_SAMPLES + 1, FRAME_SAMPLES):
        cleaner.played(far[at : at + FRAME_SAMPLES])
        out.append(back.push(cleaner.said(into.push(mic[at : at + FRAME_SAMPLES]))))
    cpu_s = time.process_time() - cpu_s
    clean = np.concatenate(out)
    shift = _delay(clean, near)
    clean = clean[shift:]

    def power(sound: np.ndarray, from_s: float, to_s: float) -> float:
        part = sound[round(from_s * SAMPLE_RATE_HZ) : round(to_s * SAMPLE_RATE_HZ)]
        return float((part.astype(float) ** 2).mean()) + 1e-12

    def ratio_db(from_s: float, to_s: float) -> float:
        return float(10 * np.log10(power(mic, from_s, to_s) / power(clean, from_s, to_s)))

    end = min(len(clean), len(near))
    scores = [estoi(near[HALF:end], sound[HALF:end]) or 0.0 for sound in (mic, clean)]
    return Outcome(
        erle_db=ratio_db(3, SECONDS / 2 - 0.5),
        first_s_db=ratio_db(0.3, 2),
        before=scores[0],
        after=scores[1],
        level_db=float(10 * np.log10(power(clean, SECONDS / 2 + 4, SECONDS - 0.5))),
        pause_db=float(10 * np.log10(power(clean, 3, SECONDS / 2 - 0.5))),
        delay_ms=1000 * shift / SAMPLE_RATE_HZ,
        cpu=cpu_s / SECONDS,
    )


def _voice(number: int, level_db: float) -> np.ndarray:
    speech, rate_hz = read_audio(CLIPS[number % len(CLIPS)])
    speech = resample(speech, rate_hz, SAMPLE_RATE_HZ)
    count = SECONDS * SAMPLE_RATE_HZ
    voice = np.tile(speech, -(-count // len(speech)))[:count]
    scaled: np.ndarray = voice * 10 ** (level_db / 20) / np.sqrt((voice.astype(float) ** 2).mean())
    return scaled.astype(np.float32)


def _echo(far: np.ndarray, room: Room, rng: np.random.Generator) -> np.ndarray:
    times = np.arange(round(room.decay_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    response = rng.normal(size=len(times)) * np.exp(-6.9 * times / room.decay_s) * 0.1
    response[0] = 1.0
    response *= 10 ** (room.echo_db / 20) / np.linalg.norm(response)
    response = np.concatenate([np.zeros(round(room.delay_ms * SAMPLE_RATE_HZ / 1000)), response])
    size = 1 << (len(far) + len(response)).bit_length()
    echo = np.fft.irfft(np.fft.rfft(far, size) * np.fft.rfft(response, size), size)[: len(far)]
    if room.drift_ppm:
        places = np.arange(len(echo))
        echo = np.interp(places * (1 + room.drift_ppm * 1e-6), places, echo)
    return echo


def _delay(clean: np.ndarray, near: np.ndarray) -> int:
    size = 1 << (2 * len(near)).bit_length()
    product = np.fft.rfft(clean, size) * np.conj(np.fft.rfft(near, size))
    return int(np.argmax(np.fft.irfft(product, size)[: SAMPLE_RATE_HZ // 10]))


CASES = {
    "laptop, echo -10 dB": (Room(), {"echo": True}),
    "echo 0 dB": (Room(echo_db=0), {"echo": True}),
    "echo -20 dB, 250 ms late": (Room(echo_db=-20, delay_ms=250), {"echo": True}),
    "clocks 100 ppm apart": (Room(drift_ppm=100), {"echo": True}),
    "headphones, no echo": (Room(echo_db=-100), {"echo": True}),
    "headphones, no echo, processing off but for the high pass": (Room(echo_db=-100), {"echo": False}),
    "noise at 16 dB": (Room(echo_db=-100, noise_db=-42), {"echo": False, "noise": True}),
    "noise at 6 dB": (Room(echo_db=-100, noise_db=-32), {"echo": False, "noise": True}),
    "quiet voice": (Room(echo_db=-100, near_db=-46), {"echo": False, "gain": True}),
    "loud voice": (Room(echo_db=-100, near_db=-16), {"echo": False, "gain": True}),
    "all": (Room(noise_db=-50), {"echo": True, "noise": True, "gain": True}),
}


def main() -> None:
    """Print the table."""
    for name, (room, parts) in CASES.items():
        found = measure(room, **parts)
        values = ", ".join(f"{key} {value:.3g}" for key, value in vars(found).items())
        sys.stdout.write(f"{name}: {values}\n")


if __name__ == "__main__":
    main()
