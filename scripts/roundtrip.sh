#!/usr/bin/env bash
# Runs tests/roundtrip.sh after starting what it needs, then compares the whole tables.
#
# Starts the stack when it is not up, and a consumer when none answers at its usual address; at the
# end it stops what it started.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

main() {
    trap stop_what_we_started EXIT
    borrow_stack
    if ! curl -fs -m 2 -o /dev/null http://127.0.0.1:9187/livez; then start_consumer; fi
    tests/roundtrip.sh || explain $?
    tables_are_equal
}

# Other rows than those of the round trip may still be on their way.
tables_are_equal() {
    local report status
    for _ in $(seq 60); do
        status=0
        report=$(compare) || status=$?
        [ "$status" != 0 ] || break
        sleep 1
    done
    echo "$report"
    [ "$status" = 0 ] || explain "$status"
}

compare() {
    tests/compare.py --source "$SOURCE_DATABASE_URL" --target "$TARGET_DATABASE_URL" \
        public.users public.orders public.employees 2>&1
}

start_consumer() {
    local program
    program=$(newest_consumer)
    if [ -z "$program" ]; then
        cargo build --release --bin consumer
        program=$(newest_consumer)
    fi
    say "starting $program"
    our_consumer=yes
    spawn consumer "$program"
}

newest_consumer() {
    local target
    target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
    ls -t "$target"/release/consumer "$target"/debug/consumer 2>/dev/null | head -n 1 || true
}

# explain STATUS: our own consumer's last words, when that is what failed.
explain() {
    if [ -n "${our_consumer:-}" ]; then
        say "the consumer's log, $STACK/consumer/log, ends:"
        tail -n 20 "$STACK/consumer/log" >&2
    fi
    exit "$1"
}

stop_what_we_started() {
    if [ -n "${our_consumer:-}" ]; then terminate consumer; fi
    return_stack
}

main
