"""Whether a server answers: asks it for a name that nobody has, and expects a cookie. Exit code 0 or 1."""

from __future__ import annotations

import os
import socket
import sys

from voicelink.wire.handshake import NO_COOKIE
from voicelink.wire.packet import Header, Kind, join
from voicelink.wire.rendezvous import Ring, encode_request, padded


def main() -> int:
    """Ask once; HEALTH_ADDRESS (default 127.0.0.1:47600) is where."""
    host, _, port = os.environ.get("HEALTH_ADDRESS", "127.0.0.1:47600").rpartition(":")
    number = int.from_bytes(os.urandom(4), "big")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.connect((host, int(port)))
        try:
            sock.send(join(Header(Kind.SERVER, number, 0), encode_request(padded(Ring(number, "", b"")), NO_COOKIE)))
            return 0 if sock.recv(2048) else 1
        except OSError:
            return 1


if __name__ == "__main__":
    sys.exit(main())
