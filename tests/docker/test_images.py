"""The image and compose files: linted where hadolint is there, else parsed; and what they start, as plain processes."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.server.test_app import serving

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
INSTRUCTION = re.compile(r"(FROM|ENV|WORKDIR|COPY|RUN|USER|EXPOSE|STOPSIGNAL|HEALTHCHECK|ENTRYPOINT|CMD) \S.*")


def instructions(name: str) -> list[str]:
    text = (DOCKER / name).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def tool(name: str) -> str | None:
    """Of this environment, else of the system."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


@pytest.mark.parametrize("name", ["server.Dockerfile", "client.Dockerfile"])
def test_every_line_is_an_instruction_and_every_file_copied_is_there(name: str) -> None:
    lines = instructions(name)
    assert all(INSTRUCTION.fullmatch(line) for line in lines)
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
    if (hadolint := tool("hadolint")) is not None:
        subprocess.run([hadolint, str(DOCKER / name)], check=True)


def test_the_server_image_is_not_root_and_has_a_health_check() -> None:
    lines = instructions("server.Dockerfile")
    assert "USER 65532:65532" in lines
    assert any(line.startswith("HEALTHCHECK ") and "health.py" in line for line in lines)
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (install,) = [line for line in lines if line.startswith("RUN pip install")]
    for package in re.findall(r'"([a-z]+)>=[\d.]+"', install):
        assert package == "redis" or any(w.startswith(package) for w in wanted)


def test_the_compose_file_has_a_server_and_two_clients_with_netem_and_a_volume() -> None:
    yaml = pytest.importorskip("yaml")
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {"server", "alice", "bob"}
    for name, role in (("alice", "call"), ("bob", "listen")):
        assert services[name]["command"] == [role]
        assert services[name]["environment"]["NETEM"] == "${NETEM:-}"
        assert services[name]["cap_add"] == ["NET_ADMIN"]
        assert services[name]["volumes"] == ["results:/results"]
    for service in services.values():
        assert (ROOT / service["build"]["dockerfile"]).exists()
    assert "results" in compose["volumes"]


def test_what_the_server_image_leaves_out_is_not_needed(tmp_path: Path) -> None:
    """The same tree, without what the image removes, and with the packages that it installs alone."""
    (install,) = [line for line in instructions("server.Dockerfile") if line.startswith("RUN pip install")]
    removed = {Path(p).relative_to("/app") for p in re.findall(r"/app/\S+", install.partition("rm -rf")[2])}
    for folder, name in (("voicelink", "voicelink"), ("server", "voicelink_server")):
        shutil.copytree(ROOT / folder, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for gone in removed:
        shutil.rmtree(tmp_path / gone, ignore_errors=True)
    code = (
        "import sys, importlib.abc\n"
        "class No(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.partition('.')[0] in ('numpy', 'typer', 'rich', 'onnxruntime', 'torch', 'zeroconf'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, No())\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "import voicelink_server.__main__ as m, voicelink_server.cluster\n"
        f"assert m.__file__.startswith({str(tmp_path)!r}), m.__file__\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_the_health_check_tells_a_server_from_none() -> None:
    def check(address: str) -> int:
        environ = os.environ | {"HEALTH_ADDRESS": address}
        return subprocess.run([sys.executable, DOCKER / "health.py"], env=environ, timeout=20, check=False).returncode

    with serving("--workers", "1") as (where, _):
        assert check(where["listening"]) == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        assert check(f"127.0.0.1:{sock.getsockname()[1]}") == 1


def test_the_client_script_says_what_it_does_not_know() -> None:
    environ = os.environ | {"SERVER": "x:1", "RESULTS": "/tmp"}
    done = subprocess.run(
        ["sh", str(DOCKER / "client.sh"), "dance"], env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "client.sh: dance is neither listen nor call\n")
    if (shellcheck := tool("shellcheck")) is not None:
        subprocess.run([shellcheck, str(DOCKER / "client.sh")], check=True)
