#!/usr/bin/env bash
# Captures tests/fixtures and schemas/ again, from the running stack.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

[ -f "$ROOT/.stack.env" ] || die "no .stack.env: run make stack"
set -a
. "$ROOT/.stack.env"
set +a
exec "$VENV/bin/python" "$ROOT/scripts/capture.py"
