"""The rendezvous and relay server: `python -m voicelink_server`, or from another program

``await voicelink_server.app.main_async(settings.server, json_output=True)``, which serves until SIGTERM or
SIGINT and then returns. `voicelink_server.app.run_server` is the same with an event loop of its own (uvloop
where there is one), and returns when the server has stopped.

It relays what it cannot read: calls are encrypted end to end. It knows names, addresses, public keys, and when who
calls whom.
"""
