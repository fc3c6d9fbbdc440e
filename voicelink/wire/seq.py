"""Full counters from the few low bits that travel."""

from __future__ import annotations


def unwrap(low: int, expected: int, bits: int = 16) -> int:
    """The non-negative number nearest to `expected` whose low `bits` bits are `low`.

    The rule of RFC 9000 appendix A.3: right as long as the true number is within half of 2^bits of
    `expected`.
    """
    size = 1 << bits
    number = (expected & ~(size - 1)) | low
    if number > expected + size // 2:
        number -= size
    elif number <= expected - size // 2:
        number += size
    return number if number >= 0 else number + size
