#!/bin/sh
# Registers a connector and waits until it runs: connector.sh register FILE
#
# FILE is what Kafka Connect takes by PUT, with ${NAME} where the two stacks differ. The values come
# from the environment, and where that has none from .stack.env. Plain sh and curl: the compose
# stack runs it in a small image.
set -eu

environment=$(dirname "$0")/../.stack.env
if [ -z "${CONNECT_URL:-}" ]; then
    [ -f "$environment" ] || { echo "error: no CONNECT_URL, and no .stack.env: run make stack" >&2; exit 2; }
    set -a
    # shellcheck source=/dev/null
    . "$environment"
    set +a
fi

register() {
    name=$(sed -n 's/^ *"name": "\(.*\)",$/\1/p' "$1")
    answer=
    for _ in $(seq 60); do
        answer=$(filled "$1" | curl -s -X PUT -H 'Content-Type: application/json' \
            --data-binary @- -w ' %{http_code}' "$CONNECT_URL/connectors/$name/config") || true
        case $answer in
        *' 200' | *' 201')
            await_running "$name"
            return
            ;;
        # It rebalances, or does not answer yet.
        *' 409' | *' 000') sleep 1 ;;
        *) break ;;
        esac
    done
    echo "error: $CONNECT_URL did not take connector $name: $answer" >&2
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
    for _ in $(seq 120); do
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

case ${1:-}:${2:-} in
register:?*) register "$2" ;;
*)
    echo "usage: connector.sh register FILE" >&2
    exit 2
    ;;
esac
