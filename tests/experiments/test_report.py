"""The report: its figures as files, one page that asks for nothing, and the page in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.experiments.browser import Page, find_browser
from voicelink.cli import main
from voicelink.errors import ConfigError
from voicelink.experiments.plan import sweep_from
from voicelink.experiments.report import spread, write_report
from voicelink.experiments.run import run_sweep
from voicelink.experiments.statistics import mean_of

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
    assert {"delay-histograms", "timeline", "emodel"} <= names
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
