#!/usr/bin/env bash
# The demo: two simulated orgs, private servers, every service, one masked refresh, its report. Leaves everything
# running; `make down` stops it. A second demo starts afresh. SYNCLINE_DEMO_SCALE says how many records (100k).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=process.sh
source deploy/local/process.sh

SCALE=${SYNCLINE_DEMO_SCALE:-100k}
READY_SECONDS=60
BIN=${SYNCLINE_BIN:-${CARGO_TARGET_DIR:-$HOME/.cache/syncline/target}/release}
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

# ready_value NAME KEY: a value of the JSON that a simulator writes once it listens.
ready_value() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$RUN/$1.ready" "$2"; }

# free_ports COUNT: the first of so many consecutive free ports.
free_ports() {
  python3 - "$1" <<'PY'
import random, socket, sys
count = int(sys.argv[1])
for _ in range(200):
    base = random.randrange(20000, 30000)
    sockets = []
    try:
        for port in range(base, base + count):
            s = socket.socket()
            sockets.append(s)
            s.bind(("127.0.0.1", port))
        print(base)
        break
    except OSError:
        continue
    finally:
        for s in sockets:
            s.close()
else:
    sys.exit("no consecutive free ports")
PY
}

trap 'echo "the demo stopped here; logs are in .local/log, and make down stops what runs" >&2' ERR
trap 'trap - ERR; deploy/local/down.sh; exit 130' INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# ---- a clean place; whatever an earlier demo left is stopped, and its data removed: the simulated orgs start anew too
mkdir -p "$LOCAL" "$RUN" "$LOG"
deploy/local/down.sh --keep-servers
deploy/local/servers.sh wipe "$LOCAL"
rm -rf "$LOCAL/keys" "$LOG" "$RUN"
mkdir -p "$RUN" "$LOG"

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
PROD_URL=$(ready_value production url) PROD_TOKEN=$(ready_value production token)
# shellcheck disable=SC2034
SANDBOX_URL=$(ready_value sandbox url) SANDBOX_TOKEN=$(ready_value sandbox token)
PROD_CLIENT_ID=$(ready_value production client_id) PROD_CLIENT_SECRET=$(ready_value production client_secret)
SANDBOX_CLIENT_ID=$(ready_value sandbox client_id) SANDBOX_CLIENT_SECRET=$(ready_value sandbox client_secret)
export PROD_URL SANDBOX_URL PROD_CLIENT_ID SANDBOX_CLIENT_ID PROD_CLIENT_SECRET SANDBOX_CLIENT_SECRET

# ---- Syncline: every service in one process, the gateway on the first of eight ports
SYNCLINE_BASE_PORT=$(free_ports 8)
GATEWAY_URL=http://127.0.0.1:$SYNCLINE_BASE_PORT
GATEWAY_TOKEN=$(random_secret)
export SYNCLINE_BASE_PORT SYNCLINE_NATS_URL=$NATS_URL SYNCLINE_DATABASE_URL=$DATABASE_URL
export SYNCLINE_GATEWAY_URL=$GATEWAY_URL SYNCLINE_GATEWAY_TOKEN=$GATEWAY_TOKEN
start syncline "$BIN/syncline" dev --keys-dir "$LOCAL/keys" --init-keys --ready-file "$RUN/syncline.ready"
wait_ready syncline test -s "$RUN/syncline.ready"

(
  umask 077
  for name in PROD_URL PROD_TOKEN SANDBOX_URL SANDBOX_TOKEN GATEWAY_URL GATEWAY_TOKEN NATS_URL DATABASE_URL; do
    printf "%s='%s'\n" "$name" "${!name}"
  done >"$LOCAL/demo.env"
)

# Addresses of the demo's orgs are known only now.
fill() { python3 -c 'import os, string, sys; print(string.Template(sys.stdin.read()).substitute(os.environ), end="")' <"$1"; }

# ---- the refresh
say "connecting both orgs, applying the sync"
fill deploy/demo/connections.yaml >"$RUN/connections.yaml"
"$BIN/syncline" apply -f "$RUN/connections.yaml" -f deploy/demo/refresh.yaml
"$BIN/syncline" connection test production
"$BIN/syncline" connection test uat
"$BIN/syncline" connection list
say "checking it: what would happen?"
"$BIN/syncline" check refresh
say "running it, and what became of every record"
"$BIN/syncline" run refresh --watch
say "who did what, and proof that nobody changed it"
"$BIN/syncline" audit verify
say "everything is left running: the addresses are in .local/demo.env"
echo "  gateway        $GATEWAY_URL (gRPC and REST; $GATEWAY_URL/openapi.json)"
echo "  make compare   compares the two orgs independently, and looks for leaks"
echo "  make down      stops it all"
