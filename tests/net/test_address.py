"""What users type as addresses, and what they are told where it does not work."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, NoReturn

import pytest

from voicelink.errors import CallError, ConfigError, VoicelinkError
from voicelink.net.address import bind_udp, resolve, resolve_local
from voicelink.settings import Address


@pytest.mark.parametrize(
    ("text", "family", "address"),
    [
        ("192.0.2.1:5", socket.AF_INET, ("192.0.2.1", 5)),
        ("[2001:db8::1]:5", socket.AF_INET6, ("2001:db8::1", 5)),
        ("0.0.0.0:5", socket.AF_INET, ("127.0.0.1", 5)),
        ("[::]:5", socket.AF_INET6, ("::1", 5)),
    ],
)
def test_addresses_of_others(text: str, family: int, address: Address) -> None:
    assert asyncio.run(resolve(text, family)) == address


def test_our_own_address_may_be_any_and_have_any_port() -> None:
    assert asyncio.run(resolve_local("0.0.0.0:0")) == ("0.0.0.0", 0)


@pytest.mark.parametrize(
    ("text", "family", "error", "message"),
    [
        ("a..b:5", socket.AF_INET, ConfigError, "'a..b' is not a host name"),
        ("x" * 70 + ":5", socket.AF_INET, ConfigError, "is not a host name"),
        ("192.0.2.1:0", socket.AF_INET, ConfigError, "'192.0.2.1:0' names port 0"),
        ("[::1]:5", socket.AF_INET, CallError, "our own socket is an IPv4 one; bind it to an address of the same kind"),
        ("192.0.2.1:5", socket.AF_INET6, CallError, "our own socket is an IPv6 one"),
        ("nowhere.invalid:5", socket.AF_INET, CallError, "no IPv4 address for host nowhere.invalid"),
    ],
)
def test_what_cannot_be_reached_is_told(text: str, family: int, error: type[VoicelinkError], message: str) -> None:
    with pytest.raises(error, match=message):
        asyncio.run(resolve(text, family))


def test_a_machine_without_ipv6_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> NoReturn:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(CallError, match=r"cannot listen at \[::1\]:5: Address family not supported"):
        bind_udp(("::1", 5))
