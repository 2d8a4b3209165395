#!/usr/bin/env bash
# Fuzzes the decoder: fuzz.sh [TARGET…], each for FUZZ_SECONDS (600), one after the other.
#
# The captured records are what each target starts from. Input that breaks an invariant stays in
# fuzz/finds/TARGET, for tests/replay.rs; exit status 1 when there was any. Needs the nightly
# compiler, and installs cargo-fuzz if it is missing.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT/fuzz"

FUZZ_SECONDS=${FUZZ_SECONDS:-600}
# The largest input; one that takes more time or memory than this is a find as well.
INPUT_BYTES=16384
INPUT_SECONDS=10
MEMORY_MB=2048

main() {
    local target targets found=0
    cargo +nightly --version >/dev/null 2>&1 || die "no nightly compiler: rustup toolchain install nightly"
    command -v cargo-fuzz >/dev/null || cargo +nightly install --locked cargo-fuzz
    # The same dependencies as the package's.
    cp ../Cargo.lock Cargo.lock
    if [ $# = 0 ]; then mapfile -t targets < <(cargo +nightly fuzz list); else targets=("$@"); fi
    for target in "${targets[@]}"; do
        fuzz "$target" || found=1
    done
    exit "$found"
}

# Without a sanitizer: our code is safe Rust, so a panic, a time-out or memory is what can be found.
fuzz() {
    mkdir -p "corpus/$1" "finds/$1"
    cargo +nightly fuzz run --sanitizer none "$1" -- -max_total_time="$FUZZ_SECONDS" \
        -max_len="$INPUT_BYTES" -rss_limit_mb="$MEMORY_MB" -timeout="$INPUT_SECONDS" \
        -dict=dictionary.txt -artifact_prefix="finds/$1/" -print_final_stats=1
}

main "$@"
