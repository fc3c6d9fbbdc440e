"""Whole sweeps: killed and resumed, with a worker killed, on a Dask cluster: always the same tables."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from voicelink.cli import main
from voicelink.errors import ConfigError
from voicelink.experiments import executors, work
from voicelink.experiments.plan import Sweep, sweep_from
from voicelink.experiments.run import plan_units, run_sweep
from voicelink.experiments.store import Store, parquet_bytes, read_rows

pytest.importorskip("pyarrow", reason="sweeps need pyarrow")
PROTOCOL = """
seeds = 8
[scenario]
seconds = 12.0
[grid]
loss = [0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
redundancy = [0, 1]
"""
SOUND: dict[str, Any] = {
    "seeds": 1,
    "clips": ["english"],
    "metrics": ["estoi", "log_mel_db"],
    "scenario": {"seconds": 2.0},
    "grid": {"loss": [0.0, 0.4]},
}


def small(**changes: Any) -> Sweep:
    values = {"seeds": 2, "scenario": {"seconds": 2.0}, "grid": {"loss": [0.0, 0.1, 0.3]}} | changes
    return sweep_from(values, "small", "small.toml", Path())


def tables(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "rows.csv").read_bytes(), (folder / "rows.parquet").read_bytes()


def start(path: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "voicelink.cli", "sweep", str(path), "--out", str(out), *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)


@pytest.fixture(scope="module")
def protocol(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A sweep's file and the folder of its undisturbed run."""
    folder = tmp_path_factory.mktemp("protocol")
    path = folder / "sweep.toml"
    path.write_text(PROTOCOL)
    done = start(path, folder / "whole", "--workers", "2", "--json")
    out, _ = done.communicate(timeout=120)
    assert done.returncode == 0
    figures = json.loads(out.splitlines()[-1])
    assert (figures["cells"], figures["rows"], figures["failed"]) == (16, 128, 0)
    assert figures["speed_x"] > 1
    return path, folder / "whole"


def wait_for_lines(journal: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_bytes().count(b"\n") < count:
        assert time.monotonic() < deadline, "no rows came"
        time.sleep(0.01)


def test_killed_half_way_and_resumed_gives_the_same_bytes(protocol: tuple[Path, Path], tmp_path: Path) -> None:
    path, whole = protocol
    out = tmp_path / "killed"
    run = start(path, out, "--workers", "1")
    wait_for_lines(out / "rows.jsonl", 2)
    run.kill()
    run.communicate()
    before = (out / "rows.jsonl").read_bytes()
    assert 2 <= before.count(b"\n") < 4
    with (out / "rows.jsonl").open("ab") as journal:
        journal.write(b'{"unit": 3, "rows": [{"codec": "voi')  # as a kill in the middle of a write leaves it
    again = start(path, out, "--workers", "2", "--resume")
    _, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert tables(out) == tables(whole)
    after = (out / "rows.jsonl").read_bytes()
    assert after.startswith(before), "nothing that was done is done again"
    units = [json.loads(line)["unit"] for line in after.splitlines()]
    assert sorted(units) == [0, 1, 2, 3]


def test_workers_end_when_the_sweep_is_killed(protocol: tuple[Path, Path], tmp_path: Path) -> None:
    path, _ = protocol
    run = start(path, tmp_path / "out", "--workers", "2")
    wait_for_lines(tmp_path / "out" / "rows.jsonl", 1)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    assert children
    run.kill()
    run.communicate()
    deadline = time.monotonic() + 20
    while any(alive(int(child)) for child in children):
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_worker_loses_nothing(protocol: tuple[Path, Path], tmp_path: Path) -> None:
    path, whole = protocol
    run = start(path, tmp_path / "out", "--workers", "2")
    wait_for_lines(tmp_path / "out" / "rows.jsonl", 1)
    for child in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(int(child), signal.SIGKILL)
            break
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert tables(tmp_path / "out") == tables(whole)


def test_ctrl_c_stops_with_a_word_and_exit_code_130(protocol: tuple[Path, Path], tmp_path: Path) -> None:
    path, whole = protocol
    run = start(path, tmp_path / "out", "--workers", "1")
    wait_for_lines(tmp_path / "out" / "rows.jsonl", 1)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert b"--resume goes on" in said.splitlines()[-1]
    assert (tmp_path / "out" / "rows.csv").exists()
    again = start(path, tmp_path / "out", "--resume")
    again.communicate(timeout=120)
    assert again.returncode == 0
    assert tables(tmp_path / "out") == tables(whole)


def test_a_dask_cluster_gives_the_same_rows(protocol: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the cluster extra is not installed")
    path, whole = protocol
    environment = os.environ | {"DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "error"}
    scheduler_file = tmp_path / "scheduler.json"
    base = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--host", "127.0.0.1",
            "--no-dashboard", "--scheduler-file", str(scheduler_file)]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment, "cwd": tmp_path}
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(scheduler_file),
              "--nthreads", "1", "--no-nanny", "--no-dashboard"]  # fmt: skip
    processes = [subprocess.Popen(base, **quiet)]
    try:
        deadline = time.monotonic() + 60
        while not scheduler_file.exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        address = json.loads(scheduler_file.read_text())["address"]
        processes += [subprocess.Popen(worker, **quiet) for _ in range(2)]
        run = start(path, tmp_path / "out", "--scheduler", address)
        wait_for_lines(tmp_path / "out" / "rows.jsonl", 1)
        processes[1].kill()  # a worker is lost in the middle
        _, said = run.communicate(timeout=200)
        assert run.returncode == 0, said
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert tables(tmp_path / "out") == tables(whole)


def test_an_unreachable_scheduler_is_one_line(
    protocol: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "CONNECT_S", 1)
    assert main(["sweep", str(protocol[0]), "--out", str(tmp_path / "out"), "--scheduler", "tcp://127.0.0.1:9"]) == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("voicelink: --scheduler tcp://127.0.0.1:9: cannot be reached")
    Store(tmp_path / "out", {"another": "plan"}, resume=False).close()  # nothing was done there: it may begin anew


def test_sound_is_rendered_scored_and_kept_and_a_failed_row_is_recorded(tmp_path: Path) -> None:
    sweep = sweep_from(SOUND, "sound", "sound.toml", Path())
    done = run_sweep(sweep, tmp_path / "out", engine="onnx", workers=1)
    assert (done.rows, done.failed) == (2, 0)
    plan, (good, lossy) = read_rows(tmp_path / "out")
    assert good["estoi"] > lossy["estoi"] > 0
    assert good["log_mel_db"] < lossy["log_mel_db"]
    assert good["packet_loss"] == 0 < lossy["packet_loss"]
    assert (good["version"], good["model"], good["seed"]) == (plan["version"], plan["model"], 1)
    assert len(good["model_sha256"]) == len(good["clip_sha256"]) == 64
    assert (tmp_path / "out/audio/english/voicelink-cell0001-seed1.flac").exists()
    assert (tmp_path / "out/traces/cell0000-seed1.npz").exists()


def test_what_goes_wrong_in_a_row_is_told_there(monkeypatch: pytest.MonkeyPatch) -> None:
    (unit,) = plan_units(small(), None)
    simulate = work.simulate

    def sometimes(scenario: Any) -> Any:
        if scenario.loss == 0.1 and scenario.seed == 2:
            raise ConfigError("no such link")
        return simulate(scenario)

    monkeypatch.setattr(work, "simulate", sometimes)
    rows = work.run_unit(unit).rows
    assert [row["error"] for row in rows] == [None, None, None, "no such link", None, None]
    assert (rows[3]["loss"], rows[3]["seed"]) == (0.1, 2)


def test_a_unit_that_kills_its_workers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    units = list(plan_units(small(seeds=40), None))
    assert len(units) == 4
    monkeypatch.setattr(executors, "run_unit", deadly)
    outcomes = {unit.number: outcome for unit, outcome in executors.local(units, 2)}
    assert len(outcomes) == 4
    errors = {number: {row["error"] for row in outcome.rows} for number, outcome in outcomes.items()}
    assert errors == {0: {None}, 1: {"its worker died 3 times"}, 2: {None}, 3: {None}}


def deadly(unit: work.Unit) -> work.Outcome:
    if unit.number == 1:
        os._exit(9)
    return work.run_unit(unit)


def test_another_sweep_or_a_foreign_folder_is_not_touched(tmp_path: Path) -> None:
    run_sweep(small(), tmp_path / "out")
    with pytest.raises(ConfigError, match="--resume goes on"):
        run_sweep(small(), tmp_path / "out")
    with pytest.raises(ConfigError, match="holds another sweep: seeds differs"):
        run_sweep(small(seeds=3), tmp_path / "out", resume=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="is not empty and no sweep"):
        run_sweep(small(), tmp_path / "full")


def test_two_sweeps_in_one_folder_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "out", {"a": 1}, resume=False)
    with pytest.raises(ConfigError, match="another sweep is at work"):
        Store(tmp_path / "out", {"a": 1}, resume=True)
    store.close()


