#!/usr/bin/env bash
# Captures tests/fixtures and schemas/ again, from the running stack: capture.sh [next]
#
# With `next`, the fixtures of types that the stack's connector lacks, by a newer one in a worker of its
# own, which ends with this script.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

main() {
    [ -f "$ROOT/.stack.env" ] || die "no .stack.env: run make stack"
    set -a
    . "$ROOT/.stack.env"
    set +a
    case ${1:-} in
    '') ;;
    next) start_next ;;
    *) die "usage: capture.sh [next]" ;;
    esac
    "$VENV/bin/python" "$ROOT/scripts/capture.py" "$@"
}

start_next() {
    export CONNECT_SERVICE=connect-next
    export CONNECT_PLUGINS=$CACHE/connector-$DEBEZIUM_NEXT_VERSION
    download_debezium debezium-connector-postgres "$DEBEZIUM_NEXT_VERSION" "$CONNECT_PLUGINS"
    # The Avro converter is among its jars, as in the stack.
    cp -n "$CACHE/avro-converter-$AVRO_CONVERTER_VERSION"/avro-converter/*.jar "$CONNECT_PLUGINS"/*/
    trap '"$ROOT/scripts/stack/connect.sh" stop' EXIT
    "$ROOT/scripts/stack/connect.sh" launch
    say "starting Kafka Connect with the connector $DEBEZIUM_NEXT_VERSION"
    for _ in $(seq 300); do
        ! "$ROOT/scripts/stack/connect.sh" ready || break
        sleep 0.2
    done
    CONNECT_URL=http://$HOST:$CONNECT_NEXT_PORT
}

main "$@"
