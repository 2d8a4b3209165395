#!/usr/bin/env bash
# The real stack on this machine, without containers: stack.sh up|down|status|logs|reset
#
#   up      installs what is missing, starts what is down, registers the connector dbserver1,
#           and writes .stack.env
#   down    stops everything and keeps the data
#   status  one line a service; exit 1 when one is down
#   logs    the last lines of every service's log
#   reset   stops everything and deletes the data: tables, slots, topics, schemas
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# In the order they start. Connect stops before Kafka: without its broker it does not end.
SERVICES=(source target vectors mariadb kafka registry connect)

declare -A ADDRESS=(
    [source]=$HOST:$SOURCE_PORT [target]=$HOST:$TARGET_PORT
    [vectors]=$HOST:$VECTORS_PORT [mariadb]=$HOST:$MARIADB_PORT
    [kafka]=$HOST:$KAFKA_PORT [registry]=$HOST:$REGISTRY_PORT [connect]=$HOST:$CONNECT_PORT
)

up() {
    "$ROOT/scripts/install.sh"
    lock
    for name in "${SERVICES[@]}"; do
        service "$name" launch || failed "$name"
        # The registry needs the source, and Connect the broker; nobody waits for the registry.
        [ "$name" = registry ] || wait_for "$name"
    done
    wait_for registry
    environment >"$ROOT/.stack.env"
    "$ROOT/scripts/connector.sh" register "$ROOT/debezium-config/postgres-connector.json"
    say "the stack is up; its addresses are in .stack.env"
}

down() {
    lock
    for ((i = ${#SERVICES[@]} - 1; i >= 0; i--)); do
        service "${SERVICES[i]}" stop || die "${SERVICES[i]} does not stop, see $(log_of "${SERVICES[i]}")"
    done
    say "the stack is down; its data is in $STACK"
}

status() {
    local down=0 state
    for name in "${SERVICES[@]}"; do
        state=up
        service "$name" ready || { state=down && down=1; }
        printf '%-10s %-6s %-18s %s\n' "$name" "$state" "${ADDRESS[$name]}" "$(log_of "$name")"
    done
    return "$down"
}

logs() {
    for name in "${SERVICES[@]}"; do
        printf '==> %s: %s\n' "$name" "$(log_of "$name")"
        tail -n 40 "$(log_of "$name")" 2>/dev/null || true
    done
}

reset() {
    [ -d "$STACK" ] || return 0
    down
    for name in "${SERVICES[@]}"; do
        rm -rf "${STACK:?}/$name"
    done
    rm -f "$ROOT/.stack.env"
    say "the stack's data is deleted"
}

# One change of the stack at a time, whoever asks for it.
lock() {
    mkdir -p "$STACK"
    exec 9>"$STACK/lock"
    flock 9
}

service() {
    case $1 in
    source | target | vectors) "$ROOT/scripts/stack/postgres.sh" "$@" ;;
    *) "$ROOT/scripts/stack/$1.sh" "$2" ;;
    esac
}

wait_for() {
    for _ in $(seq 180); do
        if service "$1" ready; then return 0; fi
        # The databases are ready when their launch returns; a Java process can die on its way.
        alive "$1" || break
        sleep 0.5
    done
    failed "$1"
}

failed() {
    tail -n 15 "$(log_of "$1")" >&2 || true
    die "$1 did not start, see $(log_of "$1")"
}

log_of() {
    printf '%s\n' "$STACK/$1/log"
}

# What programs and tests need to know, the places that connectors are told included.
environment() {
    cat <<ENV
KAFKA_BOOTSTRAP_SERVERS=$HOST:$KAFKA_PORT
SCHEMA_REGISTRY_URL=http://$HOST:$REGISTRY_PORT/apis/ccompat/v7
CONNECT_URL=http://$HOST:$CONNECT_PORT
SOURCE_DATABASE_URL=postgres://inventory:inventory@$HOST:$SOURCE_PORT/inventory
SOURCE_ADMIN_URL=postgres://postgres:postgres@$HOST:$SOURCE_PORT/inventory
TARGET_DATABASE_URL=postgres://writer:writer@$HOST:$TARGET_PORT/afterimage
TARGET_ADMIN_URL=postgres://postgres:postgres@$HOST:$TARGET_PORT/afterimage
VECTORS_ADMIN_URL=postgres://postgres:postgres@$HOST:$VECTORS_PORT/inventory
MARIADB_URL=mysql://inventory:inventory@$HOST:$MARIADB_PORT/inventory
SOURCE_HOST=$HOST
SOURCE_PORT=$SOURCE_PORT
MARIADB_HOST=$HOST
MARIADB_PORT=$MARIADB_PORT
ENV
}

case ${1:-} in
up | down | status | logs | reset) "$1" ;;
*) die "usage: stack.sh up|down|status|logs|reset" ;;
esac
