from __future__ import annotations

from pathlib import Path

import pytest
import toml

from voicelink.config import as_dict, describe, load, sample
from voicelink.errors import ConfigError
from voicelink.settings import Settings


def write(folder: Path, text: str) -> Path:
    path = folder / "set.toml"
    path.write_text(text)
    return path


def test_nothing_set_is_the_defaults() -> None:
    assert load(environ={}).settings == Settings()


def test_the_command_line_wins_over_the_environment_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[session]\nname = 'file'\nbits_min = 10\nbits_max = 20\n[link]\nloss = 0\n")
    environ = {"VOICELINK_SESSION_NAME": "env", "VOICELINK_SESSION_BITS_MAX": "30", "PATH": "/bin"}
    effective = load(path, environ, {"session.name": "line"})
    session = effective.settings.session
    assert (session.name, session.bits_min, session.bits_max) == ("line", 10, 30)
    keys = ("session.name", "session.bits_min", "session.bits_max", "session.redundancy")
    assert [effective.source(k) for k in keys] == [
        "command line",
        str(path),
        "VOICELINK_SESSION_BITS_MAX",
        "default",
    ]
    assert as_dict(effective)["session.bits_max"] == {"value": 30, "source": "VOICELINK_SESSION_BITS_MAX"}


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICELINK_SESSION_NAME", "carol")
    assert load(options={"session.bits_max": 9}).settings.session.name == "carol"


def test_environment_texts_become_the_right_types() -> None:
    session = load(
        None,
        {
            "VOICELINK_SESSION_DIRECT_PATH": "no",
            "VOICELINK_SESSION_MODEL_IDS": "one, two",
            "VOICELINK_SESSION_REDUNDANCY": "3",
        },
    ).settings.session
    assert (session.direct_path, session.model_ids, session.redundancy) == (False, ("one", "two"), 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[session]\nbits_max = 65", "session.bits_max = 65 is out of range; allowed is 1..64"),
        ("[session]\nbits_max = '32'", "session.bits_max = '32' is not a whole number"),
        ("[session]\nbits_max = true", "session.bits_max = True is not a whole number"),
        ("[session]\nbits = 3", "session.bits is unknown; [session] has name, "),
        ("[sessions]\nbits = 3", "table [sessions] is unknown; there are session, "),
        ("name = 3", "name stands outside a table; tables are [session], "),
        ("[session]\nbits_min = 9\nbits_max = 8", "session.bits_min = 9 is above session.bits_max = 8"),
        ("[session]\nframes_per_packet = 4\nframes_per_packet_max = 3", "= 4 is outside 1..3"),
        ("[session]\nmodel_ids = [1]", "session.model_ids = [1] is not a list of texts"),
        ('[session]\nname = "x\\u0007"', "cannot be printed"),
        (f"[session]\nname = '{'x' * 65}'", "a name has at most 64 bytes"),
        ("[session]\nconstant_rate = true\ndtx = true", "session.constant_rate = True hides when somebody talks, and"),
        ("[session]\nconstant_rate = true\nfixed = false", "and a rate that adapts exclude each other; leave one"),
        ("[codec]\nengine = 'jax'", "codec.engine = 'jax' is unknown; allowed is auto or onnx or int8 or torch"),
        ("[server]\nlisten = 'here'", "server.listen: 'here' is not HOST:PORT"),
        ("[session\n", "is not valid TOML"),
    ],
)
def test_errors_name_file_key_value_and_what_is_allowed(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load(path, {})
    assert str(path) in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_constant_rate_on_the_command_line_wins_over_a_file_that_adapts(tmp_path: Path) -> None:
    effective = load(write(tmp_path, "[session]\nfixed = false"), {}, {"session.constant_rate": True})
    assert not effective.settings.session.adapts
    with pytest.raises(
        ConfigError, match=r"^command line: session\.constant_rate = True hides .* session\.dtx shows it"
    ):
        load(write(tmp_path, "[session]\ndtx = true"), {}, {"session.constant_rate": True})


def test_environment_errors_name_the_variable() -> None:
    with pytest.raises(ConfigError, match=r"VOICELINK_LINK_LOSS: 'much' is not a number"):
        load(None, {"VOICELINK_LINK_LOSS": "much"})
    with pytest.raises(ConfigError, match=r"VOICELINK_LINK_LOSS: link\.loss = nan is out of range"):
        load(None, {"VOICELINK_LINK_LOSS": "nan"})
    with pytest.raises(ConfigError, match=r"VOICELINK_LINK_LOST: link\.lost is unknown"):
        load(None, {"VOICELINK_LINK_LOST": "1"})


def test_the_sample_and_the_description_are_toml(tmp_path: Path) -> None:
    effective = load(None, {}, {"session.name": 'bo"b\\', "session.model_ids": ["a", "b"]})
    assert load(write(tmp_path, describe(effective)), {}).settings == effective.settings
    assert all(not table for table in toml.loads(sample()).values())
    lines = [line[1:] for line in sample().splitlines() if line[:1] == "#" and line[1:2] != " "]
    tables = [line for line in sample().splitlines() if line.startswith("[")]
    assert len(lines) == len(as_dict(effective))
    assert tables == ["[session]", "[server]", "[link]", "[codec]", "[audio]", "[network]", "[keys]"]


def test_the_sample_uncommented_is_the_defaults(tmp_path: Path) -> None:
    text = "\n".join(line[1:] if line[:1] == "#" and line[1:2] != " " else line for line in sample().splitlines())
    assert load(write(tmp_path, text), {}).settings == Settings()


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    effective = load(None, {"VOICELINK_KEYS_PASSPHRASE": "open sesame"})
    assert effective.settings.keys.passphrase == "open sesame"
    shown = describe(effective) + str(as_dict(effective)) + repr(effective.settings)
    assert "sesame" not in shown
    assert "(hidden)" in shown
    with pytest.raises(ConfigError) as failed:
        load(write(tmp_path, 'keys.passphrase = "open\\u0007sesame"'), {})
    assert "sesame" not in str(failed.value)
