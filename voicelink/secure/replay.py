"""Which packet counters have come already: the sliding window of RFC 6479, a ring of words and no shifting."""

from __future__ import annotations

from typing import Final

WORD_BITS: Final = 64
WORDS: Final = 32  # a power of two
#: Counters so far behind the highest one are still told apart; older ones count as seen. One word is always spare.
WINDOW: Final = (WORDS - 1) * WORD_BITS


class ReplayWindow:
    """`is_new` before the costly check of a packet, `mark` after it proved true."""

    __slots__ = ("_highest", "_words")

    def __init__(self) -> None:
        self._highest = -1
        self._words = [0] * WORDS

    def is_new(self, counter: int) -> bool:
        """Whether `counter` has not been marked and is not too old to know."""
        highest = self._highest
        if counter > highest:
            return True
        if counter + WINDOW <= highest:
            return False
        return not self._words[counter // WORD_BITS % WORDS] >> counter % WORD_BITS & 1

    def mark(self, counter: int) -> None:
        """Note that `counter`, which is new, has come."""
        word = counter // WORD_BITS
        if counter > self._highest:
            behind = max(self._highest, 0) // WORD_BITS
            for index in range(behind + 1, min(word, behind + WORDS) + 1):
                self._words[index % WORDS] = 0
            self._highest = counter
        self._words[word % WORDS] |= 1 << counter % WORD_BITS
