#!/usr/bin/env bash
# Stops exactly what `make demo` started here, by recorded pid and start time, and the servers of a test run that was
# killed.
#
#   down.sh                  all of it
#   down.sh --keep-servers   all but NATS and PostgreSQL
#   down.sh --tests          only the servers that a bare `cargo test` started and left for the next one
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=process.sh
source deploy/local/process.sh

if [[ ${1:-} == --tests ]]; then
  for dir in "${CARGO_TARGET_DIR:-$HOME/.cache/syncline/target}"/testkit-servers*; do
    [[ ! -d $dir ]] || deploy/local/servers.sh wipe "$dir"
  done
  exit
fi

failed=0
# Syncline first, so that it can still say good-bye to its servers; then the orgs.
for name in syncline production sandbox; do
  file=.local/run/$name.pid
  if pid=$(process_pid "$file"); then
    echo "stopping $name (pid $pid)"
  fi
  process_stop "$file" || failed=1
done
if [[ ${1:-} != --keep-servers ]]; then
  deploy/local/servers.sh down .local || failed=1
  for dir in .local/test-servers.*; do
    # Those of a test run that is still going on are its own business.
    if [[ -d $dir ]] && ! process_pid "$dir/owner.pid" >/dev/null; then
      deploy/local/servers.sh wipe "$dir" && rm -rf "$dir" || failed=1
    fi
  done
fi
rm -f .local/demo.env
exit "$failed"
