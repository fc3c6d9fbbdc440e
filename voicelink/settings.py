"""All settings as frozen dataclasses: names, defaults, units, limits and help texts; no I/O, no checks.

Each field carries its help text and limits as metadata, so that `config.py` (the one place that checks)
and the commented sample are driven by this file alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from voicelink.errors import ConfigError
from voicelink.units import MAX_BITS_PER_FRAME

#: A UDP address: host as an IP address in text form, port.
Address: TypeAlias = tuple[str, int]

DEFAULT_PORT: Final = 47600
#: Expedited forwarding (RFC 3246), what RFC 8837 has for interactive audio.
DSCP_EF: Final = 46
MAX_FRAMES_PER_PACKET: Final = 8
MAX_REDUNDANCY: Final = 8


def parse_address(text: str) -> Address:
    """HOST:PORT, or [IPV6]:PORT, as (host, port). Raises ConfigError for anything else."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not host or (":" in host and not bracketed) or not _is_port(port):
        raise ConfigError(f"{text!r} is not HOST:PORT, such as 192.0.2.1:{DEFAULT_PORT} or [::1]:{DEFAULT_PORT}")
    return host, int(port)


def format_address(address: Address) -> str:
    """`address` as parse_address reads it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= 65535


def setting(
    default: Any,
    text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
    secret: bool = False,
) -> Any:
    """A dataclass field with its help text and what is allowed: `low`..`high` inclusive, or `choices`.

    The value of a `secret` one is never shown.
    """
    metadata = {"text": text, "low": low, "high": high, "choices": choices, "secret": secret}
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What one end of a call offers and how it behaves.

    Both ends state their ranges; `core.negotiate` takes the best that both allow.
    """

    name: str = setting("", "the name shown to the peer, and registered at a server")
    model_ids: tuple[str, ...] = setting((), "codec models this end can run, best first")
    bits_min: int = setting(8, "fewest bits a frame (86.13 bit/s each)", low=1, high=MAX_BITS_PER_FRAME)
    bits_max: int = setting(MAX_BITS_PER_FRAME, "most bits a frame (86.13 bit/s each)", low=1, high=MAX_BITS_PER_FRAME)
    frames_per_packet: int = setting(2, "frames (11.6 ms each) wanted in a packet", low=1, high=MAX_FRAMES_PER_PACKET)
    frames_per_packet_min: int = setting(
        1, "fewest frames in a packet that are acceptable", low=1, high=MAX_FRAMES_PER_PACKET
    )
    frames_per_packet_max: int = setting(
        MAX_FRAMES_PER_PACKET,
        "most frames in a packet that are acceptable",
        low=1,
        high=MAX_FRAMES_PER_PACKET,
    )
    redundancy: int = setting(
        0,
        "how many frames sent before a packet carries again; without `fixed` no fewer, where there is room",
        low=0,
        high=MAX_REDUNDANCY,
    )
    redundant_bits: int = setting(0, "bits of a repeated frame; 0 repeats it whole", low=0, high=MAX_BITS_PER_FRAME)
    redundancy_distance: int = setting(
        0,
        "frames between the repeated ones and the packet's first new one; more than a loss burst is long",
        low=0,
        high=100,
    )
    redundancy_copies: int = setting(1, "how often each frame is repeated, each time the distance later", low=1, high=3)
    fixed: bool = setting(
        False, "bits, frames a packet and redundancy stay as set; else they follow the path, from the peer's feedback"
    )
    dtx: bool = setting(
        False,
        "discontinuous transmission: next to nothing is sent in pauses of speech, whose times then show on the way",
    )
    constant_rate: bool = setting(
        False,
        "datagrams of one size at one interval, whatever is said, muted or lost: they tell nothing; implies fixed",
    )
    wire_kbps: float = setting(
        0.0, "most media on the wire each way, kbit/s, IP and UDP headers counted; 0: no limit", low=0.0, high=1000.0
    )
    target_late_rate: float = setting(
        0.01, "share of frames that may come too late: small is safe, large is quick", low=0.0005, high=0.2
    )
    playout_delay_min_ms: int = setting(0, "least playout delay after the fastest frame, ms", low=0, high=2000)
    playout_delay_max_ms: int = setting(1000, "most playout delay after the fastest frame, ms", low=0, high=2000)
    playout_delay_ms: int = setting(
        0, "a fixed playout delay after the fastest frame, ms; 0 adapts it to the path", low=0, high=2000
    )
    direct_path: bool = setting(True, "leave the relay for a direct path between the two ends when one works")
    setup_timeout_ms: int = setting(5_000, "give up when nothing at all answers a request, ms", low=100, high=60_000)
    answer_timeout_ms: int = setting(30_000, "how long a call rings, ms", low=1_000, high=300_000)
    silence_timeout_ms: int = setting(
        40_000, "end the call when nothing was heard of the peer for so long, ms", low=1_000, high=300_000
    )
    report_interval_ms: int = setting(
        1_000, "time between receiver reports, which also keep the path open, ms", low=100, high=1_000
    )

    @property
    def adapts(self) -> bool:
        """Whether rate and redundancy follow the path."""
        return not (self.fixed or self.constant_rate)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The rendezvous and relay server."""

    listen: str = setting(
        f"[::]:{DEFAULT_PORT}", "HOST:PORT (UDP) to listen at; [::] is IPv6 and IPv4; port 0 takes a free one"
    )
    workers: int = setting(0, "processes that relay; 0 for one a core (Linux; elsewhere there is one)", low=0, high=256)
    metrics: str = setting("", "HOST:PORT (TCP) for Prometheus metrics; empty for none")
    redis: str = setting("", "redis://HOST:PORT/DB where several servers share their names; empty for none")
    advertise: str = setting("", "HOST:PORT at which clients reach this server; needed with redis")
    drain_s: int = setting(30, "when told to stop, go on relaying running calls for so long, s", low=0, high=3_600)
    log_addresses: bool = setting(False, "names and addresses of clients in the log")
    max_registrations: int = setting(10_000, "most names registered at a time", low=1, high=10_000_000)
    max_calls: int = setting(1_000, "most calls relayed at a time", low=1, high=1_000_000)
    registration_lifetime_s: int = setting(60, "a name not refreshed for so long is forgotten, s", low=3, high=3_600)
    name_hold_s: int = setting(
        2_592_000, "a name belongs to its key for so long after it was last registered, s", low=0, high=315_360_000
    )
    requests_per_s: int = setting(
        20, "most requests a second of one address that has proved itself", low=1, high=100_000
    )
    strangers_per_s: int = setting(
        2_000, "most requests a second answered in all to addresses that have not", low=1, high=1_000_000
    )
    packets_per_s_of_source: int = setting(
        10_000, "most packets a second relayed from one address (an IPv6 /64)", low=100, high=10_000_000
    )
    packets_per_s: int = setting(
        1_000_000, "most packets a second that each process relays in all", low=100, high=100_000_000
    )
    dscp: int = setting(DSCP_EF, "how sent packets are marked for routers (DSCP; 46: EF, voice); 0 not", low=0, high=63)
    call_idle_s: int = setting(60, "a call without a datagram for so long is forgotten, s", low=3, high=3_600)


LOSS_MODELS: Final = ("gilbert", "bernoulli", "markov4", "trace")
JITTER_MODELS: Final = ("uniform", "normal", "gamma", "pareto", "spikes", "trace", "g1050")
SEVERITIES: Final = ("A", "B", "C", "D", "E", "F", "G", "H")


@dataclass(frozen=True)
class LinkSettings:
    """An impaired link, for simulations, demonstrations and the proxy; each direction is one such link.

    docs/simulation.md names the source of every model. (No slots: `sim.scenario.Scenario` inherits this too.)
    """

    loss: float = setting(0.0, "share of packets lost, 0..1", low=0.0, high=0.9)
    burst: float = setting(
        0.0, "mean length of a loss burst, packets, 1 or more; 0 for independent losses", low=0.0, high=1000.0
    )
    loss_model: str = setting("gilbert", "what decides which packets are lost", choices=LOSS_MODELS)
    p13: float = setting(0.0, "markov4: good to lost in a burst, a packet", low=0.0, high=1.0)
    p31: float = setting(0.0, "markov4: end of a burst, a packet; 0 stands for 1 - p13 - p32", low=0.0, high=1.0)
    p32: float = setting(0.0, "markov4: lost to received, within a burst", low=0.0, high=1.0)
    p23: float = setting(0.0, "markov4: received to lost, within a burst; 0 stands for 1", low=0.0, high=1.0)
    p14: float = setting(0.0, "markov4: a single packet lost outside bursts", low=0.0, high=1.0)
    trace: str = setting("", "file of recorded losses or arrivals (CSV, PLC-challenge _is_lost.txt, pcap)")
    trace_interval_ms: float = setting(
        0.0, "time that one entry of the trace stands for, ms; 0: one packet, or what the file says", low=0.0, high=1e4
    )
    delay_ms: float = setting(0.0, "delay of every packet, ms", low=0.0, high=10_000.0)
    jitter_ms: float = setting(
        0.0,
        "uniform: most additional delay; normal, gamma: its standard deviation; pareto: as netem; spikes: highest, ms",
        low=0.0,
        high=10_000.0,
    )
    jitter_model: str = setting("uniform", "how the additional delay is distributed", choices=JITTER_MODELS)
    spike_every_s: float = setting(4.0, "spikes: mean time from one to the next, s", low=0.05, high=3_600.0)
    severity: str = setting("A", "g1050: severity of the path, A (best) to H", choices=SEVERITIES)
    intercontinental: bool = setting(False, "g1050: an intercontinental core, not a regional one")
    reorder: bool = setting(False, "let jitter reorder packets; else a late one holds up those behind it")
    overtake: float = setting(0.0, "share of packets sent ahead without delay (netem's reorder)", low=0.0, high=1.0)
    duplicate: float = setting(0.0, "share of packets that come twice", low=0.0, high=1.0)
    corrupt: float = setting(0.0, "share of packets that come with one bit flipped", low=0.0, high=1.0)
    rate_kbps: float = setting(
        0.0, "rate of the bottleneck, kbit/s, IP and UDP headers counted; 0: unlimited", low=0.0, high=1e7
    )
    queue_ms: float = setting(
        100.0, "queue before the bottleneck, ms at its rate; what does not fit is dropped", low=0.0, high=60_000.0
    )
    queue_packets: int = setting(0, "queue before the bottleneck, packets, instead of queue_ms", low=0, high=100_000)
    seed: int = setting(0, "seed of the link's random generators", low=0, high=2**63 - 1)


@dataclass(frozen=True, slots=True)
class CodecSettings:
    """Which codec model runs, and on what."""

    model: str = setting("", "model name in weights/, or a folder; empty for the default model")
    engine: str = setting(
        "auto",
        "what runs the model: ONNX Runtime, the same with 8-bit weights (int8), or torch; auto: int8 in calls",
        choices=("auto", "onnx", "int8", "torch"),
    )
    search: int = setting(
        0, "rounds of the encoder search in calls: clearer; 1 takes 0.3 of a core, each more 0.1", low=0, high=4
    )


_ON_OFF_AUTO: Final = ("auto", "on", "off")


@dataclass(frozen=True, slots=True)
class AudioSettings:
    """Where a call's sound comes from and goes to."""

    input: str = setting("default", "input device (name or number), a WAV or FLAC file, or null")
    output: str = setting("default", "output device (name or number), a WAV file, or null")
    echo_cancel: str = setting(
        "auto",
        "take the loudspeaker's echo from the microphone; auto: where the device is called a speaker",
        choices=_ON_OFF_AUTO,
    )
    noise_suppression: bool = setting(False, "take steady noise from the microphone")
    gain: bool = setting(False, "bring the voice to an even level")
    record: str = setting("", "WAV or FLAC file to record the call to; empty for none")


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """How a call's packets travel."""

    dscp: int = setting(DSCP_EF, "how sent packets are marked for routers (DSCP; 46: EF, voice); 0 not", low=0, high=63)


@dataclass(frozen=True, slots=True)
class KeySettings:
    """Who we are and whom we know."""

    folder: str = setting("", "folder of our key and of the keys of those we know; empty for ~/.config/voicelink")
    passphrase: str = setting("", "both ends must know it for a call to come about; empty for none", secret=True)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a configuration file can set, one field a table."""

    session: SessionSettings = field(default_factory=SessionSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    link: LinkSettings = field(default_factory=LinkSettings)
    codec: CodecSettings = field(default_factory=CodecSettings)
    audio: AudioSettings = field(default_factory=AudioSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    keys: KeySettings = field(default_factory=KeySettings)
