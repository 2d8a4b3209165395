#!/usr/bin/env bash
# Runs tests/soak/soak.py on the stack: soak.sh MINUTES [--seed N] [--report FILE]
#
# Nothing else may use the stack meanwhile: its services are stopped and started. Builds the consumer,
# and starts the stack when it is not up; stops it then at the end.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

main() {
    local minutes=${1:?usage: soak.sh MINUTES [--seed N] [--report FILE]} target
    shift
    trap return_stack EXIT
    borrow_stack
    cargo build --bin consumer
    target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
    "$VENV/bin/python" tests/soak/soak.py --consumer "$target/debug/consumer" \
        --minutes "$minutes" --logs "$STACK/soak" "$@"
}

main "$@"
