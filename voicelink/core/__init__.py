"""The call as sans-IO machines: bytes and `now_ns` in; datagrams, events and one deadline out."""
