"""Privacy: Noise handshake, sealed datagrams, replay window, cookies. Pure functions and values on `cryptography`."""
