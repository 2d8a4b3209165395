#!/usr/bin/env bash
# Measures how fast a backlog reaches the target: backlog.sh [ROWS] [json|avro] [guard]
#
# Makes ROWS orders in a schema of its own at the source, lets a connector of its own snapshot them
# through Debezium into Kafka, then starts one consumer with its defaults and compares the tables.
# Prints rows a second from the first to the last commit, and the consumer's peak memory; with
# "guard" in turns without and with the row guard, three times each. Needs the running stack and a
# release build; takes away what it made.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
set -a
. ./.stack.env
set +a

ROWS=${1:-300000}
FORMAT=${2:-avro}
GUARD=${3:-}
NAME=backlog_$$

main() {
    trap clean_up EXIT
    fill_source
    register
    await_snapshot
    if [ -z "$GUARD" ]; then
        consume plain
        return
    fi
    for _ in 1 2 3; do
        consume plain
        forget
        consume guard
        forget
    done
}

fill_source() {
    psql -qX "$SOURCE_ADMIN_URL" <<SQL
CREATE SCHEMA $NAME;
CREATE TABLE $NAME.orders (LIKE public.orders INCLUDING ALL);
ALTER TABLE $NAME.orders OWNER TO inventory;
GRANT USAGE ON SCHEMA $NAME TO debezium, inventory;
GRANT SELECT ON $NAME.orders TO debezium;
INSERT INTO $NAME.orders (id, user_id, status, amount, quantity, note, created_at, updated_at)
SELECT i, i % 1000, 'paid', i * 0.01, i % 7, 'note ' || i, now(), now()
FROM generate_series(1, $ROWS) AS i;
CREATE PUBLICATION $NAME FOR TABLE $NAME.orders;
SQL
}

register() {
    local file=debezium-config/postgres-connector.json
    [ "$FORMAT" = json ] || file=debezium-config/postgres-avro.json
    sed -e "s|\"name\": .*|\"name\": \"$NAME\",|; s|\"topic.prefix\": .*|\"topic.prefix\": \"$NAME\",|" \
        -e "s|\"slot.name\": .*|\"slot.name\": \"$NAME\",|" \
        -e "s|\"publication.name\": .*|\"publication.name\": \"$NAME\",|" \
        -e "s|\"table.include.list\": .*|\"table.include.list\": \"$NAME.orders\",|" \
        "$file" >"/tmp/$NAME.json"
    scripts/connector.sh register "/tmp/$NAME.json"
}

await_snapshot() {
    local records
    for _ in $(seq 300); do
        records=$("$PROGRAM" debug topics --topics "^$NAME\\..*" --format json 2>/dev/null |
            sed -n 's/.*"high_watermark":\([0-9]*\).*/\1/p' | paste -sd+ | bc)
        [ "${records:-0}" -lt "$ROWS" ] || return 0
        sleep 1
    done
    die "the snapshot has only ${records:-0} of $ROWS records after 300 s"
}

# consume plain|guard
consume() {
    local pid peak=0 now is_guarded=false
    [ "$1" = plain ] || is_guarded=true
    printf '[table."%s.orders"]\nrow_guard = %s\n' "$NAME" "$is_guarded" >"/tmp/$NAME.toml"
    "$PROGRAM" --config "/tmp/$NAME.toml" --topics "^$NAME\\..*" --group "$NAME.$1.$SECONDS" --sink "$NAME" \
        --http off --until-caught-up 2>"/tmp/$NAME.log" &
    pid=$!
    while now=$(awk '/VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do
        peak=$now
        sleep 0.05
    done
    wait "$pid" || { cat "/tmp/$NAME.log" >&2; die "the consumer failed"; }
    psql -qXAt "$TARGET_DATABASE_URL" <<SQL
SELECT format('$1: %s rows in %s transactions, %s s from the first to the last: %s rows a second',
    count(*), count(DISTINCT synced_at), round(s, 2), round(count(*) / nullif(s, 0)))
FROM $NAME.orders,
    (SELECT extract(epoch FROM max(synced_at) - min(synced_at)) AS s FROM $NAME.orders) AS span
GROUP BY s;
SQL
    echo "peak memory $((peak / 1024)) MiB"
    tests/compare.py --source "$SOURCE_DATABASE_URL" --target "$TARGET_DATABASE_URL" "$NAME.orders"
}

# Has the target forget what it was given.
forget() {
    psql -qX "$TARGET_ADMIN_URL" -c "SET client_min_messages = error; DROP SCHEMA IF EXISTS $NAME CASCADE" \
        -c "DELETE FROM afterimage.checkpoint WHERE sink = '$NAME'" \
        -c "DELETE FROM afterimage.row_guard WHERE table_name = '$NAME.orders'" \
        -c "DELETE FROM afterimage.source_table WHERE target_schema = '$NAME'" || true
}

clean_up() {
    forget
    curl -s -X PUT "$CONNECT_URL/connectors/$NAME/stop" || true
    curl -s -X DELETE "$CONNECT_URL/connectors/$NAME" || true
    for _ in $(seq 20); do
        psql -qX "$SOURCE_ADMIN_URL" -c "SELECT pg_drop_replication_slot('$NAME')" \
            >/dev/null 2>&1 && break
        sleep 1
    done
    psql -qX "$SOURCE_ADMIN_URL" -c "DROP PUBLICATION IF EXISTS $NAME" \
        -c "SET client_min_messages = error; DROP SCHEMA IF EXISTS $NAME CASCADE" || true
    rm -f "/tmp/$NAME.json" "/tmp/$NAME.toml" "/tmp/$NAME.log"
}

PROGRAM=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release/consumer
[ -x "$PROGRAM" ] || die "no $PROGRAM: run make build"
main
