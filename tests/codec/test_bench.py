"""The benchmark measures what it says."""

from pathlib import Path

import pytest

from voicelink.codec.bench import FRAME_MS, bench_codec


def test_figures_are_there_and_fit_each_other(harmonic_folder: Path) -> None:
    figures = bench_codec(harmonic_folder, seconds=0.5)
    assert figures["engine"] == "onnx"
    parts = [figures[f"{part}_ms_per_frame"] for part in ("encoder", "decoder", "vocoder")]
    assert all(part > 0 for part in parts)
    assert figures["duplex_rtf"] == pytest.approx(sum(parts) / FRAME_MS, rel=0.02, abs=1e-3)
    assert figures["streams_per_core"] == pytest.approx(1 / figures["duplex_rtf"], abs=1.5)
