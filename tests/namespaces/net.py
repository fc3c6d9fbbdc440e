"""Machines and networks out of Linux network namespaces: hosts, bridges as cables or the Internet, routers with NAT."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

NAT_RULES = """
table ip nat {
    chain post {
        type nat hook postrouting priority 100
        oifname wan masquerade RANDOM
    }
}
table ip filter {
    chain input {
        type filter hook input priority 0
        iifname wan ct state new drop
    }
    chain forward {
        type filter hook forward priority 0
        iifname wan ct state new drop
    }
}
"""
BLACKOUT_RULES = """
table ip dark {
    chain forward {
        type filter hook forward priority -10
        drop
    }
}
"""
ROOT = Path(__file__).parents[2]


def missing() -> str:
    """Why this machine cannot run these tests, or nothing."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    for tool in ("ip", "tc", "nft"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    tried = subprocess.run(["ip", "netns", "add", "vl-try"], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", "vl-try"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "this system allows no network namespaces"


def sh(command: str) -> None:
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"


class Net:
    """What one test builds; `close` ends all its processes and takes everything away."""

    def __init__(self, tag: str = "n") -> None:
        self.tag = f"vl{tag}{os.getpid() % 10_000}"
        self._spaces: list[str] = []
        self._ends: list[End] = []
        self._links = 0

    def close(self) -> None:
        for end in self._ends:
            end.kill()
        for space in self._spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)

    def space(self, name: str) -> str:
        """A machine with a loopback interface and nothing else."""
        full = f"{self.tag}-{name}"
        sh(f"ip netns add {full}")
        self._spaces.append(full)
        self.run(name, "ip link set lo up")
        return full

    def run(self, name: str, command: str) -> None:
        sh(f"ip netns exec {self.tag}-{name} {command}")

    def bridge(self, name: str) -> None:
        """A network that hosts are plugged into."""
        self.space(name)
        self.run(name, "ip link add br0 type bridge")
        self.run(name, "ip link set br0 up")

    def plug(self, host: str, bridge: str, interface: str, address: str) -> None:
        """A cable from `host` to `bridge`; `address` with its prefix length."""
        self._links += 1
        here, there = f"{self.tag}a{self._links}", f"{self.tag}b{self._links}"
        sh(f"ip link add {here} type veth peer name {there}")
        sh(f"ip link set {here} netns {self.tag}-{host} name {interface}")
        sh(f"ip link set {there} netns {self.tag}-{bridge}")
        self.run(bridge, f"ip link set {there} master br0")
        self.run(bridge, f"ip link set {there} up")
        nodad = " nodad" if ":" in address else ""
        self.run(host, f"ip addr add {address} dev {interface}{nodad}")
        self.run(host, f"ip link set {interface} up")
        # what a slow line does, so that nothing here depends on a network without limits
        self.run(host, f"tc qdisc add dev {interface} root tbf rate 10mbit burst 16kb latency 50ms")

    def nat(self, router: str, *, symmetric: bool) -> None:
        """Masquerade what leaves `router` by wan, and let in only replies: as home routers do.

        Linux keeps a client's port where it can, so that all its peers see the same one (a cone, port-restricted);
        drawn anew for each peer, as carriers' NATs do, it is symmetric.
        """
        self.run(router, "sysctl -qw net.ipv4.ip_forward=1")
        random = "fully-random" if symmetric else ""
        rules = NAT_RULES.replace("RANDOM", random)
        self._nft(router, rules)

    def black_out(self, router: str) -> None:
        """From now on `router` passes nothing on."""
        self._nft(router, BLACKOUT_RULES)

    def light_up(self, router: str) -> None:
        """The end of `black_out`."""
        self.run(router, "nft delete table ip dark")

    def _nft(self, name: str, rules: str) -> None:
        command = ["ip", "netns", "exec", f"{self.tag}-{name}", "nft", "-f", "-"]
        done = subprocess.run(command, input=rules, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def has_netem(self, host: str) -> bool:
        command = ["ip", "netns", "exec", f"{self.tag}-{host}", "tc", "qdisc", "add", "dev", "lo", "root", "netem"]
        return subprocess.run([*command, "delay", "1ms"], capture_output=True, check=False).returncode == 0

    def start(self, host: str, *command: str) -> End:
        """Python with these arguments."""
        return self.spawn(host, sys.executable, *command)

    def spawn(self, host: str, *command: str) -> End:
        """Any command."""
        end = End(["ip", "netns", "exec", f"{self.tag}-{host}", *command])
        self._ends.append(end)
        return end


class End:
    """A process that prints JSON lines."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.lines: list[dict[str, Any]] = []
        self.other: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait(self, limit_s: float) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait(timeout=limit_s)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it and its children."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
        self._process.wait(timeout=30)
        self._reader.join(timeout=5)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def wait_for(self, limit_s: float, what: str, **fields: Any) -> dict[str, Any]:
        """The last line with these fields; AssertionError where none comes in time."""
        end_s = time.monotonic() + limit_s
        while time.monotonic() < end_s:
            found = [line for line in self.lines if all(line.get(k) == v for k, v in fields.items())]
            if found:
                return found[-1]
            time.sleep(0.02)
        raise AssertionError(f"{what}: no {fields} within {limit_s:g} s; {self.lines[-5:]} {self.other[-5:]}")

    def hears_again(self, since_s: float, limit_s: float) -> float:
        """Seconds from `since_s` (monotonic) until it hears more than at that time: three packets, to be sure."""
        before = max((x["heard"] for x in list(self.lines) if "heard" in x and x["time"] <= since_s), default=0)
        end_s = time.monotonic() + limit_s
        while time.monotonic() < end_s:
            for line in list(self.lines):
                if line.get("heard", 0) >= before + 3 and line["time"] > since_s:
                    return float(line["time"] - since_s)
            time.sleep(0.02)
        raise AssertionError(f"heard nothing for {limit_s:g} s; {self.lines[-5:]} {self.other[-5:]}")

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in list(self.lines) if line.get("event") == kind]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.other.append(line)
