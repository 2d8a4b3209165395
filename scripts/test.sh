#!/usr/bin/env bash
# The one command: installs what is missing, starts the stack if it is not up, runs every test,
# stops the stack if it started it, and says what it ran. Exit status 1 when a step failed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

main() {
    command -v cargo >/dev/null ||
        die "cargo is missing: install Rust with rustup, which takes the version of rust-toolchain.toml"
    scripts/install.sh
    mkdir -p "$(dirname "$LOG")"
    trap 'finish $?' EXIT

    step format cargo fmt --check
    step lint cargo clippy --all-targets --all-features -- -D warnings
    step unit cargo test
    step simulation env SIMULATION_SEEDS=10000 cargo test --lib simulation::every -- --nocapture
    step doc env RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
    step parity "$VENV/bin/python" tests/stack_parity.py
    step bench "$VENV/bin/python" bench/bench_test.py
    start_stack
    step compare python3 tests/compare_test.py
    step soak-judge "$VENV/bin/python" tests/soak/judge_test.py
    # Most of a test is waiting: three at a time leave two cores something to do.
    step integration cargo test --features integration --test it -- --test-threads 3
    step roundtrip scripts/roundtrip.sh
    step judge "$VENV/bin/python" tests/matrix/matrix_test.py
    step matrix scripts/matrix.sh
    step soak scripts/soak.sh 3
}

LOG=$ROOT/target/test.log
RESULTS=()
passed=0
failed=0

# step NAME COMMAND…: runs it, and keeps how it ended for the summary. A failure ends nothing yet.
step() {
    local name=$1 before=$SECONDS verdict=passed
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    "$@" 2>&1 | tee "$LOG" || verdict=FAILED
    count "$verdict"
    RESULTS+=("$(printf '%-12s %-7s %4d s  %s' "$name" "$verdict" $((SECONDS - before)) "$*")")
}

# Tests that a step counts itself, as cargo and unittest do; else the step is one.
count() {
    local counts
    counts=$(awk '
        /^test result: / { passed += $4; failed += $6 }
        /^Ran [0-9]+ tests? in/ { ran += $2 }
        /^FAILED \(/ { gsub(/[^0-9]+/, " "); for (i = 1; i <= NF; i++) broken += $i }
        END { print passed + ran - broken, failed + broken }' "$LOG")
    # A step that fails for another reason than a test counts as one failure.
    case $1:$counts in
    passed:"0 0") counts="1 0" ;;
    FAILED:*" 0") counts="${counts% 0} 1" ;;
    esac
    passed=$((passed + ${counts% *}))
    failed=$((failed + ${counts#* }))
}

# Without the stack there is nothing to run the rest on.
start_stack() {
    scripts/stack.sh status >/dev/null || our_stack=yes
    step stack scripts/stack.sh up
    case ${RESULTS[-1]} in
    *FAILED*) exit 1 ;;
    esac
    set -a
    . ./.stack.env
    set +a
}

finish() {
    if [ -n "${our_stack:-}" ]; then scripts/stack.sh down || true; fi
    printf '\n'
    printf '%s\n' "${RESULTS[@]}"
    printf '%d passed, %d failed\n' "$passed" "$failed"
    if [ "$failed" -gt 0 ]; then exit 1; fi
    exit "$1"
}

main
