#!/usr/bin/env bash
# Runs tests/matrix/run.py, with its arguments, on the stack: every type, mode and format.
#
# Builds the consumer, and starts the stack when it is not up; stops it then at the end.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

main() {
    local target
    trap return_stack EXIT
    borrow_stack
    export MARIADB_SOCKET=$STACK/mariadb/mysqld.sock
    export MATRIX_LOGS=$STACK/matrix
    mkdir -p "$MATRIX_LOGS"
    cargo build --bin consumer
    target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
    "$VENV/bin/python" tests/matrix/run.py --consumer "$target/debug/consumer" "$@"
}

main "$@"
