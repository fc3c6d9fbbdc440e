"""The loss table: equal losses in time, rates that are kept, leads told right, a run that goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voicelink.cli import main
from voicelink.codec import load_codec
from voicelink.errors import ConfigError
from voicelink.experiments import lossbench, losspage, losstable, opus
from voicelink.experiments.losssettings import OPUS, SETTINGS, OpusSetting, Setting
from voicelink.experiments.losstable import CONDITIONS, WIRE_KBPS, Condition, call, opus_row, ours, pattern
from voicelink.experiments.network import figures
from voicelink.experiments.statistics import Row

CELLS = [(wire, condition) for wire in WIRE_KBPS for condition in CONDITIONS]
needs_opus = pytest.mark.skipif(not opus._candidates(), reason="no libopus: install voicelink[peers]")


def test_every_cell_has_a_setting_of_both_and_no_other_has() -> None:
    keys = {(wire, c.loss, c.burst_ms) for wire, c in CELLS}
    assert set(SETTINGS) == keys == set(OPUS)
    assert len({c.name for c in CONDITIONS}) == len(CONDITIONS)


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda c: c.name)
def test_patterns_have_the_rate_and_the_bursts_that_they_say(condition: Condition) -> None:
    lost = np.array(pattern(condition, 1, 4_000.0)) < 0
    assert lost.mean() == pytest.approx(condition.loss, abs=0.012)
    if condition.burst_ms:
        starts = np.flatnonzero(np.diff(lost.astype(int)) == 1)
        assert losstable.STEP_MS * lost.sum() / len(starts) == pytest.approx(condition.burst_ms, rel=0.06)
    assert pattern(condition, 1, 4_000.0) == pattern(condition, 1, 4_000.0)
    assert not condition.loss or pattern(condition, 1, 40.0) != pattern(condition, 2, 40.0)


def test_no_cell_takes_more_than_its_rate_or_its_delay() -> None:
    for wire_kbps, condition in CELLS:
        setting = SETTINGS[wire_kbps, condition.loss, condition.burst_ms]
        told = figures(call(wire_kbps, condition, setting, 1, 4.0))
        assert told["wire_kbps"] <= wire_kbps, (wire_kbps, condition)
        assert told["mouth_to_ear_p50_ms"] <= 415, (wire_kbps, condition)
        own = OPUS[wire_kbps, condition.loss, condition.burst_ms]
        assert own.possible(wire_kbps)
        assert (own.payload_bytes(wire_kbps) + 40) * 8 / own.packet_ms <= wire_kbps


def test_the_pattern_is_what_a_call_meets_and_repetitions_bring_back_what_it_took() -> None:
    condition = Condition(0.2)
    bare = figures(call(24, condition, Setting(4), 1, 20.0))
    twice = figures(call(24, condition, Setting(4, 2, 0, 40), 1, 20.0))
    assert bare["packet_loss"] == pytest.approx(0.2, abs=0.06) == twice["packet_loss"]
    assert bare["frame_loss"] == pytest.approx(bare["packet_loss"], abs=0.03)
    assert twice["frame_loss"] < 0.03


@needs_opus
def test_opus_meets_the_same_pattern_and_suffers_from_it() -> None:
    conditions = Condition(0.0), Condition(0.3)
    whole, lossy = (opus_row(24, c, 1, 6.0, ["estoi"], OpusSetting(60, vbr=False)) for c in conditions)
    lost = np.array(pattern(Condition(0.3), 1, 6.0)) < 0
    assert lossy["packet_loss"] == pytest.approx(lost[: 100 * 3 : 3].mean(), abs=0.01)
    assert whole["estoi"] > 0.9
    assert lossy["estoi"] < whole["estoi"] - 0.1
    assert whole["wire_measured_kbps"] == 24.0
    redundant = opus_row(24, Condition(0.3), 1, 6.0, ["estoi"], OpusSetting(60, 10))
    assert redundant["delay_ms"] == lossy["delay_ms"] + 60
    assert redundant["estoi"] > lossy["estoi"] + 0.03
    assert redundant["wire_measured_kbps"] <= 24


def test_rows_of_ours_hold_what_was_heard() -> None:
    codec = load_codec(engine="onnx")
    whole, lossy = ours(12, [Condition(0.0), Condition(0.3)], 1, 5.0, codec, ["estoi"])
    assert (whole["codec"], whole["condition"], lossy["seed"]) == ("voicelink", "0 %", 1)
    assert whole["frame_loss"] < 0.01 < lossy["frame_loss"]
    assert whole["estoi"] > lossy["estoi"] > 0.3
    assert whole["wire_measured_kbps"] <= 12


def made_up(estoi: float, plcmos: float) -> list[Row]:
    """Rows of all cells with three seeds: ours at 0.8 and 4.0, Opus so much lower."""
    return [
        {"codec": codec, "wire_kbps": wire, "condition": c.name, "loss": c.loss, "burst_ms": c.burst_ms, "seed": seed,
         "setting": (OPUS if codec == "opus" else SETTINGS)[wire, c.loss, c.burst_ms].text,
         "delay_ms": 200.0 if codec == "opus" else 150.0, "wire_measured_kbps": wire, "error": None,
         "packet_loss": c.loss, "estoi": 0.8 + 0.01 * seed - 0.1 * c.loss - (estoi if codec == "opus" else 0),
         "plcmos": 4.0 - (plcmos if codec == "opus" else 0)}
        for wire, c in CELLS for codec in ("voicelink", "opus") for seed in (1, 2, 3)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("estoi", "plcmos", "leader"),
    [(0.1, 0.5, "voicelink"), (-0.1, -0.5, "opus"), (0.1, -0.5, "neither"), (0.0, 0.0, "opus")],
)
def test_who_leads_and_by_how_much(estoi: float, plcmos: float, leader: str) -> None:
    made = losspage.cells(made_up(estoi, plcmos))
    assert len(made) == len(CELLS)
    assert {cell["leader"] for cell in made} == {leader}
    assert made[0]["lead"]["estoi"] == {"mean": pytest.approx(estoi), "half": pytest.approx(0, abs=1e-9), "n": 3}
    assert made[0]["voicelink"]["estoi"]["half"] == pytest.approx(4.303 * 0.01 / np.sqrt(3), rel=1e-3)
    told = losspage.summary(made)
    assert (told["required"], told["required_ahead"]) == (28, 28 if leader == "voicelink" else 0)
    assert told["estoi_cost_12_kbps_20_percent"] == pytest.approx(0.02)


def test_the_table_in_its_three_forms() -> None:
    made = losspage.cells(made_up(0.1, 0.5))
    terminal = list(losspage.lines(made))
    assert len(terminal) == len(CELLS) + 2
    assert "+0.100" in terminal[1]
    assert "150/200" in terminal[1]
    text = losspage.markdown(made)
    assert text.count("\n| ") == len(CELLS) + 1
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {14}
    page = losspage.page(made, "a < b")
    assert "a &lt; b" in page
    assert page.count("<tr>") == len(CELLS) + 1
    assert "http" not in page.replace("http-equiv", "")


def test_a_cell_that_one_codec_has_not_got_yet_is_left_out() -> None:
    rows = [row for row in made_up(0.1, 0.5) if row["codec"] == "opus" or row["wire_kbps"] == 9]
    assert {cell["wire_kbps"] for cell in losspage.cells(rows)} == {9}


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """What is measured is only noted, and made up."""
    rows, asked = made_up(0.1, 0.5), list[tuple[str, int, int]]()

    def measured(name: str, wire_kbps: int, seed: int, *_: Any) -> list[Row]:
        asked.append((name, wire_kbps, seed))
        if len(asked) == 5:
            raise KeyboardInterrupt
        return [r for r in rows if (r["codec"], r["wire_kbps"], r["seed"]) == (name, wire_kbps, seed)]

    monkeypatch.setattr(lossbench, "_rows", measured)
    monkeypatch.setattr(lossbench.metrics, "available", lambda names: None)
    return asked


@needs_opus
def test_stopped_and_started_again_it_does_what_is_missing(
    pieces: list[tuple[str, int, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    command = [
        "bench",
        "loss",
        "--out",
        str(tmp_path / "out"),
        "--seeds",
        "2",
        "--seconds",
        "10",
        "--engine",
        "onnx",
        "--json",
    ]
    assert main(command) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert (tmp_path / "out" / "loss.md").read_text().count("\n| ") == 1 + 18
    assert main(command) == 0
    assert sorted(pieces[:4] + pieces[5:]) == sorted(set(pieces))
    assert len(set(pieces)) == 16
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["required"], told["required_ahead"], len(told["cells"])) == (28, 28, 36)
    assert told["opus"].startswith("libopus")
    with pytest.raises(ConfigError, match="seconds differs"):
        lossbench.bench_loss(tmp_path / "out", load_codec(engine="onnx"), seeds=2, seconds=11)
    more = lossbench.bench_loss(tmp_path / "out", load_codec(engine="onnx"), seeds=3, seconds=10, wires=[9])
    assert more["cells"][0]["lead"]["estoi"]["n"] == 3
    assert more["cells"][-1]["lead"]["estoi"]["n"] == 2


@needs_opus
def test_rows_of_settings_that_are_no_longer_stated_are_measured_anew(
    pieces: list[tuple[str, int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    codec, asked = load_codec(engine="onnx"), {"seeds": 1, "seconds": 10, "wires": [9]}
    only = lossbench.bench_loss(tmp_path / "out", codec, codecs=["opus"], **asked)  # type: ignore[arg-type]
    assert (pieces, only["cells"]) == ([("opus", 9, 1)], [])
    assert len(lossbench.bench_loss(tmp_path / "out", codec, **asked)["cells"]) == 9  # type: ignore[arg-type]
    assert len(pieces) == 2
    monkeypatch.setitem(SETTINGS, (9, 0.1, 0), Setting(8, 1, 0, 17))
    made = lossbench.bench_loss(tmp_path / "out", codec, **asked)["cells"]  # type: ignore[arg-type]
    assert pieces[2:] == [("voicelink", 9, 1)]
    assert len(made) == 8  # what is made up here is still of the old setting


def test_words_are_told_for_each_language_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, float]] = []

    def errors(reference: np.ndarray, decoded: np.ndarray, language: str) -> tuple[int, int]:
        heard.append((language, len(reference) / 16_000))
        assert len(reference) == len(decoded)
        return (1, 10) if language == "en" else (4, 30)

    monkeypatch.setattr(losstable, "_languages", lambda seed: ("en", "fr", "fr", "en"))
    monkeypatch.setattr(losstable.words, "word_errors_16k", errors)
    said = losstable.speech(1, 20.0)
    found = losstable._scores(["word_accuracy"], (said, losstable.clip_numbers(1, 20.0), 1), said, 22_050)
    assert found == {"word_accuracy": pytest.approx(1 - 5 / 40)}
    (_, english), (_, french) = heard
    assert {language for language, _ in heard} == {"en", "fr"}
    assert 15 < english + french < 20  # the rest is pauses


def test_clips_are_known_by_number() -> None:
    said, numbers = losstable.speech(2, 30.0), losstable.clip_numbers(2, 30.0)
    assert len(said) == len(numbers)
    assert set(numbers.tolist()) == {0, 1, 2, 3, 4}
    assert np.abs(said[:-500][numbers[:-500] == 0]).max() == 0  # at the very end all fades


def test_a_codec_that_the_table_has_not_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench", "loss", "--out", str(tmp_path), "--only", "codec2"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--only codec2: the table has voicelink and opus" in line


def test_a_rate_that_the_table_has_not_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench", "loss", "--out", str(tmp_path), "--wire", "10"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--wire 10: the table has 9, 12, 16, 24 kbps" in line


@needs_opus
def test_the_best_of_opus_is_searched_over_lengths_and_redundancy(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(wire: int, condition: Condition, seed: int, seconds: float, judges: Any, s: OpusSetting) -> Row:
        return {"estoi": -abs(s.packet_ms - 80) + (s.vbr and s.expected_loss == round(100 * condition.loss))}

    monkeypatch.setattr(losstable, "opus_row", row)
    found = losstable.find_opus(1, 5.0)
    assert set(found) == set(OPUS)
    assert found[24, 0.1, 60] == OpusSetting(80, 10)
    assert found[9, 0.1, 0].packet_ms == 120  # the only one that fits
