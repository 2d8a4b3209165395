#!/bin/sh
# Registers a connector and waits until it runs: connector.sh register FILE
#                                                connector.sh delete NAME
#
# FILE is what Kafka Connect takes by PUT, with ${NAME} where the two stacks differ. The values come
# from the environment, and where that has none from .stack.env. Plain sh and curl: the compose
# stack runs it in a small image.
set -eu

environment=$(dirname "$0")/../.stack.env
if [ -z "${CONNECT_URL:-}" ]; then
    [ -f "$environment" ] || { echo "error: no CONNECT_URL, and no .stack.env: run make stack" >&2; exit 2; }
    set -a
    . "$environment"
    set +a
fi

register() {
    name=$(sed -n 's/^ *"name": "\(.*\)",$/\1/p' "$1")
    for attempt in $(seq 60); do
        # 409 while the worker rebalances, nothing at all while it starts.
        if answer=$(filled "$1" | curl -s -f -X PUT -H 'Content-Type: application/json' \
            --data-binary @- "$CONNECT_URL/connectors/$name/config" 2>&1); then
            await_running "$name"
            return
        fi
        sleep 1
    done
    filled "$1" | curl -s -X PUT -H 'Content-Type: application/json' --data-binary @- \
        "$CONNECT_URL/connectors/$name/config" >&2 || true
    echo "error: connector $name was not accepted by $CONNECT_URL" >&2
    exit 2
}

# The file with the places of this stack.
filled() {
    script=
    for variable in KAFKA_BOOTSTRAP_SERVERS SCHEMA_REGISTRY_URL \
        SOURCE_HOST SOURCE_PORT MARIADB_HOST MARIADB_PORT; do
        eval "value=\${$variable:-}"
        [ -z "$value" ] || script="$script;s|\${$variable}|$value|g"
    done
    sed "${script#;}" "$1"
}

await_running() {
    for attempt in $(seq 120); do
        status=$(curl -s "$CONNECT_URL/connectors/$1/status" || true)
        case $status in
        *'"state":"FAILED"'*)
            echo "error: connector $1 failed: $status" >&2
            exit 2
            ;;
        *'"tasks":[{'*'"state":"RUNNING"'*)
            echo "connector $1 is running" >&2
            return
            ;;
        esac
        sleep 0.5
    done
    echo "error: connector $1 did not start: $status" >&2
    exit 2
}

delete() {
    curl -s -f -X DELETE "$CONNECT_URL/connectors/$1"
}

case ${1:-}:${2:-} in
register:?* | delete:?*) "$1" "$2" ;;
*)
    echo "usage: connector.sh register FILE | delete NAME" >&2
    exit 2
    ;;
esac
