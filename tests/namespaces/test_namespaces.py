"""Calls between machines with networks, NATs and servers of their own; each ends with both sides hearing again.

`python -m pytest tests/namespaces -s` prints how long each took. Needs root on Linux, iproute2 and nftables; skipped
with the reason elsewhere.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.namespaces.net import ROOT, End, Net, missing

WHY_NOT = missing()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

SERVER, PORT = "203.0.113.1", 47600


@pytest.fixture
def net() -> Iterator[Net]:
    made = Net()
    try:
        yield made
    finally:
        made.close()


def internet(net: Net, *, alice: bool | None, bob: bool | None) -> None:
    """A server, and two hosts behind routers of their own; True: with a symmetric NAT."""
    net.bridge("inet")
    net.space("server")
    net.plug("server", "inet", "eth0", f"{SERVER}/24")
    for number, (name, symmetric) in enumerate((("alice", alice), ("bob", bob)), 1):
        net.bridge(f"lan{number}")
        net.space(name)
        net.space(f"router{number}")
        net.plug(f"router{number}", "inet", "wan", f"203.0.113.{10 * number}/24")
        net.plug(f"router{number}", f"lan{number}", "lan", f"192.168.{number}.1/24")
        net.plug(name, f"lan{number}", "eth0", f"192.168.{number}.2/24")
        net.run(name, f"ip route add default via 192.168.{number}.1")
        net.nat(f"router{number}", symmetric=bool(symmetric))


def one_lan(net: Net, first: str, second: str, third: str) -> None:
    """A server and two hosts at one bridge."""
    net.bridge("lan")
    for name, address in (("alice", first), ("bob", second), ("server", third)):
        net.space(name)
        net.plug(name, "lan", "eth0", address)


def serve(net: Net, listen: str = f"{SERVER}:{PORT}") -> End:
    server = net.start("server", "-m", "voicelink_server", "--listen", listen, "--json", "--workers", "2")
    server.wait_for(20, "server", listening=listen)
    return server


def call(net: Net, server: str | None, target: str = "bob", local: str = "0.0.0.0:0") -> tuple[End, End, float]:
    """Bob waits, alice calls; when both were connected, and how long that took."""
    at = ["--server", server] if server else []
    bob = net.start("bob", "-m", "tests.namespaces.end", "--name", "bob", "--local", local, *at)
    if server:
        bob.wait_for(20, "bob", event="Registered")
    else:
        time.sleep(2.0)
    start_s = time.monotonic()
    any_port = local.rpartition(":")[0] + ":0"
    alice = net.start(
        "alice", "-m", "tests.namespaces.end", "--name", "alice", "--call", target, "--local", any_port, *at
    )
    for end in (alice, bob):
        end.wait_for(20, "connected", event="Connected")
    return alice, bob, time.monotonic() - start_s


def both_hear(ends: tuple[End, End], since_s: float, limit_s: float) -> float:
    return max(end.hears_again(since_s, limit_s) for end in ends)


def is_relayed(end: End) -> bool:
    paths = end.events("Connected") + end.events("PathChanged")
    return bool(paths[-1]["relayed"])


def report(name: str, **seconds: float) -> None:
    sys.stdout.write(f"\n{name}: " + ", ".join(f"{key} {value:.2f} s" for key, value in seconds.items()) + "\n")


def test_direct_on_one_lan_without_a_server(net: Net) -> None:
    one_lan(net, "192.168.1.2/24", "192.168.1.3/24", "192.168.1.1/24")
    alice, bob, took_s = call(net, None, "192.168.1.3:47601", local="0.0.0.0:47601")
    now_s = time.monotonic()
    report("one LAN", setup=took_s, heard=both_hear((alice, bob), now_s, 3))


def test_both_behind_cone_nats_punch_through(net: Net) -> None:
    internet(net, alice=False, bob=False)
    serve(net)
    alice, bob, took_s = call(net, f"{SERVER}:{PORT}")
    since_s = time.monotonic()
    for end, peer in ((alice, "203.0.113.20"), (bob, "203.0.113.10")):
        end.wait_for(5, "direct path", event="PathChanged", relayed=False, path=peer)
    report("cone NATs", setup=took_s, direct=time.monotonic() - since_s)
    both_hear((alice, bob), time.monotonic(), 3)


def test_both_behind_symmetric_nats_stay_with_the_relay(net: Net) -> None:
    internet(net, alice=True, bob=True)
    serve(net)
    alice, bob, took_s = call(net, f"{SERVER}:{PORT}")
    time.sleep(4)
    heard_s = both_hear((alice, bob), time.monotonic(), 3)
    assert is_relayed(alice)
    assert is_relayed(bob)
    report("symmetric NATs", setup=took_s, heard=heard_s)


def test_one_behind_a_symmetric_nat_the_other_behind_a_cone_nat(net: Net) -> None:
    """Whether they find a direct path is up to the NATs; that both hear is not."""
    internet(net, alice=True, bob=False)
    serve(net)
    alice, bob, took_s = call(net, f"{SERVER}:{PORT}")
    time.sleep(4)
    report("symmetric and cone NAT", setup=took_s, heard=both_hear((alice, bob), time.monotonic(), 3))


def test_ipv6_only(net: Net) -> None:
    one_lan(net, "fd00::2/64", "fd00::3/64", "fd00::1/64")
    serve(net, f"[fd00::1]:{PORT}")
    alice, bob, took_s = call(net, f"[fd00::1]:{PORT}", local="[::]:0")
    for end in (alice, bob):
        end.wait_for(5, "direct path", event="PathChanged", relayed=False)
    report("IPv6 only", setup=took_s, heard=both_hear((alice, bob), time.monotonic(), 3))


def test_a_server_killed_in_mid_call_and_restarted(net: Net) -> None:
    internet(net, alice=True, bob=True)
    server = serve(net)
    alice, bob, _ = call(net, f"{SERVER}:{PORT}")
    time.sleep(1)
    server.kill()
    time.sleep(3)
    since_s = time.monotonic()
    serve(net)
    started_s = time.monotonic() - since_s
    heard_s = both_hear((alice, bob), since_s + started_s, 10)
    report("server killed for 3 s, relayed call", started=started_s, heard=heard_s)
    assert heard_s <= 2.0
    assert is_relayed(alice)


def test_a_direct_call_outlives_its_server(net: Net) -> None:
    internet(net, alice=False, bob=False)
    server = serve(net)
    alice, bob, _ = call(net, f"{SERVER}:{PORT}")
    for end in (alice, bob):
        end.wait_for(5, "direct path", event="PathChanged", relayed=False)
    server.kill()
    time.sleep(3)
    report("server killed, direct call", heard=both_hear((alice, bob), time.monotonic(), 2))


@pytest.mark.parametrize("relayed", [False, True])
def test_an_address_changes_in_mid_call(net: Net, relayed: bool) -> None:
    internet(net, alice=relayed, bob=relayed)
    serve(net)
    alice, bob, _ = call(net, f"{SERVER}:{PORT}")
    if not relayed:
        alice.wait_for(5, "direct path", event="PathChanged", relayed=False)
    time.sleep(1)
    since_s = time.monotonic()
    net.run("alice", "ip addr flush dev eth0")
    net.run("alice", "ip addr add 192.168.1.77/24 dev eth0")
    net.run("alice", "ip route add default via 192.168.1.1")
    time.sleep(0.3)
    report(f"address changed, relayed={relayed}", heard=both_hear((alice, bob), since_s + 0.3, 10))


def test_thirty_seconds_of_blackout() -> None:
    """A direct and a relayed call, in two worlds at once."""
    worlds = [Net("d"), Net("r")]
    try:
        ends = []
        for net, relayed in zip(worlds, (False, True), strict=True):
            internet(net, alice=relayed, bob=relayed)
            serve(net)
            alice, bob, _ = call(net, f"{SERVER}:{PORT}")
            if not relayed:
                alice.wait_for(5, "direct path", event="PathChanged", relayed=False)
            ends.append((alice, bob))
        time.sleep(1)
        for net in worlds:
            net.black_out("router1")
        time.sleep(30)
        since_s = time.monotonic()
        for net in worlds:
            net.light_up("router1")
        for pair, what in zip(ends, ("direct", "relayed"), strict=True):
            heard_s = both_hear(pair, since_s, 10)
            report(f"30 s of blackout, {what}", heard=heard_s)
            assert not pair[0].events("Ended")
            assert heard_s <= 3.0
    finally:
        for net in worlds:
            net.close()


def test_the_containers_scripts_as_plain_processes(net: Net, tmp_path: Path) -> None:
    """What compose.yaml starts, on hosts behind NATs, with the default codec; netem where the kernel has it."""
    pytest.importorskip("onnxruntime")
    internet(net, alice=False, bob=False)
    serve(net)
    script, clip = ROOT / "docker" / "client.sh", next((ROOT / "client" / "clips").glob("*.*ac"))
    environ = {"SERVER": f"{SERVER}:{PORT}", "SECONDS_OF_CALL": "6", "WAIT": "0"}
    environ |= {"CLIP": str(clip), "RESULTS": str(tmp_path), "PROGRAM": f"{Path(sys.executable).parent}/voicelink"}
    environ |= {"NETEM": "delay 20ms 5ms loss 2%"} if net.has_netem("alice") else {}
    assignments = [f"{key}={value}" for key, value in environ.items()]
    bob = net.spawn("bob", "env", *assignments, "sh", str(script), "listen")
    time.sleep(8)  # until it has loaded its model and registered
    alice = net.spawn("alice", "env", *assignments, "sh", str(script), "call")
    for end in (alice, bob):
        assert end.wait(90) == 0, end.other
    for role in ("call", "listen"):
        figures = json.loads((tmp_path / f"{role}.json").read_text())
        # Of 500, however busy the machine is: the scripts are judged, not its speed.
        assert figures["frames_played"] > 10
        assert (tmp_path / f"{role}-heard.wav").stat().st_size > 50_000
