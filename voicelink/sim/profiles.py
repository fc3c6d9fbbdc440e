"""Named network conditions: what `--profile` and `profile = ` stand for."""

from __future__ import annotations

from typing import Any, Final

PROFILES: Final[dict[str, dict[str, Any]]] = {
    "lan": {"delay_ms": 0.5, "jitter_ms": 0.2, "jitter_model": "gamma"},
    "wifi": {"delay_ms": 3.0, "jitter_ms": 120.0, "jitter_model": "spikes", "spike_every_s": 4.0, "loss": 0.002},
    "moderate": {"delay_ms": 100.0, "jitter_ms": 25.0, "jitter_model": "pareto", "loss": 0.05},
    "international": {
        "delay_ms": 250.0,
        "jitter_ms": 100.0,
        "jitter_model": "pareto",
        "loss": 0.107,
        "burst": 4.0,
        "duplicate": 0.02,
        "overtake": 0.05,
        "rate_kbps": 300.0,
        "queue_packets": 30,
    },
    "spiky": {
        "delay_ms": 50.0,
        "jitter_ms": 10.0,
        "jitter_model": "pareto",
        "changes": [
            {"at_s": 10.0, "delay_ms": 100.0, "jitter_ms": 20.0, "loss": 0.3056, "burst": 4.0},
            {"at_s": 20.0, "delay_ms": 50.0, "jitter_ms": 10.0, "loss": 0.0, "burst": 0.0},
        ],
    },
    **{
        f"g1050-{severity}": {"jitter_model": "g1050", "severity": severity}
        for severity in ("A", "B", "C", "D", "E", "F", "G", "H")
    },
}
