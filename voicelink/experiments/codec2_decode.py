"""Decode Codec2 frames from stdin to stdout, as a program of its own.

libcodec2 draws the phases of unvoiced sounds from one generator a process that cannot be seeded from outside: only a
fresh process decodes the same frames to the same samples. Run as `python codec2_decode.py MODE`; stdin holds for each
frame a byte (1: there, 0: to be silent) and the frame's bytes, stdout gets int16 samples.
"""

from __future__ import annotations

import sys


def main() -> None:
    """See the module."""
    import numpy as np  # noqa: PLC0415
    import pycodec2  # noqa: PLC0415

    codec = pycodec2.Codec2(int(sys.argv[1]))
    data, size = sys.stdin.buffer.read(), 1 + codec.bytes_per_frame()
    silence = np.zeros(codec.samples_per_frame(), np.int16)
    for at in range(0, len(data), size):
        block = codec.decode(data[at + 1 : at + size]) if data[at] else silence
        sys.stdout.buffer.write(np.asarray(block, np.int16).tobytes())


if __name__ == "__main__":
    main()
