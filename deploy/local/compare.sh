#!/usr/bin/env bash
# Compares the two orgs of a running demo, and scans what Syncline, NATS and PostgreSQL wrote for leaked values.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[[ -f .local/demo.env ]] || {
  echo "nothing to compare: .local/demo.env is missing; run make demo first" >&2
  exit 2
}
scan=()
for place in .local/nats .local/postgres .local/log; do
  # The database may live elsewhere, behind a link; logs of the simulated orgs are not Syncline's but hold no values either.
  [[ ! -e $place ]] || scan+=(--scan-dir "$(readlink -f "$place")")
done
exec python3 tests/compare/compare.py --env-file .local/demo.env "${scan[@]}" "$@"
