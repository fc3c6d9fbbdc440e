#!/bin/sh
# One end of a call without screen: `client.sh listen|call`. Used by compose.yaml, and by tests as a plain process.
#   SERVER  HOST:PORT of the server        SECONDS_OF_CALL  length of the call, s (default 10)
#   NETEM             arguments of `tc qdisc add dev eth0 root netem`, such as "delay 40ms 10ms loss 5%"; none: no change
#   CLIP              audio file to speak            RESULTS            folder for what was heard (default /results)
set -eu
role="$1"
results="${RESULTS:-/results}"
clip="${CLIP:-null}"
seconds="${SECONDS_OF_CALL:-10}"
mkdir -p "$results"

if [ -n "${NETEM:-}" ]; then
    # shellcheck disable=SC2086  # several words on purpose
    tc qdisc replace dev "${NETEM_DEVICE:-eth0}" root netem $NETEM
fi

set -- --server "$SERVER" --headless --json --seconds "$seconds" --keys "$results/$role-keys" \
    --input "$clip" --output "$results/$role-heard.wav"
case "$role" in
    listen) set -- listen --name bob "$@" ;;
    call) set -- call bob --name alice "$@" ;;
    *) echo "client.sh: $role is neither listen nor call" >&2; exit 2 ;;
esac

run() {
    if [ "$(id -u)" = 0 ] && [ -n "${RUN_AS:-}" ]; then
        chown -R "$RUN_AS" "$results"
        exec setpriv --reuid="$RUN_AS" --regid="$RUN_AS" --clear-groups "${PROGRAM:-voicelink}" "$@"
    fi
    exec "${PROGRAM:-voicelink}" "$@"
}

if [ "$role" = call ]; then
    # The callee may need some seconds to load its model and register.
    sleep "${WAIT:-8}"
fi
run "$@" > "$results/$role.json"
