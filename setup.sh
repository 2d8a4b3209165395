#!/usr/bin/env bash
# Starts the stack of docker-compose.yaml and waits until the consumer is ready.
set -euo pipefail
cd "$(dirname "$0")"

main() {
    find_compose
    # Each service waits for the health of those that it needs; the consumer comes last.
    "${compose[@]}" up --build --detach
    wait_for_consumer
    cat <<'END'
The stack is up, and changes at the source reach the target:

  source  postgres://inventory:inventory@localhost:5432/inventory
  target  postgres://writer:writer@localhost:5433/afterimage
  Kafka   localhost:9092, schema registry localhost:8081, Kafka Connect localhost:8083

To follow changes through it:
  SOURCE_DATABASE_URL=postgres://inventory:inventory@localhost:5432/inventory \
  TARGET_DATABASE_URL=postgres://writer:writer@localhost:5433/afterimage tests/roundtrip.sh
END
}

find_compose() {
    if docker compose version >/dev/null 2>&1; then
        compose=(docker compose)
    elif command -v docker-compose >/dev/null; then
        compose=(docker-compose)
    else
        echo "error: neither docker compose nor docker-compose is here" >&2
        exit 2
    fi
}

wait_for_consumer() {
    local states=''
    for _ in $(seq 120); do
        states=$("${compose[@]}" ps -q consumer |
            xargs docker inspect --format '{{.State.Health.Status}}')
        if [ -n "$states" ] && ! grep -qv '^healthy$' <<<"$states"; then return 0; fi
        sleep 1
    done
    "${compose[@]}" ps >&2
    echo "error: the consumer is not ready; see: ${compose[*]} logs consumer" >&2
    exit 2
}

main
