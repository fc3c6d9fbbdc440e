"""Sockets and clocks: the drivers of the sans-IO machines, and the event loop they run on."""
