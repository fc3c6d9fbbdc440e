"""Names on the local network, without a server: multicast DNS (RFC 6762) and service discovery (RFC 6763), by zeroconf.

Anybody on the network can say any name. Who is called is who shows the key that is remembered for the name.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

import ifaddr
from zeroconf import (
    DNSQuestionType,
    Error,
    InterfaceChoice,
    IPVersion,
    NonUniqueNameException,
    ServiceInfo,
    Zeroconf,
)

from voicelink.errors import CallError
from voicelink.settings import Address, format_address
from voicelink.wire.packet import VERSION

SERVICE: Final = "_voicelink._udp.local."
#: An answer comes within a fraction of a second where the name is there; a sleeping Wi-Fi takes longer.
FIND_TIMEOUT_S: Final = 4.0


@contextlib.contextmanager
def announced(name: str, local: Address) -> Iterator[None]:
    """Whoever looks for `name` on the local network meanwhile finds the socket bound at `local`.

    Raises CallError where somebody else there has the name, or where there is no network for it.
    """
    with _multicast(f"cannot announce {name} on the local network") as dns:
        service = ServiceInfo(
            SERVICE,
            f"{_instance(name)}.{SERVICE}",
            port=local[1],
            parsed_addresses=_own_addresses(local[0]),
            properties={"version": str(VERSION)},
            # A host name of our own: under the service's name, a record that says what it lacks would deny the address.
            server=f"voicelink-{os.urandom(8).hex()}.local.",
        )
        try:
            dns.register_service(service)
        except NonUniqueNameException:
            raise CallError(f"somebody on the local network is called {name} already; choose another --name") from None
        try:
            yield
        finally:
            dns.unregister_service(service)


def find(name: str, family_ipv6: bool = False, timeout_s: float = FIND_TIMEOUT_S) -> str:
    """HOST:PORT of who is announced as `name` on the local network. Raises CallError where nobody is."""
    with _multicast(f"cannot look for {name} on the local network") as dns:
        # By multicast: a reply to this machine alone goes to whichever program here has port 5353 (Avahi, say).
        asked, question = f"{_instance(name)}.{SERVICE}", DNSQuestionType.QM
        service = dns.get_service_info(SERVICE, asked, timeout=int(timeout_s * 1000), question_type=question)
    if service is None or not service.port:
        raise CallError(
            f"nobody on the local network is called {name}: is `voicelink listen --name {name}` running there? "
            "To call over the Internet, give --server HOST:PORT"
        )
    wanted = IPVersion.V6Only if family_ipv6 else IPVersion.V4Only
    hosts = service.parsed_addresses(wanted) or service.parsed_addresses(IPVersion.All)
    if not hosts:
        raise CallError(f"{name} is on the local network, but says no address")
    return format_address((hosts[0], service.port))


@contextlib.contextmanager
def _multicast(failure: str) -> Iterator[Zeroconf]:
    try:
        dns = Zeroconf(interfaces=InterfaceChoice.All, ip_version=IPVersion.V4Only)
    except OSError as error:
        raise CallError(f"{failure}: {error.strerror or error}") from None
    try:
        yield dns
    except Error as error:
        raise CallError(f"{failure}: {error or type(error).__name__}") from None
    finally:
        dns.close()


def _instance(name: str) -> str:
    """`name` as one label: without dots, which separate labels."""
    return name.replace(".", " ").encode()[:63].decode(errors="ignore")


def _own_addresses(host: str) -> list[str]:
    """Where a socket bound at `host` can be reached from other machines, IPv4 first."""
    if not ip_address(host).is_unspecified:
        return [host]
    ips = [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips]
    every = [ip for ip in ips if isinstance(ip, str)]
    if ":" in host:
        every += [ip[0] for ip in ips if not isinstance(ip, str)]
    fine = [a for a in every if not ip_address(a).is_loopback and not ip_address(a).is_link_local]
    return fine or every
