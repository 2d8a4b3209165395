#!/usr/bin/env bash
# Mutants of the fold, the checkpoint and the fence: mutants.sh [OUTPUT], a folder for the results
# (target/mutants).
#
# Each is built and tested by itself, so this takes hours. Those of PostgreSQL's fence need the
# stack, and are tested by what does not start the program. Installs cargo-mutants if it is missing.
# MUTANTS.md has the results. Exit status 1 when one survives.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

OUTPUT=${1:-target/mutants}
PURE=(src/fold.rs src/fold/moves.rs src/checkpoint.rs src/target/sqlite/fence.rs)
UNIT=(fold:: checkpoint:: batch:: lane::tests lane::simulation target::sqlite)
SQL=src/target

main() {
    local survived=0
    [ -f .stack.env ] || die "the stack is not up: make stack"
    cargo mutants --version 2>/dev/null | grep -qF "$CARGO_MUTANTS_VERSION" ||
        cargo install --locked cargo-mutants --version "$CARGO_MUTANTS_VERSION"
    mkdir -p "$OUTPUT"
    set -a
    . ./.stack.env
    set +a

    # A world is a second's work at most, and few show what a mutant does.
    export SIMULATION_SEEDS=50
    mutate pure "${PURE[@]}" -- --lib -- "${UNIT[@]}" || survived=1
    mutate postgres src/target/postgres/fence.rs -- --features integration --test it -- postgres || survived=1
    mutate_sql sqlite "$(built --lib)" target::sqlite:: || survived=1
    mutate_sql postgres "$(built --features integration --test it)" postgres_fence:: postgres_neighbours:: ||
        survived=1
    exit "$survived"
}

# mutate NAME FILE… -- ARGUMENT…: the files' code, tested by `cargo test` with these arguments.
mutate() {
    local name=$1 files=()
    shift
    while [ "$1" != -- ]; do
        files+=(--file "$1")
        shift
    done
    printf '\n== %s\n' "$name"
    cargo mutants --output "$OUTPUT/$name" --caught "${files[@]}" "$@"
}

# mutate_sql TARGET BINARY FILTER…: the conditions of the target's statements.
mutate_sql() {
    local target=$1 binary=$2
    shift 2
    printf '\n== SQL of %s\n' "$target"
    scripts/mutants_sql.py "$binary" "$SQL/$target/sql/fence.rs" "$@" | tee "$OUTPUT/$target-sql.md"
}

# built ARGUMENT…: the path of the test binary that `cargo test` builds for these.
built() {
    cargo test --no-run --message-format json "$@" |
        python3 -c 'import json, sys
found = [json.loads(line).get("executable") for line in sys.stdin if line.startswith("{")]
print([path for path in found if path][-1])'
}

main
