"""Proof to a server that a client holds the private half of the key it registers a name under.

The server hands out an X25519 key with its cookie; only the holder of the identity key can compute the secret of the
two, and the proof is a keyed hash under that of what is asked and of the cookie, which stands for address and time.
The server learns the public key, and nothing that helps it in a call.
"""

from __future__ import annotations

import hmac
from typing import Final

from voicelink.secure.identity import Identity
from voicelink.secure.noise import NoiseError

PROOF_BYTES: Final = 16


def prove(identity: Identity, other_public: bytes, request: bytes) -> bytes:
    """The proof for `request`, for the owner of `other_public`. Raises NoiseError for a bad key."""
    secret = identity.agree(other_public)
    first, second = sorted((identity.public, other_public))
    key = hmac.digest(secret, b"voicelink possession" + first + second, "sha256")
    return hmac.digest(key, request, "sha256")[:PROOF_BYTES]


def is_proven(server: Identity, client_public: bytes, request: bytes, proof: bytes) -> bool:
    """Whether `proof` was made by the holder of `client_public` for this server key."""
    try:
        return hmac.compare_digest(prove(server, client_public, request), proof)
    except NoiseError:
        return False


def claim(action: str, name: str, request_id: int, cookie: bytes) -> bytes:
    """What a proof is made for, without ambiguity."""
    return b"\0".join((action.encode(), request_id.to_bytes(4, "big"), cookie, name.encode()))


def is_same(ours: bytes, theirs: bytes) -> bool:
    """Whether two secrets are the same, in a time that does not tell how far they are."""
    return hmac.compare_digest(ours, theirs)
