"""Packet captures (classic pcap): the sequence numbers and arrival times of the largest UDP flow in one.

Format: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html; RTP header: RFC 3550 section 5.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from voicelink.wire.packet import HEADER_BYTES, PHASE_BIT, VERSION, Kind
from voicelink.wire.seq import unwrap

#: Link types and where the IP packet begins in theirs (LINKTYPE_* of tcpdump.org).
_IP_AT: Final = {0: 4, 1: 14, 12: 0, 14: 0, 101: 0, 108: 4, 113: 16, 228: 0, 229: 0, 276: 20}
_MAGIC: Final = {0xA1B2C3D4: 1.0, 0xA1B23C4D: 1e-3}
_UDP: Final = 17
_RTP_BYTES: Final = 12
#: In either key phase. (An RTP packet with an extension and two contributing sources looks like the second.)
_MEDIA_FIRST_BYTES: Final = (Kind.MEDIA << 4 | VERSION, PHASE_BIT | Kind.MEDIA << 4 | VERSION)

Flow = tuple[bytes, bytes]


def largest_flow(data: bytes) -> tuple[list[int], list[float]]:
    """Unwrapped sequence numbers and arrival times in us of the flow with most packets. Raises ValueError."""
    flows: dict[Flow, tuple[list[int], list[float]]] = {}
    for when_us, flow, payload in _udp_packets(data):
        number = _sequence_number(payload)
        if number is None:
            continue
        numbers, times = flows.setdefault(flow, ([], []))
        numbers.append(unwrap(number, numbers[-1] + 1) if numbers else number + (1 << 16))
        times.append(when_us)
    if not flows:
        raise ValueError("no RTP packets and no calls of ours in it")
    return max(flows.values(), key=lambda flow: len(flow[0]))


def _sequence_number(payload: bytes) -> int | None:
    """Of one of our media datagrams, or of an RTP packet; None for anything else."""
    if len(payload) > HEADER_BYTES and payload[0] in _MEDIA_FIRST_BYTES:
        return int.from_bytes(payload[5:7], "big")
    if len(payload) >= _RTP_BYTES and payload[0] >> 6 == 2 and not 72 <= payload[1] & 0x7F <= 76:
        return int.from_bytes(payload[2:4], "big")
    return None


def _udp_packets(data: bytes) -> Iterator[tuple[float, Flow, bytes]]:
    """Time in us, source and destination, and payload of each UDP packet over IPv4 or IPv6."""
    for when_us, link_type, packet in _records(data):
        ip = packet[_IP_AT[link_type] :]
        if len(ip) >= 20 and ip[0] >> 4 == 4 and ip[9] == _UDP:
            addresses, udp = ip[12:20], ip[(ip[0] & 15) * 4 :]
        elif len(ip) >= 40 and ip[0] >> 4 == 6 and ip[6] == _UDP:
            addresses, udp = ip[8:40], ip[40:]
        else:
            continue
        if len(udp) > 8:
            yield when_us, (addresses, udp[:4]), udp[8:]


def _records(data: bytes) -> Iterator[tuple[float, int, bytes]]:
    for order in "<>":
        magic = struct.unpack_from(order + "I", data)[0] if len(data) >= 24 else 0
        if magic in _MAGIC:
            break
    else:
        raise ValueError("not a pcap file (of pcapng, make one with: editcap -F pcap IN OUT)")
    link_type = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    if link_type not in _IP_AT:
        raise ValueError(f"captured on a link of type {link_type}, which is not known here")
    at, record = 24, struct.Struct(order + "IIII")
    while at + record.size <= len(data):
        seconds, fraction, size, _ = record.unpack_from(data, at)
        at += record.size
        yield seconds * 1e6 + fraction * _MAGIC[magic], link_type, data[at : at + size]
        at += size
