"""A link as the `tc` commands that make the Linux kernel impair a device's outgoing packets in the same way.

Options of tc-netem(8) and tc-tbf(8). netem lets jitter reorder packets unless it has a rate, so one that no link
reaches is set where order is to be kept (sch_netem.c: with a rate, a packet is timed from the one before it).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from voicelink.errors import ConfigError
from voicelink.settings import LinkSettings
from voicelink.sim.scenario import Scenario

#: tbf needs room for one packet of an Ethernet's size.
TBF_BURST_BYTES: Final = 1600
#: Packets that netem holds; its default of 1000 is too few for a second of delay of a fast sender.
LIMIT_PACKETS: Final = 10_000


def netem_script(scenario: Scenario, device: str, direction: int = 0) -> list[str]:
    """Lines of a shell for one direction of a scenario, its changes included: those wait with `sleep` for their time.

    Raises ConfigError for what the kernel has no model of.
    """
    links = [(0.0, scenario.link(direction))]
    for change in scenario.changes:
        later = scenario.link(direction, change.at_s)
        if later != links[-1][1]:  # a change of the bitrate alone is none of the path
            links = [entry for entry in links if entry[0] != change.at_s or not change.at_s]
            links.append((change.at_s, later))
    lines = netem_commands(links[0][1], device)
    for (before_s, before), (at_s, link) in pairwise(links):
        lines.append(f"sleep {at_s - before_s:g}")
        lines += _changed(netem_commands(before, device), netem_commands(link, device), device)
    return lines


def netem_commands(link: LinkSettings, device: str) -> list[str]:
    """One command a line of a shell. Raises ConfigError for what the kernel has no model of."""
    rate, limit = "", LIMIT_PACKETS
    own_queue = link.rate_kbps and link.queue_packets
    if own_queue:
        rate, limit = f"rate {link.rate_kbps:g}kbit", link.queue_packets
    elif link.jitter_ms and not link.reorder:
        rate = "rate 10gbit"
    parts = [part for part in (_delay(link), _loss(link), *_shares(link), rate) if part]
    netem = f"netem limit {limit} " + " ".join(parts)
    tbf = f"tbf rate {link.rate_kbps:g}kbit burst {TBF_BURST_BYTES} latency {link.queue_ms:g}ms"
    if not link.rate_kbps or own_queue:
        return [f"tc qdisc replace dev {device} root handle 1: {netem.strip()}"]
    if not parts:
        return [f"tc qdisc replace dev {device} root handle 1: {tbf}"]
    return [
        f"tc qdisc replace dev {device} root handle 1: {netem}",
        f"tc qdisc replace dev {device} parent 1:1 handle 10: {tbf}",
    ]


def _changed(before: list[str], after: list[str], device: str) -> list[str]:
    """`after` where `before` holds: in place where all its words are numbers of the same options, else from nothing.

    The kernel keeps an option that a change leaves out (sch_netem.c, netem_change), and changes no qdisc's kind.
    """
    same = [_option_words(line) for line in before] == [_option_words(line) for line in after]
    return after if same else [f"tc qdisc del dev {device} root", *after]


def _option_words(line: str) -> list[str]:
    return [word for word in line.split() if not word[0].isdigit()]


def _delay(link: LinkSettings) -> str:
    delay, jitter, model = link.delay_ms, link.jitter_ms, link.jitter_model
    if model in ("g1050", "trace", "spikes", "gamma") and (jitter or model in ("g1050", "trace")):
        raise ConfigError(f"netem has no jitter model {model}; it has uniform, normal and pareto")
    if not jitter:
        return f"delay {delay:g}ms" if delay or link.overtake else ""
    if model == "uniform":  # netem's is around the delay, ours above it
        return f"delay {delay + jitter / 2:g}ms {jitter / 2:g}ms"
    return f"delay {delay:g}ms {jitter:g}ms distribution {model}"


def _loss(link: LinkSettings) -> str:
    if link.loss_model == "trace":
        raise ConfigError("netem cannot replay a trace of losses")
    if link.loss_model == "markov4":
        p31, p23 = link.p31 or max(0.0, 1 - link.p13 - link.p32), link.p23 or 1.0
        chain = (link.p13, p31, link.p32, p23, link.p14)
        return "loss state " + " ".join(_percent(p) for p in chain)
    if not link.loss:
        return ""
    if not link.burst:
        return f"loss random {_percent(link.loss)}"
    enter = link.loss / (link.burst * (1 - link.loss))
    return f"loss gemodel {_percent(enter)} {_percent(1 / link.burst)}"


def _shares(link: LinkSettings) -> list[str]:
    named = (("duplicate", link.duplicate), ("corrupt", link.corrupt), ("reorder", link.overtake))
    return [f"{name} {_percent(share)}" for name, share in named if share]


def _percent(share: float) -> str:
    return f"{round(100 * share, 6):g}%"
