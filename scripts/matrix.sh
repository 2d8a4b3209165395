#!/usr/bin/env bash
# Runs tests/matrix/run.py, with its arguments, on the stack: every type, mode and format.
#
# Builds the consumer, and starts the stack when it is not up; stops it then at the end.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

main() {
    local target
    trap stop_what_we_started EXIT
    scripts/stack.sh status >/dev/null || our_stack=yes
    scripts/stack.sh up
    set -a
    . ./.stack.env
    MARIADB_SOCKET=$STACK/mariadb/mysqld.sock
    MATRIX_LOGS=$STACK/matrix
    set +a
    mkdir -p "$MATRIX_LOGS"
    cargo build --bin consumer
    target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
    "$VENV/bin/python" tests/matrix/run.py --consumer "$target/debug/consumer" "$@"
}

stop_what_we_started() {
    if [ -n "${our_stack:-}" ]; then scripts/stack.sh down; fi
}

main "$@"
