#!/usr/bin/env bash
# Changes rows at the source and waits for them at the target, on a running stack and consumer.
#
# Prints each step with the time that it took to arrive. Exit status: 0 all arrived, 1 the target
# differs (with a diff), 2 nothing arrives, or a database cannot be reached. Reads both databases
# with psql, whose addresses come from the environment, or from .stack.env. Can be run again.
set -euo pipefail
cd "$(dirname "$0")/.."

WAIT=60

main() {
    local user orders
    read_environment

    user=$(source_sql "INSERT INTO users (name, email, age, profile)
        VALUES ('Round Tripper', 'trip@example.org', 30, '{\"trip\": 1}') RETURNING id")
    arrives "insert a user" users "$user"
    orders=$(source_sql "INSERT INTO orders (user_id, status, amount, note, created_at)
        SELECT $user, 'new', n * 10.01, 'note ' || n, now() FROM generate_series(1, 3) AS n
        RETURNING id" | paste -sd,)
    arrives "insert three orders" orders "$orders"

    source_sql "UPDATE users SET email = NULL, active = false, profile = '{\"trip\": [2, null]}'
        WHERE id = $user"
    arrives "update the user" users "$user"
    source_sql "UPDATE orders SET amount = amount * 3, status = 'paid', updated_at = now()
        WHERE id IN ($orders)"
    arrives "update the orders" orders "$orders"

    orders=$orders,$(source_sql "UPDATE orders SET id = nextval('orders_id_seq')
        WHERE id = ${orders%%,*} RETURNING id")
    arrives "change an order's key" orders "$orders"
    user=$user,$(source_sql "UPDATE users SET id = nextval('users_id_seq')
        WHERE id = $user RETURNING id")
    arrives "change the user's key" users "$user"

    source_sql "DELETE FROM orders WHERE id IN ($orders)"
    arrives "delete the orders" orders "$orders"
    source_sql "DELETE FROM users WHERE id IN ($user)"
    arrives "delete the user" users "$user"
    echo "every change arrived"
}

read_environment() {
    if [ -z "${SOURCE_DATABASE_URL:-}" ] || [ -z "${TARGET_DATABASE_URL:-}" ]; then
        [ -f .stack.env ] || cannot "no SOURCE_DATABASE_URL and TARGET_DATABASE_URL, and no .stack.env"
        . ./.stack.env
    fi
    source_sql "SELECT" || cannot "the source does not answer"
    target_sql "SELECT" || cannot "the target does not answer"
}

# arrives STEP TABLE IDS: waits until these rows, or their absence, are the same on both sides.
arrives() {
    local step=$1 table=$2 ids=$3 wanted found='' before=$EPOCHREALTIME columns
    columns=$(source_sql "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
        FROM pg_attribute WHERE attrelid = '$table'::regclass AND attnum > 0 AND NOT attisdropped")
    local query="SELECT $columns FROM public.$table WHERE id IN ($ids) ORDER BY id"
    wanted=$(source_sql "$query")
    while [ $((${EPOCHREALTIME%.*} - ${before%.*})) -lt $WAIT ]; do
        # A missing table is one that has not arrived yet.
        if found=$(target_sql "$query" 2>/dev/null) && [ "$found" = "$wanted" ]; then
            printf '%-24s %5d ms\n' "$step" $(((${EPOCHREALTIME/./} - ${before/./}) / 1000))
            arrived=yes
            return
        fi
        sleep 0.02
    done
    # Once more, for what the target has to say.
    found=$(target_sql "$query") || true
    if [ -z "${arrived:-}" ] && [ -z "$found" ]; then nothing_arrives; fi
    echo "$step: the target differs after $WAIT s" >&2
    diff --label source --label target -u <(echo "$wanted") <(echo "$found") >&2 || exit 1
    cannot "it arrived after that time"
}

nothing_arrives() {
    cannot "nothing arrived within $WAIT s. Is a consumer running? To start one:
    set -a; . ./.stack.env; set +a; ./target/release/consumer"
}

# The same settings on both sides, so that equal values print alike; NULL prints unlike ''.
sql() {
    PGOPTIONS='-c timezone=UTC -c datestyle=ISO' \
        psql -X -q -A -t -P null='(null)' -v ON_ERROR_STOP=1 -d "$1" -c "$2"
}

source_sql() {
    sql "$SOURCE_DATABASE_URL" "$1"
}

target_sql() {
    sql "$TARGET_DATABASE_URL" "$1"
}

cannot() {
    echo "error: $*" >&2
    exit 2
}

main
