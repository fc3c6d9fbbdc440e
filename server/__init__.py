"""The rendezvous and relay server: `python -m voicelink_server`, or from another program.


    from voicelink_server.app import main_async
    await main_async(settings.server, json_output=True)

which serves until SIGTERM or SIGINT and then returns; `voicelink_server.app.run_server` is the same with an
event loop of its own (uvloop where there is one) and returns the exit code.
"""
