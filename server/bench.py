"""How fast the relay is on this machine, beside a raw echo on the same event loop: `voicelink bench relay`.

The server is a process of its own, as its users start it, with one process that relays; the load comes from this
process over the loopback interface, from many addresses of 127.0.0.0/8, through calls that it has joined by tickets.
Where there are two cores, the server has one and the load the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from voicelink.errors import CallError
from voicelink.secure.identity import Identity
from voicelink.secure.possession import claim, prove
from voicelink.settings import Address, parse_address
from voicelink.units import NS_PER_MS, NS_PER_S
from voicelink.wire.handshake import NO_COOKIE
from voicelink.wire.packet import Header, Kind, join, split
from voicelink.wire.rendezvous import Join, Register, Retry, encode_request, padded, parse_reply

#: A media datagram at 3 kbit/s and two frames a packet has 28 bytes.
BODY_BYTES: Final = 21
WINDOW_S: Final = 2.0
ROUNDS: Final = 3
#: The load makes up for no more than this at once where it was held up itself.
MOST_BEHIND_NS: Final = 20 * NS_PER_MS
#: One call may make 1000 datagrams a second.
CALLS_OF_FLOOD: Final = 200
TICKET: Final = bytes(range(16))
_CORES: Final = sorted(os.sched_getaffinity(0))
_STAMP = struct.Struct(">Q")
_LIMITS: Final = {
    "VOICELINK_SERVER_STRANGERS_PER_S": "1000000",
    "VOICELINK_SERVER_MAX_CALLS": "100000",
    "VOICELINK_SERVER_MAX_REGISTRATIONS": "1000000",
}


def bench_relay(load: float, rounds: int = ROUNDS, window_s: float = WINDOW_S) -> dict[str, Any]:
    """Packets a second of relay and echo, best of `rounds` windows; delay and loss at `load` packets/s."""
    with _server() as (where, pid), _echo() as (echo_at, echo_pid), _calls(where, CALLS_OF_FLOOD) as calls:
        relayed, echoed = [], []
        for _ in range(rounds):
            relayed.append(_flood([(a, where) for a, _ in calls], pid, window_s))
            _drain(calls)
            echoed.append(_flood([(a, echo_at) for a, _ in calls], echo_pid, window_s))
            _drain(calls)
        best, raw = max(relayed), max(echoed)
        both = calls + [(b, a) for a, b in calls]
        paced = _pace(both, where, load, window_s * rounds)
        direct = _pace(both, None, load, window_s * rounds)
        return {
            "packets_per_s": round(best),
            "raw_echo_packets_per_s": round(raw),
            "ratio": round(best / raw, 3),
            "load_packets_per_s": round(paced["rate"]),
            "load_delay_ms": paced["delay_ms"],
            "direct_delay_ms": direct["delay_ms"],
            "load_lost": paced["lost"],
            "load_sent": paced["sent"],
            "load_held_up_ms": paced["held_up_ms"],
            "cores": len(_CORES),
        }


def bench_memory(clients: int) -> dict[str, Any]:
    """Start time, memory at rest, and memory for each of `clients` registered names."""
    begin = time.perf_counter()
    with _server() as (where, pid):
        start_s = time.perf_counter() - begin
        time.sleep(0.5)
        before = _resident_bytes(pid)
        for i in range(clients):
            _register(where, f"user{i}", ("127.%d.%d.%d" % (1 + (i >> 16), i >> 8 & 255, 1 + i % 250), 0))  # noqa: UP031
        return {
            "start_s": round(start_s, 3),
            "resident_mb": round(before / 1e6, 1),
            "clients": clients,
            "bytes_per_client": round((_resident_bytes(pid) - before) / max(1, clients)),
        }


def soak(calls: int, seconds: float, packets_per_s: float) -> Iterator[dict[str, Any]]:
    """`calls` relayed calls for `seconds`, each end sending `packets_per_s`; figures every tenth of the time."""
    _allow_sockets(2 * calls + 100)
    with _server() as (where, pid), _calls(where, calls) as ends:
        both = ends + [(b, a) for a, b in ends]
        _drain(ends)
        for part in range(10):
            paced = _pace(both, where, 2 * calls * packets_per_s, seconds / 10)
            figures = {"part": part, "calls": calls, "resident_mb": round(_resident_bytes(pid) / 1e6, 2)}
            yield figures | {"packets_per_s": round(paced.pop("rate"))} | paced


# ---- load ----------------------------------------------------------------------------------------
Ends = list[tuple[socket.socket, socket.socket]]


def _flood(ways: list[tuple[socket.socket, Address]], pid: int, seconds: float) -> float:
    """Send as fast as we can; what the process at the other end sends on in a second of its processor time."""
    sends = [(sock.sendto, sock.call, to) for sock, to in ways]  # type: ignore[attr-defined]
    data = [join(Header(Kind.MEDIA, call, 0), bytes(BODY_BYTES)) for _, call, _ in sends]
    _burst(sends, data, 0.2)
    before, cpu_s = _sent_by(pid), _cpu_s(pid)
    _burst(sends, data, seconds)
    return (_sent_by(pid) - before) / (_cpu_s(pid) - cpu_s)


def _burst(sends: list[Any], data: list[bytes], seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        for (sendto, _, to), datagram in zip(sends, data, strict=True):
            with contextlib.suppress(BlockingIOError):
                sendto(datagram, to)


def _pace(ends: Ends, relay: Address | None, rate: float, seconds: float) -> dict[str, Any]:
    """Send `rate` datagrams a second in all, each end in turn, by the relay or straight; delay, and what was lost.

    Where this process itself was held up, what it did not send meanwhile is not made up for in one burst, which no
    callers would send: `held_up_ms` says for how long it was.
    """
    to = [relay or receiver.getsockname() for _, receiver in ends]
    selector = selectors.DefaultSelector()
    for _, receiver in ends:
        selector.register(receiver, selectors.EVENT_READ, receiver.recv)
    delays_ns: list[int] = []
    heads = [join(Header(Kind.MEDIA, sender.call, 0), b"") for sender, _ in ends]  # type: ignore[attr-defined]
    start_ns = time.monotonic_ns()
    sent, due, held_up_ns = 0, int(rate * seconds), 0
    while sent < due:
        behind_ns = time.monotonic_ns() - start_ns - held_up_ns - int(sent * NS_PER_S / rate)
        if behind_ns > MOST_BEHIND_NS:
            held_up_ns += behind_ns - MOST_BEHIND_NS
            due = min(due, int((seconds * NS_PER_S - held_up_ns) * rate / NS_PER_S))
        now_ns = time.monotonic_ns() - held_up_ns
        for i in range(sent, min(due, int((now_ns - start_ns) * rate / NS_PER_S))):
            which = i % len(ends)
            stamp = _STAMP.pack(time.monotonic_ns())
            ends[which][0].sendto(heads[which] + stamp + bytes(BODY_BYTES - 8), to[which])
            sent += 1
        _receive(selector, delays_ns, start_ns, 0.0)
    took_s = (time.monotonic_ns() - start_ns - held_up_ns) / NS_PER_S
    last_s = time.monotonic() + 1.0
    while len(delays_ns) < sent and time.monotonic() < last_s:
        _receive(selector, delays_ns, start_ns, 0.05)
    selector.close()
    delays_ns.sort()
    share = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    found = {key: round(delays_ns[int(q * (len(delays_ns) - 1))] / NS_PER_MS, 3) for key, q in share.items()}
    return {
        "rate": sent / took_s,
        "sent": sent,
        "lost": sent - len(delays_ns),
        "delay_ms": found,
        "held_up_ms": held_up_ns // NS_PER_MS,
    }


def _receive(selector: selectors.BaseSelector, delays_ns: list[int], start_ns: int, wait_s: float) -> None:
    """Note the delays of what comes, but for what is left of a flood before."""
    for key, _ in selector.select(wait_s):
        with contextlib.suppress(BlockingIOError):
            while True:
                data = key.data(2048)
                (sent_ns,) = _STAMP.unpack_from(data, 7)
                if sent_ns >= start_ns:
                    delays_ns.append(time.monotonic_ns() - sent_ns)


def _drain(ends: Ends) -> None:
    time.sleep(0.2)
    for pair in ends:
        for sock in pair:
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock.recv(2048)


# ---- what is measured ----------------------------------------------------------------------------
@contextlib.contextmanager
def _server() -> Iterator[tuple[Address, int]]:
    command = [sys.executable, "-m", "voicelink_server", "--listen", "127.0.0.1:0", "--workers", "1", "--json"]
    command += ["--metrics", "127.0.0.1:0"]
    with _started(command, os.environ | _LIMITS) as (line, pid):
        _PAGES[pid] = line["metrics"]
        yield parse_address(line["listening"]), pid


@contextlib.contextmanager
def _echo() -> Iterator[tuple[Address, int]]:
    with _started([sys.executable, "-m", "voicelink_server.echo"], dict(os.environ)) as (line, pid):
        _PAGES[pid] = line["count"]
        yield parse_address(line["listening"]), pid


@contextlib.contextmanager
def _started(command: list[str], environ: dict[str, str]) -> Iterator[tuple[dict[str, str], int]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environ) as made:
        try:
            assert made.stdout is not None
            line = made.stdout.readline()
            if not line:
                raise CallError("the server to be measured did not start: see `voicelink server`")
            os.sched_setaffinity(made.pid, _CORES[:1])
            with _on(_CORES[1:] or _CORES):
                yield json.loads(line), made.pid
        finally:
            made.kill()


@contextlib.contextmanager
def _on(cores: list[int]) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


#: Where each process says what it has sent on: a metrics page, or a file.
_PAGES: dict[int, str] = {}


def _sent_by(pid: int) -> int:
    page = _PAGES[pid]
    with urllib.request.urlopen(page, timeout=10) as response:
        for line in response.read().decode().splitlines():
            if line.startswith("voicelink_datagrams_forwarded_total "):
                return int(line.split()[1])
    raise CallError(f"{page} does not say what was relayed")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---- clients -------------------------------------------------------------------------------------
class _End(socket.socket):
    """One end of a call."""

    call = 0


@contextlib.contextmanager
def _calls(server: Address, count: int) -> Iterator[Ends]:
    """Calls to send through; their sockets are closed afterwards."""
    made = _join_calls(server, count)
    try:
        yield made
    finally:
        for pair in made:
            for sock in pair:
                sock.close()


def _join_calls(server: Address, count: int) -> Ends:
    """`count` calls, each from an address of its own."""
    made: Ends = []
    for i in range(count):
        pair = []
        for side in (0, 1):
            sock = _End(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((f"127.{10 + i // 62_500}.{i // 250 % 250}.{1 + i % 250}", 0))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
            sock.call = 1 + i
            request = padded(Join(1, sock.call, side, TICKET, b""))
            cookie = _ask(sock, server, encode_request(request, NO_COOKIE)).cookie
            _ask(sock, server, encode_request(request, cookie))
            sock.setblocking(False)
            pair.append(sock)
        made.append((pair[0], pair[1]))
    return made


def _register(server: Address, name: str, local: Address) -> None:
    identity = Identity.generate(os.urandom)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(local)
        first = Register(1, name, identity.public, b"", b"")
        retry = _ask(sock, server, encode_request(padded(first), NO_COOKIE))
        proof = prove(identity, retry.key, claim("register", name, 1, retry.cookie))
        _ask(sock, server, encode_request(padded(Register(1, name, identity.public, proof, b"")), retry.cookie))


def _ask(sock: socket.socket, server: Address, body: bytes) -> Any:
    sock.settimeout(5)
    sock.sendto(join(Header(Kind.SERVER, 1, 0), body), server)
    reply = parse_reply(split(sock.recv(2048))[1])
    if not isinstance(reply, Retry) and body[:16] == NO_COOKIE:
        raise CallError(f"the server to be measured answered {reply}")
    return reply


def _allow_sockets(count: int) -> None:
    import resource  # noqa: PLC0415 (not on Windows)

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and count > most:
        raise CallError(f"{count} sockets are needed and {most} are allowed: ulimit -n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, most))
