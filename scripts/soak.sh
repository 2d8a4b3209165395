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
    trap stop_what_we_started EXIT
    scripts/stack.sh status >/dev/null || our_stack=yes
    scripts/stack.sh up
    set -a
    . ./.stack.env
    set +a
    cargo build --bin consumer
    target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
    "$VENV/bin/python" tests/soak/soak.py --consumer "$target/debug/consumer" \
        --minutes "$minutes" --logs "$STACK/soak" "$@"
}

stop_what_we_started() {
    if [ -n "${our_stack:-}" ]; then scripts/stack.sh down; fi
}

main "$@"
