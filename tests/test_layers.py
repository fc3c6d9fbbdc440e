"""Who may import whom, enforced over every file's imports (those inside functions included).

A rule names the packages (or single modules) of ours that a layer may import beside itself, the third-party
packages, and the standard library as far as that matters: the layers that must stay free of clocks, sockets,
threads and randomness may import only what is listed in PURE.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"voicelink": "voicelink", "server": "voicelink_server", "client": "voicelink_client"}

PURE = frozenset(
    {"__future__", "abc", "bisect", "collections", "dataclasses", "enum", "functools", "heapq", "ipaddress"}
    | {"itertools", "logging", "math", "operator", "re", "statistics", "string", "struct", "types", "typing", "weakref"}
)
ANY_STDLIB = frozenset(sys.stdlib_module_names)
BASE = ("voicelink.units", "voicelink.errors", "voicelink.frame", "voicelink.settings")
OURS = ("voicelink", "voicelink_server", "voicelink_client")


@dataclass(frozen=True)
class Rule:
    """What a layer may import: modules of ours (each with all below it), outside packages, stdlib."""

    ours: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    stdlib: frozenset[str] = ANY_STDLIB


def v(*names: str) -> tuple[str, ...]:
    return tuple(f"voicelink.{name}" for name in names)


SCIENCE = ("numpy", "scipy", "torch", "librosa", "matplotlib", "dask", "distributed", "pandas", "pyarrow")
TRAINING = (
    "soundfile",
    "soxr",
    "parselmouth",
    "pyworld",
    "pesq",
    "pystoi",
    "onnx",
    "onnxruntime",
    "safetensors",
    "toml",
)
JUDGES = ("visqol", "speechmos", "faster_whisper", "jiwer", "pycodec2")

#: By the longest prefix of a module's name.
RULES: dict[str, Rule] = {
    **dict.fromkeys(BASE, Rule(BASE, (), PURE)),
    "voicelink": Rule(v("codec")),  # the package itself: its public names
    "voicelink.bounded": Rule(),
    "voicelink.config": Rule((*BASE, *v("bounded")), ("toml",)),
    "voicelink.keystore": Rule((*BASE, *v("bounded", "secure")), ("toml",)),
    "voicelink.wire": Rule(BASE, ("msgpack",), PURE),
    "voicelink.secure": Rule((*BASE, *v("wire")), ("cryptography",), PURE | {"base64", "copy", "hashlib", "hmac"}),
    "voicelink.core": Rule((*BASE, *v("wire", "secure")), (), PURE),
    "voicelink.codec": Rule((*BASE, *v("audio.resampler", "bounded")), ("numpy", "toml")),
    "voicelink.audio": Rule(BASE, ("numpy", "soxr")),
    "voicelink.net": Rule((*BASE, *v("core", "wire", "secure")), ("uvloop",)),
    "voicelink.sim": Rule(
        (*BASE, *v("core", "wire", "secure")),
        ("numpy",),
        PURE | {"array", "csv", "difflib", "hashlib", "json", "pathlib", "random", "tomllib", "zipfile", "zlib"},
    ),
    "voicelink.experiments": Rule(("voicelink",), (*SCIENCE, *TRAINING, *JUDGES)),
    "voicelink.train": Rule(("voicelink",), (*SCIENCE, *TRAINING)),
    "voicelink.cli": Rule(OURS, ("typer", "rich", "click")),
    "voicelink.commands": Rule(OURS, ("typer", "rich", "click", "numpy")),
    "voicelink_server": Rule((*BASE, *v("config", "core", "net", "wire")), ("uvloop", "msgpack")),
    "voicelink_client": Rule(
        (*BASE, *v("config", "core", "keystore", "net", "secure", "wire", "codec", "audio")),
        ("numpy", "sounddevice", "pywebrtc_audio", "textual", "rich"),
    ),
}

#: Heavy or special packages, each only where it belongs: (file, what it may import beside its layer's rule).
ONLY_IN: dict[str, tuple[str, ...]] = {
    "server/cluster.py": ("redis",),
    "server/app.py": ("redis",),
    "voicelink/net/lan.py": ("zeroconf", "ifaddr"),
    # Clients that register, to measure the server.
    "server/bench.py": ("voicelink.secure",),
    "voicelink/codec/engine_onnx.py": ("onnxruntime",),
    "voicelink/codec/engine_torch.py": ("torch",),
    "voicelink/codec/bvrnn.py": ("torch",),
    "voicelink/codec/search.py": ("torch",),
    "voicelink/codec/bigvgan.py": ("torch",),
    "voicelink/codec/harmonic.py": ("torch",),
    "voicelink/codec/checkpoint_import.py": ("torch",),
    "voicelink/codec/model_writer.py": ("torch", "onnx"),
    "voicelink/codec/int8_graphs.py": ("onnx",),
    "voicelink/audio/files.py": ("soundfile",),
    "voicelink/audio/flac.py": ("soundfile",),
    # A scenario is checked as all settings are; rendering is where traces meet the codec.
    "voicelink/sim/scenario.py": ("voicelink.config",),
    "voicelink/sim/render.py": ("voicelink.codec",),
    # The demonstration: an impaired link between its two ends, and its report.
    "client/demo_end.py": ("voicelink.sim.tracefile",),
    "client/page.py": ("soundfile",),
    "client/measure.py": ("pystoi",),
    "client/picture.py": ("matplotlib",),
}


def module_name(path: str) -> str:
    folder, _, rest = path.partition("/")
    name = FOLDERS[folder] + "." + rest.removesuffix(".py").replace("/", ".")
    return name.removesuffix(".__init__")


def imported(source: str, module: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that `source`, the text of `module`, imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *([base] if base else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names = [a.value for a in node.args[:1] if isinstance(a, ast.Constant)]
            yield from ((node.lineno, name) for name in names if isinstance(name, str))


def under(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == p or name.startswith(p + ".") for p in prefixes)


def violations(path: str, source: str) -> list[str]:
    """What file `path` imports against the rules, one line each."""
    module = module_name(path)
    layer = max((prefix for prefix in RULES if under(module, (prefix,))), key=len)
    rule, extra = RULES[layer], ONLY_IN.get(path, ())
    found = []
    for line, name in imported(source, module):
        top = name.partition(".")[0]
        if top in OURS:
            own = layer if layer != "voicelink" else "voicelink.__version__"
            fine = under(name, (own, *rule.ours)) or under(name, extra)
        elif top in ANY_STDLIB:
            fine = top in rule.stdlib
        else:
            fine = top in rule.outside or top in extra
        if not fine:
            found.append(f"{path}:{line}: {layer} may not import {name}")
    return found


FILES = sorted(str(p.relative_to(ROOT)) for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))


def test_no_file_imports_against_the_rules() -> None:
    assert len(FILES) > 40
    found = [line for path in FILES for line in violations(path, (ROOT / path).read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


def test_nothing_that_holds_a_real_call_can_leave_out_its_protection() -> None:
    """`secure/null.py` is for simulations and speed tests; no option, setting or message may lead to it."""
    allowed = ("voicelink/sim/", "voicelink/experiments/", "voicelink/commands/bench.py", "voicelink/secure/null.py")
    for path in FILES:
        source = (ROOT / path).read_text(encoding="utf-8")
        if not path.startswith(allowed):
            names = [name for _, name in imported(source, module_name(path))]
            assert not any(under(name, ("voicelink.secure.null",)) for name in names), path


def test_every_exception_is_still_needed() -> None:
    for path, names in ONLY_IN.items():
        if (ROOT / path).exists():
            module = module_name(path)
            there = [n for _, n in imported((ROOT / path).read_text(encoding="utf-8"), module)]
            assert all(any(under(n, (name,)) for n in there) for name in names), path


@pytest.mark.parametrize(
    ("path", "source", "forbidden"),
    [
        ("voicelink/core/x.py", "import time", "time"),
        ("voicelink/core/x.py", "import os.path", "os.path"),
        ("voicelink/core/x.py", "from random import Random", "random.Random"),
        ("voicelink/core/x.py", "def f():\n    import socket", "socket"),
        ("voicelink/core/x.py", "from ..net import udp", "voicelink.net.udp"),
        ("voicelink/core/x.py", "from voicelink import codec", "voicelink.codec"),
        ("voicelink/core/x.py", "import importlib\n", "importlib"),
        ("voicelink/secure/x.py", "import os", "os"),
        ("voicelink/secure/x.py", "import secrets", "secrets"),
        ("voicelink/secure/x.py", "from voicelink.core.link import CallLink", "voicelink.core.link.CallLink"),
        ("voicelink/core/x.py", "import cryptography", "cryptography"),
        ("voicelink/wire/x.py", "from voicelink.core.stats import Stats", "voicelink.core.stats.Stats"),
        ("voicelink/net/x.py", "import voicelink.sim.link", "voicelink.sim.link"),
        ("voicelink/net/x.py", "import numpy", "numpy"),
        ("voicelink/codec/stream.py", "import torch", "torch"),
        ("voicelink/codec/x.py", "import voicelink.audio.files", "voicelink.audio.files"),
        ("voicelink/audio/ring.py", "import soundfile", "soundfile"),
        ("voicelink/units.py", "import voicelink.config", "voicelink.config"),
        ("voicelink/sim/x.py", "import time", "time"),
        ("server/x.py", "import torch", "torch"),
        ("server/x.py", "import voicelink.codec.api", "voicelink.codec.api"),
        ("server/x.py", "importlib.import_module('onnxruntime')", "onnxruntime"),
        ("client/x.py", "from voicelink_server.app import run_server", "voicelink_server.app.run_server"),
        ("client/x.py", "from voicelink.train import loop", "voicelink.train.loop"),
    ],
)
def test_the_checker_sees_a_violation(path: str, source: str, forbidden: str) -> None:
    (found,) = violations(path, source)
    assert found.startswith(f"{path}:")
    assert found.endswith(f"may not import {forbidden}")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("voicelink/core/x.py", "from collections import deque\nfrom voicelink.wire.seq import unwrap"),
        ("voicelink/core/x.py", "from .states import State\nfrom ..units import NS_PER_MS"),
        ("voicelink/core/__init__.py", "import voicelink.core.stats"),
        ("voicelink/codec/engine_onnx.py", "import onnxruntime, numpy"),
        ("voicelink/net/x.py", "import asyncio, socket, time\nimport uvloop"),
        ("server/x.py", "import asyncio\nfrom voicelink.net.relay import RelayDriver"),
    ],
)
def test_the_checker_passes_what_is_allowed(path: str, source: str) -> None:
    assert violations(path, source) == []
