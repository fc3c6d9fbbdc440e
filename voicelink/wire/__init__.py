"""Bytes to values and back: pure functions, no state. See docs/protocol.md for the byte tables."""
