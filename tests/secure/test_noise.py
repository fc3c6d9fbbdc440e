"""The handshake against published vectors, and against another implementation in both roles."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from noise.connection import Keypair, NoiseConnection

from voicelink.secure.noise import HandshakeState, KeyPair, NoiseError

VECTORS = json.loads((Path(__file__).parent / "noise_vectors.json").read_text())["vectors"]


def state_of(vector: dict[str, Any], role: str) -> HandshakeState:
    _, pattern, _, _, hash_name = vector["protocol_name"].split("_")
    return HandshakeState(
        pattern,
        initiator=role == "init",
        prologue=bytes.fromhex(vector["prologue"]),
        static=bytes.fromhex(vector[f"{role}_static"]),
        ephemeral=bytes.fromhex(vector[f"{role}_ephemeral"]),
        psk=bytes.fromhex(vector["psk"]) if "psk" in vector else None,
        hash_name=hash_name,
    )


def pair(pattern: str = "XX", psk: bytes | None = None, other_psk: bytes | None = None) -> list[HandshakeState]:
    keys = [bytes([i]) * 32 for i in range(1, 5)]
    return [
        HandshakeState(
            pattern, initiator=first, prologue=b"p", static=keys[i], ephemeral=keys[i + 2],
            psk=psk if first else other_psk or psk,
        )
        for i, first in enumerate((True, False))
    ]  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['from']}-{v['protocol_name']}")
def test_published_vectors(vector: dict[str, Any]) -> None:
    initiator, responder = state_of(vector, "init"), state_of(vector, "resp")
    messages = [(bytes.fromhex(p), bytes.fromhex(c)) for p, c in vector["messages"]]
    for number, (payload, ciphertext) in enumerate(messages[:3]):
        writer, reader = (initiator, responder) if number % 2 == 0 else (responder, initiator)
        assert writer.write(payload) == ciphertext
        assert reader.read(ciphertext) == payload
    assert initiator.finished
    assert responder.finished
    assert initiator.handshake_hash == responder.handshake_hash
    if "handshake_hash" in vector:
        assert initiator.handshake_hash.hex() == vector["handshake_hash"]
    # Transport messages, alternating on from the last handshake message.
    keys = initiator.split()
    assert keys == responder.split()
    first_sender = 0 if vector["from"] == "flynn/noise" else 1
    counts = [0, 0]
    for number, (payload, ciphertext) in enumerate(messages[3:]):
        sender = (number + first_sender) % 2
        nonce = bytes(4) + counts[sender].to_bytes(8, "little")
        counts[sender] += 1
        assert ChaCha20Poly1305(keys[sender]).encrypt(nonce, payload, b"") == ciphertext
    assert initiator.remote_static == KeyPair(bytes.fromhex(vector["resp_static"])).public
    assert responder.remote_static == KeyPair(bytes.fromhex(vector["init_static"])).public


@pytest.mark.parametrize("pattern", ["XX", "XXpsk3"])
@pytest.mark.parametrize("hash_name", ["SHA256", "BLAKE2s"])
@pytest.mark.parametrize("we_initiate", [True, False])
def test_the_other_implementation_understands_us(pattern: str, hash_name: str, we_initiate: bool) -> None:
    psk = os.urandom(32) if pattern == "XXpsk3" else None
    static = os.urandom(32)
    ours = HandshakeState(
        pattern, initiator=we_initiate, prologue=b"prologue", static=static, ephemeral=os.urandom(32), psk=psk,
        hash_name=hash_name,
    )  # fmt: skip
    theirs = NoiseConnection.from_name(f"Noise_{pattern}_25519_ChaChaPoly_{hash_name}".encode())
    theirs.set_prologue(b"prologue")
    theirs.set_keypair_from_private_bytes(Keypair.STATIC, their_static := os.urandom(32))
    if psk:
        theirs.set_psks(psk=psk)
    (theirs.set_as_responder if we_initiate else theirs.set_as_initiator)()
    theirs.start_handshake()
    for number in range(3):
        payload = b"payload %d" % number
        if (number % 2 == 0) == we_initiate:
            assert bytes(theirs.read_message(ours.write(payload))) == payload
        else:
            assert ours.read(bytes(theirs.write_message(payload))) == payload
    assert ours.remote_static == KeyPair(their_static).public
    assert ours.handshake_hash == theirs.get_handshake_hash()
    send, receive = ours.split() if we_initiate else ours.split()[::-1]
    assert bytes(theirs.decrypt(ChaCha20Poly1305(send).encrypt(bytes(12), b"to them", b""))) == b"to them"
    assert ChaCha20Poly1305(receive).decrypt(bytes(12), bytes(theirs.encrypt(b"to us")), b"") == b"to us"


def test_every_damaged_byte_is_told_and_the_true_message_still_works() -> None:
    initiator, responder = pair("XXpsk3", bytes(32))
    for writer, reader in ((initiator, responder), (responder, initiator), (initiator, responder)):
        message = writer.write(b"hello")
        for at in range(len(message)):
            with pytest.raises(NoiseError):
                reader.read(message[:at] + bytes([message[at] ^ 0x10]) + message[at + 1 :])
        for length in range(len(message)):
            with pytest.raises(NoiseError):
                reader.read(message[:length])
        assert reader.read(message) == b"hello"
    assert initiator.split() == responder.split()


def test_a_wrong_pre_shared_key_shows_in_the_payload_of_the_last_message() -> None:
    initiator, responder = pair("XXpsk3", bytes(32), bytes(31) + b"\1")
    responder.read(initiator.write(b""))
    initiator.read(responder.write(b""))
    with pytest.raises(NoiseError) as failed:
        responder.read(initiator.write(b"hello"))
    assert failed.value.part == "payload"
    assert responder.remote_static == b""


def test_turns_keys_and_patterns_are_checked() -> None:
    initiator, responder = pair()
    with pytest.raises(ValueError, match="not our turn to read"):
        initiator.read(b"")
    with pytest.raises(ValueError, match="not our turn to write"):
        responder.write(b"")
    with pytest.raises(ValueError, match="not finished"):
        initiator.split()
    with pytest.raises(ValueError, match="pattern XX takes no"):
        pair("XX", bytes(32))
    with pytest.raises(ValueError, match="pattern XXpsk3 needs a"):
        pair("XXpsk3")
    with pytest.raises(NoiseError, match="no secret"):
        KeyPair(bytes([1]) * 32).agree(bytes(32))


def test_exported_keys_follow_the_handshake() -> None:
    initiator, responder = pair()
    responder.read(initiator.write(b""))
    initiator.read(responder.write(b""))
    assert initiator.export(b"a") == responder.export(b"a") != initiator.export(b"b")
