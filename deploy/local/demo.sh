#!/usr/bin/env bash
# The demo: two simulated orgs, private servers, every service, one masked refresh, its report. Leaves everything
# running; `make down` stops it. A second demo starts afresh. SYNCLINE_DEMO_SCALE says how many records (100k).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=process.sh
source deploy/local/process.sh

SCALE=${SYNCLINE_DEMO_SCALE:-100k}
READY_SECONDS=60
BIN=${CARGO_TARGET_DIR:-$HOME/.cache/syncline/target}/release
LOCAL=$PWD/.local
RUN=$LOCAL/run
LOG=$LOCAL/log

# start NAME COMMAND...: in the background, remembered in .local/run/NAME.pid, its output in .local/log/NAME.log.
start() {
  local name=$1
  shift
  setsid "$@" </dev/null >"$LOG/$name.log" 2>&1 &
  process_record "$RUN/$name.pid" $! || {
    echo "$name does not start:" >&2
    tail -n 20 "$LOG/$name.log" >&2
    exit 1
  }
}

# wait_ready NAME CHECK...: until the check succeeds, as long as NAME lives.
wait_ready() {
  local name=$1 waited
  shift
  for ((waited = 0; waited < READY_SECONDS * 20; waited++)); do
    ! "$@" >/dev/null 2>&1 || return 0
    process_pid "$RUN/$name.pid" >/dev/null || break
    sleep 0.05
  done
  echo "$name is not ready; the end of $LOG/$name.log:" >&2
  tail -n 20 "$LOG/$name.log" >&2
  exit 1
}

# ready_value NAME KEY: a line KEY=value of the ready file that a simulator writes once it listens.
ready_value() { sed -n "s/^$2=//p" "$RUN/$1.ready"; }

trap 'echo "the demo stopped here; logs are in .local/log, and make down stops what runs" >&2' ERR
trap 'trap - ERR; deploy/local/down.sh; exit 130' INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# ---- a clean place; whatever an earlier demo left is stopped, and its data removed: the simulated orgs start anew too
mkdir -p "$LOCAL" "$RUN" "$LOG"
deploy/local/down.sh --keep-servers
deploy/local/servers.sh wipe "$LOCAL"
rm -rf "$LOCAL/syncline" "$LOG" "$RUN"
mkdir -p "$RUN" "$LOG" "$LOCAL/syncline"
chmod 700 "$LOCAL/syncline"

# ---- servers and orgs, at the same time
say "starting NATS, PostgreSQL and two orgs ($SCALE records)"
deploy/local/servers.sh up "$LOCAL" &
servers=$!
start production "$BIN/salesforce-simulator" --org production --scale "$SCALE" --port 0 --ready-file "$RUN/production.ready"
start sandbox "$BIN/salesforce-simulator" --org sandbox --port 0 --ready-file "$RUN/sandbox.ready"
wait "$servers"
wait_ready production test -s "$RUN/production.ready"
wait_ready sandbox test -s "$RUN/sandbox.ready"
# shellcheck source=/dev/null
source "$LOCAL/servers.env"
# shellcheck disable=SC2034 # read by name below
PROD_URL=$(ready_value production URL) PROD_TOKEN=$(ready_value production TOKEN)
# shellcheck disable=SC2034
SANDBOX_URL=$(ready_value sandbox URL) SANDBOX_TOKEN=$(ready_value sandbox TOKEN)

# ---- Syncline: every service in one process
gateway_port=$(free_port)
GATEWAY_URL=http://127.0.0.1:$gateway_port
GATEWAY_TOKEN=$(random_secret)
export SYNCLINE_NATS_URL=$NATS_URL SYNCLINE_DATABASE_URL=$DATABASE_URL
export SYNCLINE_GATEWAY_LISTEN=127.0.0.1:$gateway_port SYNCLINE_GATEWAY_URL=$GATEWAY_URL
export SYNCLINE_API_TOKEN=$GATEWAY_TOKEN
export SYNCLINE_DATA_DIR=$LOCAL/syncline
start syncline "$BIN/syncline" dev
wait_ready syncline "$BIN/syncline" runs

(
  umask 077
  for name in PROD_URL PROD_TOKEN SANDBOX_URL SANDBOX_TOKEN GATEWAY_URL GATEWAY_TOKEN NATS_URL DATABASE_URL; do
    printf "%s='%s'\n" "$name" "${!name}"
  done >"$LOCAL/demo.env"
)

# ---- the refresh
say "connecting both orgs"
"$BIN/syncline" connection add -f demo/production.yaml
"$BIN/syncline" connection add -f demo/sandbox.yaml
say "applying the sync"
"$BIN/syncline" apply -f demo/refresh.yaml
say "running it"
"$BIN/syncline" run refresh --watch
say "the report"
"$BIN/syncline" report

say "everything is left running: the addresses are in .local/demo.env"
echo "  make compare   compares the two orgs independently, and looks for leaks"
echo "  make down      stops it all"
