"""The report: its figures as files, one page that asks for nothing, and the page in a real browser."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.experiments.browser import Page, find_browser
from voicelink.cli import main
from voicelink.errors import ConfigError
from voicelink.experiments import emodel
from voicelink.experiments.calls import late_curves
from voicelink.experiments.curves import draw_table
from voicelink.experiments.drawing import Drawn
from voicelink.experiments.plan import sweep_from
from voicelink.experiments.players import choose_cells
from voicelink.experiments.ratings import draw_ratings
from voicelink.experiments.report import spread, write_report
from voicelink.experiments.run import run_sweep
from voicelink.experiments.statistics import Row, mean_of
from voicelink.sim.call import simulate
from voicelink.sim.scenario import scenario_from

pytest.importorskip("pyarrow", reason="sweeps need pyarrow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished small sweep with sound, and its report."""
    values = {
        "title": "Loss & <redundancy>",
        "seeds": 2,
        "clips": ["english"],
        "metrics": ["estoi", "pesq_wb"],
        "scenario": {"seconds": 2.0},
        "grid": {"loss": [0.0, 0.4], "redundancy": [0, 2]},
    }
    out = tmp_path_factory.mktemp("report") / "out"
    run_sweep(sweep_from(values, "r", "r.toml", Path()), out, engine="onnx")
    assert main(["report", str(out), "--json"]) == 0
    return out


def test_every_figure_comes_as_png_svg_and_csv(folder: Path) -> None:
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert {"estoi-over-loss", "pesq_wb-against-frame_loss", "estoi-against-wire_kbps", "estoi-heat"} <= names
    assert {"delay-histograms", "late-curves", "timeline", "emodel", "emodel-cells"} <= names
    for name in names:
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (folder / "figures" / f"{name}.svg").read_bytes()
        assert (folder / "figures" / f"{name}.csv").read_text().count("\n") >= 2
    head, *lines = (folder / "figures" / "estoi-over-loss.csv").read_text().splitlines()
    assert head == "curve,loss,mean,low95,high95,n"
    assert len(lines) == 4


