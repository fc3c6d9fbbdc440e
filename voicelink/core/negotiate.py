"""What a call uses, from what its two ends can do: one pure function that both ends run."""

from __future__ import annotations

from voicelink.core.events import Agreed
from voicelink.settings import SessionSettings
from voicelink.units import bitrate_bps
from voicelink.wire.control import Offer


def offer_of(settings: SessionSettings) -> Offer:
    """What `settings` allow, for the peer."""
    return Offer(
        settings.model_ids,
        settings.bits_min,
        settings.bits_max,
        settings.frames_per_packet,
        settings.frames_per_packet_min,
        settings.frames_per_packet_max,
        settings.adapts,
    )


def negotiate(caller: Offer, callee: Offer) -> Agreed | str:
    """The best that both offers allow, or one sentence that says why there is nothing.

    The caller's first model that the callee has too; the common range of bits; the larger wish for frames
    a packet (the end with the narrower path asks for more) within the common range.
    """
    model = next((m for m in caller.models if m in callee.models), None)
    if model is None:
        return f"no codec model in common: the caller has {_list(caller)}, the callee has {_list(callee)}"
    bits_min, bits_max = max(caller.bits_min, callee.bits_min), min(caller.bits_max, callee.bits_max)
    if bits_min > bits_max:
        return (
            f"no bitrate in common: the caller allows {bitrate_bps(caller.bits_min)}-{bitrate_bps(caller.bits_max)} "
            f"bit/s, the callee {bitrate_bps(callee.bits_min)}-{bitrate_bps(callee.bits_max)} bit/s"
        )
    fewest, most = max(caller.frames_min, callee.frames_min), min(caller.frames_max, callee.frames_max)
    if fewest > most:
        return (
            f"no packet size in common: the caller allows {caller.frames_min}..{caller.frames_max} frames, "
            f"the callee {callee.frames_min}..{callee.frames_max}"
        )
    frames = max(fewest, min(most, max(caller.frames, callee.frames)))
    return Agreed(model, bits_min, bits_max, frames, fewest, most, caller.feedback or callee.feedback)


def _list(offer: Offer) -> str:
    return ", ".join(offer.models) or "none"
