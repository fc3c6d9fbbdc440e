"""Names on the local network, over real multicast where this machine has it."""

from __future__ import annotations

import socket

import pytest

from voicelink.errors import CallError
from voicelink.net import lan


def has_multicast() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("224.0.0.251", 5353))
        except OSError:
            return False
    return True


pytestmark = pytest.mark.skipif(not has_multicast(), reason="this machine has no route for multicast")


def test_who_is_announced_is_found_and_only_then() -> None:
    with lan.announced("bob.the 2nd", ("192.0.2.7", 47601)):
        assert lan.find("bob.the 2nd", timeout_s=15) == "192.0.2.7:47601"
        with pytest.raises(CallError, match=r"nobody on the local network is called alice"):
            lan.find("alice", timeout_s=0.3)
        with pytest.raises(CallError, match="choose another --name"), lan.announced("bob.the 2nd", ("192.0.2.8", 1)):
            pass


def test_a_socket_at_all_addresses_is_announced_at_those_that_others_can_reach() -> None:
    found = lan._own_addresses("0.0.0.0")
    assert found
    assert "0.0.0.0" not in found
    assert lan._own_addresses("192.0.2.9") == ["192.0.2.9"]