def test_the_page_is_whole_and_escapes_what_it_shows(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert "Loss &amp; &lt;redundancy&gt;" in page
    outside = [url for url in re.findall(r'(?:src|href|action)="([^"]+)"', page) if not url.startswith(("data:", "#"))]
    assert outside == []
    assert "default-src 'none'" in page


def test_in_a_browser_nothing_fails_players_play_and_tables_sort(folder: Path, tmp_path: Path) -> None:
    browser = find_browser()
    if browser is None:
        pytest.skip("no Chromium is installed (Debian: apt install chromium)")
    pytest.importorskip("tornado", reason="the browser is driven through tornado's WebSocket")
    with Page(browser, tmp_path / "profile") as page:
        page.open(folder / "report.html")
        assert page.run("document.querySelectorAll('figure svg').length") >= 8
        assert page.run("[...document.images].every(image => image.complete && image.naturalWidth > 100)")
        sounds = page.run("document.querySelectorAll('audio').length")
        assert sounds == 5
        for number in (0, sounds - 1):
            at, length, line = page.run(
                f"(async () => {{ const sound = document.querySelectorAll('audio')[{number}];"
                "await sound.play();"
                "for (let i = 0; i < 200 && sound.currentTime < 0.1; i++) await new Promise(go => setTimeout(go, 50));"
                "return [sound.currentTime, sound.duration, sound.parentElement.querySelector('i').style.opacity] })()"
            )
            assert at >= 0.1
            assert length == pytest.approx(2.0, abs=0.1)
            assert line == "1"
        assert page.run("document.querySelector('audio').paused"), "the second one stopped the first"
        column = (
            "[...document.querySelector('#cells table').tBodies[0].rows].map(row => Number(row.cells[1].textContent))"
        )
        press = "document.querySelectorAll('#cells th button')[1].click()"
        page.run(press)
        assert page.run(column) == [0, 0, 0.4, 0.4]
        page.run(press)
        assert page.run(column) == [0.4, 0.4, 0, 0]
        page.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 20_000
        assert page.problems == []


def test_the_browser_would_tell_of_a_problem(tmp_path: Path) -> None:
    browser = find_browser()
    if browser is None:
        pytest.skip("no Chromium is installed (Debian: apt install chromium)")
    pytest.importorskip("tornado")
    (tmp_path / "bad.html").write_text("<script>console.error('broken'); missing()</script>")
    with Page(browser, tmp_path / "profile") as page:
        page.open(tmp_path / "bad.html")
        page.run("new Promise(done => setTimeout(done, 200))")
        assert len(page.problems) == 2


def test_a_protocol_sweep_has_a_report_too(tmp_path: Path) -> None:
    values = {"seeds": 2, "scenario": {"seconds": 2.0}, "grid": {"jitter_ms": [0.0, 40.0]}}
    run_sweep(sweep_from(values, "p", "p.toml", Path()), tmp_path / "out")
    page = write_report(tmp_path / "out").read_text()
    assert "<audio" not in page.replace("audio {", "")
    assert (tmp_path / "out" / "figures" / "timeline.svg").exists()


def test_the_curve_of_the_shadow_buffers_is_that_of_the_path(tmp_path: Path) -> None:
    """Two-frame packets, no jitter: with no delay every first frame of a packet is late, with a frame none."""
    drawn = late_curves({"the call": simulate(scenario_from({"seconds": 5.0, "delay_ms": 20.0}))})
    rows = [line.split(",") for line in drawn.csv.decode().splitlines()[1:]]
    curve = {float(delay): float(late) for _, delay, late, kind in rows if not kind}
    assert curve[0.0] == pytest.approx(0.5, abs=0.02)
    assert curve[max(curve)] == 0
    assert sorted(curve.values(), reverse=True) == list(curve.values())
    (own,) = [float(late) for _, _, late, kind in rows if kind]
    assert own < 0.02


def rows_of(codecs: tuple[str, ...], **axes: list[Any]) -> list[Row]:
    """Rows whose ESTOI tells the codec and its setting apart."""
    names = list(axes)
    return [
        {"codec": codec, "cell": cell, "error": None, "estoi": number + 0.01 * cell, "frame_loss": 0.01 * cell,
         **dict(zip(names, values, strict=True))}
        for number, codec in enumerate(codecs)
        for cell, values in enumerate(product(*axes.values()))
    ]  # fmt: skip


def curves_of(drawn: Iterable[Drawn], name: str) -> list[dict[str, str]]:
    figure = next(figure for figure in drawn if figure.name == name)
    return list(csv.DictReader(figure.csv.decode().splitlines()))


def test_rows_of_several_codecs_never_share_a_curve_or_a_map() -> None:
    axes = {"loss": [0.0, 0.1], "redundancy": [0, 2]}
    rows = rows_of(("voicelink", "opus"), **axes)
    view = {"x": "loss", "by": ["redundancy"], "heat": ["loss", "redundancy"], "log": False}
    drawn = list(draw_table(rows, view, axes))
    curves = curves_of(drawn, "estoi-over-loss")
    assert {row["n"] for row in curves} == {"1"}
    assert len({row["curve"] for row in curves}) == 4
    one, other = (curves_of(drawn, f"estoi-heat-{n}") for n in (1, 2))
    assert [float(row["mean"]) + 1 for row in one] == [float(row["mean"]) for row in other]


def test_curves_are_parted_by_all_that_the_view_names_and_pooled_over_the_rest() -> None:
    axes = {"loss": [0.0, 0.1], "redundancy": [0, 2], "frames_per_packet": [1, 2, 4]}
    rows = rows_of(("voicelink",), **axes)
    apart = {"x": "loss", "by": ["redundancy", "frames_per_packet"], "heat": [], "log": False}
    assert len({row["curve"] for row in curves_of(draw_table(rows, apart, axes), "estoi-over-loss")}) == 6
    pooled = curves_of(draw_table(rows, apart | {"by": "redundancy"}, axes), "estoi-over-loss")
    assert {row["n"] for row in pooled} == {"3"}
    figure = next(iter(draw_table(rows, apart | {"by": ["redundancy"]}, axes)))
    assert "pooled over frames a packet" in figure.caption


def test_ratings_count_the_delay_and_say_that_they_are_fitted() -> None:
    codec = emodel.Codec(20, 15)
    rows = [
        {"codec": "voicelink", "cell": cell, "error": None, "frame_loss": lost, "mouth_to_ear_p50_ms": delay,
         "visqol": float(emodel.mos_of(emodel.R_BASE - emodel.loss_impairment(100 * lost, codec)))}
        for cell, (lost, delay) in enumerate([(0.0, 90.0), (0.05, 90.0), (0.2, 90.0), (0.2, 400.0)])
    ]  # fmt: skip
    fit, cells = draw_ratings(rows, ["visqol"])
    (found,) = csv.DictReader(fit.csv.decode().splitlines())
    assert (float(found["ie"]), float(found["bpl"])) == (pytest.approx(20, abs=0.5), pytest.approx(15, abs=0.5))
    assert "no figures of the ITU" in " ".join(fit.caption.split())
    rated = [float(row["r"]) for row in csv.DictReader(cells.csv.decode().splitlines())]
    assert rated[2] - rated[3] == pytest.approx(emodel.delay_impairment(400), abs=0.1)
    assert list(draw_ratings(rows, ["estoi"])) == []


POINTS: list[dict[str, Any]] = [{"loss": 0.1, "jitter_model": "spikes", "reorder": r} for r in (False, True)]


@pytest.mark.parametrize(
    ("wanted", "cells"),
    [([], None), (["1"], [1]), (["loss=0.1"], [0, 1]), (["loss=.1,reorder=true"], [1]),
     (["1", "jitter_model=spikes"], [1, 0])],
)  # fmt: skip
def test_cells_are_chosen_by_number_or_by_settings(wanted: list[str], cells: list[int] | None) -> None:
    assert choose_cells(POINTS, wanted) == cells


def test_chosen_cells_are_the_ones_in_the_page(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    page = write_report(folder, cells=["loss=0.4,redundancy=2"]).read_text()
    assert page.count("<audio") == 2
    assert "voicelink: loss 0.4, redundancy 2" in page
    for text in ("4", "loss=0.3", "loss", "los=0.4"):
        assert main(["report", str(folder), "--cell", text]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert f"--cell {text}: no such cell" in line


def damaged(folder: Path, name: str, data: bytes, tmp_path: Path) -> Path:
    """A copy of a sweep's folder with other contents in one file."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / name).write_bytes(data)
    return copy


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("plan.json", b"{}", "damaged"),
        ("plan.json", b"no", "damaged"),
        ("rows.jsonl", b"no\n", "line 1 is damaged"),
        ("rows.jsonl", b'{"unit": 1}\n', "line 1 is damaged"),
        ("traces/cell0000-seed1.npz", b"PK\x03\x04 and then nothing", "is not a trace"),
        ("traces/cell0000-seed1.npz", b"", "is not a trace"),
        ("traces/cell9999-seed1.npz", b"", "belongs to no cell"),
        ("audio/english/said.flac", b"", "said.flac"),
    ],
)
def test_a_damaged_sweep_is_one_line(
    folder: Path, name: str, data: bytes, what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(damaged(folder, name, data, tmp_path))]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert what in line


def test_no_sweep_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "no sweep there" in capfd.readouterr().err
    with pytest.raises(ConfigError, match="no sweep there"):
        write_report(tmp_path / "none")


def test_means_and_their_confidence() -> None:
    mean = mean_of([1.0, 2.0, 3.0, None, float("nan")])
    assert mean is not None
    assert (mean.mean, mean.n) == (2.0, 3)
    assert mean.half == pytest.approx(4.303 / np.sqrt(3), rel=1e-3)  # t(0.975, 2) = 4.303
    one = mean_of([5])
    assert one is not None
    assert one.half is None
    assert mean_of([None]) is None


def test_cells_for_the_players_are_spread_evenly() -> None:
    assert spread(list(range(11)), 3) == [0, 5, 10]
    assert spread([1, 2], 3) == [1, 2]
