#!/usr/bin/env bash
# Runs bench/bench.py on the stack: bench.sh [--part NAME]... [--short] [--rounds N]
#
# Nothing else may use the machine meanwhile, or the figures mean nothing. Builds what is measured, and
# starts the stack when it is not up; stops it then at the end.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

main() {
    trap return_stack EXIT
    borrow_stack
    cargo build --release --bin consumer --example fill --example drain --example instructions
    cargo bench --bench micro --no-run
    BENCH_STACK=$STACK
    BENCH_CACHE=$CACHE
    BENCH_PROGRAMS=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release
    BENCH_JAVA=$(find_java 17)
    BENCH_PLUGINS=$CACHE/jdbc-sink-$DEBEZIUM_JDBC_VERSION
    download_debezium debezium-connector-jdbc "$DEBEZIUM_JDBC_VERSION" "$BENCH_PLUGINS"
    BENCH_PLUGINS+=:$CACHE/avro-converter-$AVRO_CONVERTER_VERSION
    BENCH_WORKER_PORT=$((CONNECT_PORT + 1200))
    export BENCH_STACK BENCH_CACHE BENCH_PROGRAMS BENCH_JAVA BENCH_PLUGINS BENCH_WORKER_PORT
    "$VENV/bin/python" bench/bench.py "$@"
}

main "$@"
