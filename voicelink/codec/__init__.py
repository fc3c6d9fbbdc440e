"""The codec: mel front end, BVRNN coder, vocoders, streaming state, engines, model folders, files."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voicelink.codec.api import Codec, load_codec

__all__ = ["Codec", "load_codec"]


def __getattr__(name: str) -> object:
    """Load the public names on first use, so that `voicelink.codec.mel` alone needs nothing but numpy."""
    if name in __all__:
        from voicelink.codec import api  # noqa: PLC0415

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
