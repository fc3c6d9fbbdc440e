"""voicelink: two-party voice calls over UDP on a neural speech codec at 86 bps to 5.5 kbps.

The codec alone:

    import voicelink
    codec = voicelink.load_codec()
    coded = codec.encode(speech, sample_rate, bitrate_bps=3000)
    speech = codec.decode(coded)
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voicelink.codec.api import Codec, load_codec

__version__ = "0.1.0"
__all__ = ["Codec", "__version__", "load_codec"]


def __getattr__(name: str) -> object:
    """Load the codec on first use: a server that imports voicelink needs no model runtime."""
    if name in ("Codec", "load_codec"):
        from voicelink.codec import api  # noqa: PLC0415

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
