from __future__ import annotations

import struct
from pathlib import Path

import pytest

from voicelink.errors import ConfigError
from voicelink.settings import LinkSettings
from voicelink.sim.tracefile import open_link, read_trace


def test_flags_of_the_plc_challenge_are_20_ms_each(tmp_path: Path) -> None:
    path = tmp_path / "abc_is_lost.txt"
    path.write_text("0\n0\n1\n0\n")
    found = read_trace(path)
    assert (found.entries, found.interval_ms) == ((0, 0, -1, 0), 20.0)
    other = tmp_path / "flags.txt"
    other.write_text("0010")
    assert read_trace(other).interval_ms == 0


def test_csv_of_losses_and_of_times(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("index,Lost\n0,0\n1,1\n2,0\n")
    assert read_trace(path).entries == (0, -1, 0)
    path.write_text("sent_ms,arrived_ms\n0,50\n20,\n40,93.5\n60,110\n")
    found = read_trace(path)
    assert (found.entries, found.interval_ms) == ((0, -1, 3500, 0), 20.0)


def pcap(packets: list[tuple[int, bytes]]) -> bytes:
    """Raw IPv4 packets at times in us."""
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    for when_us, payload in packets:
        udp = struct.pack(">HHHH", 1000, 2000, 8 + len(payload), 0) + payload
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\x0a\0\0\1", b"\x0a\0\0\2") + udp
        out += struct.pack("<IIII", when_us // 1_000_000, when_us % 1_000_000, len(ip), len(ip)) + ip
    return out


@pytest.mark.parametrize("header", [b"\x80\x60%c%c" + bytes(8), b"\x13\1\2\3\4%c%c" + bytes(8)], ids=["rtp", "ours"])
def test_pcap_of_rtp_and_of_our_calls(header: bytes, tmp_path: Path) -> None:
    numbers = [65534, 65535, 1, 2, 3]  # 0 is lost; the counter wraps
    extra_us = [0, 0, 5000, 0, 0]
    rows = []
    for number, late_us in zip(numbers, extra_us, strict=True):
        step = (number - 65534) % 65536
        rows.append((1_000_000 + 20_000 * step + late_us, header % (number >> 8, number & 255)))
    path = tmp_path / "call.pcap"
    path.write_bytes(pcap(rows))
    found = read_trace(path)
    assert found.entries == (0, 0, -1, 5000, 0, 0)
    assert found.interval_ms == pytest.approx(20)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.txt", b"0 1 2", "not a text of 0 and 1"),
        ("a.txt", b"", "no packets"),
        ("a.csv", b"x,y\n1,2\n", "header names neither"),
        ("a.csv", b"sent_s,arrived_s\n1,abc\n", "abc"),
        ("a.csv", b"\xff\xfe", "codec can't decode"),
        ("a.csv", b"sent_s,arrived_s\n1\n2\n,3\n", "could not convert"),
        ("a.csv", b"arrived_s,sent_s\n1\n", "could not convert"),
        ("a.csv", b"sent_s,arrived_s\n1,inf\n", "out of range"),
        ("a.csv", b"sent_s,arrived_s\n1,nan\n", "out of range"),
        ("a.csv", b"sent_s,arrived_s\n1,1e300\n", "out of range"),
        ("a.csv", b"lost\n0\n\x00\n", "not a text of 0 and 1"),
        ("a.pcap", b"no", "not a pcap"),
        ("a.pcap", pcap([]), "no RTP"),
        ("a.pcap", pcap([(0, b"\x80\x60" + bytes(10))]), "fewer than two"),
    ],
)
def test_files_that_are_no_traces(name: str, content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=what) as caught:
        read_trace(path)
    assert str(path) in str(caught.value)


def test_a_link_reads_its_own_file(tmp_path: Path) -> None:
    path = tmp_path / "x_is_lost.txt"
    path.write_text("01")
    link = open_link(LinkSettings(loss_model="trace", trace=str(path)))
    came = [bool(link.carry(b"x", i * 10_000_000)) for i in range(8)]
    assert came == [True, True, False, False] * 2