def test_an_unwritable_folder_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "s.toml").write_text("seeds = 1\n[scenario]\nseconds = 1.0\n")
    assert main(["sweep", str(tmp_path / "s.toml"), "--out", str(tmp_path / "file" / "out")]) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert "cannot be written" in line
    assert "--out" in line


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.jsonl"])
def test_a_table_that_cannot_be_written_is_one_line(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.toml").write_text("seeds = 1\n[scenario]\nseconds = 1.0\n")
    Store(tmp_path / "out", {"a": 1}, resume=False).close()
    (tmp_path / "out" / name).unlink(missing_ok=True)
    (tmp_path / "out" / name).mkdir()
    assert main(["sweep", str(tmp_path / "s.toml"), "--out", str(tmp_path / "out")]) == 2
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("voicelink: ")
    assert "cannot be written" in line


def test_a_damaged_journal_is_one_line(tmp_path: Path) -> None:
    run_sweep(small(), tmp_path / "out")
    (tmp_path / "out" / "rows.jsonl").write_text('{"unit": 0}\n')
    with pytest.raises(ConfigError, match="line 1 is damaged"):
        run_sweep(small(), tmp_path / "out", resume=True)


def test_a_column_of_numbers_and_texts_is_text() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"a": 1, "b": True}, {"a": "x", "b": 2}, {"a": None, "b": 0.5}]
    table = parquet.read_table(io.BytesIO(parquet_bytes(rows, ["a", "b"])))
    assert table.to_pydict() == {"a": ["1", "x", None], "b": ["true", "2", "0.5"]}


def test_the_engine_of_a_settings_file_is_the_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from voicelink.experiments import run

    engines: list[str] = []

    def refuse(*_: Any, engine: str, **__: Any) -> Any:
        engines.append(engine)
        raise ConfigError("that is all")

    monkeypatch.setattr(run, "run_sweep", refuse)
    arguments = ["sweep", "drift", "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    monkeypatch.setenv("VOICELINK_CODEC_ENGINE", "onnx")
    assert main(arguments) == 2
    assert main([*arguments, "--engine", "torch"]) == 2
    assert engines == ["", "onnx", "torch"]


def test_progress_tells_the_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from voicelink.experiments import progress

    now = iter([0.0, 10.0, 20.0, 30.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    shown = progress.Progress("rows")
    for done in (40, 50, 60):
        shown.show(done, 100, "opus english")
    assert capsys.readouterr().err.splitlines()[-1] == "60/100 rows, 60 %, 0:40 left  opus english"
