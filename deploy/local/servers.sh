#!/usr/bin/env bash
# Private NATS and PostgreSQL for a demo, for tests, for a developer: durable, on loopback, on ports of their own, with
# random passwords, all under one directory. Servers that already run are never touched.
#
#   servers.sh up DIR        start what is not running; write DIR/servers.env (NATS_URL, DATABASE_URL, NATS_MONITOR_URL)
#   servers.sh down DIR      stop exactly what `up DIR` started; the data stays
#   servers.sh wipe DIR      down, and remove the data
#   servers.sh status [DIR]  say what runs; exit 3 if something does not
#   servers.sh provision     only make sure that both servers are installed
#
# SYNCLINE_NATS_URL and SYNCLINE_DATABASE_URL name servers of your own: such a one is used and nothing is started for it.
# Needs Linux, bash, python3 and util-linux. See nats.sh and postgres.sh for where the servers come from.
set -euo pipefail

LOCAL_SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=process.sh
source "$LOCAL_SCRIPTS/process.sh"
# shellcheck source=nats.sh
source "$LOCAL_SCRIPTS/nats.sh"
# shellcheck source=postgres.sh
source "$LOCAL_SCRIPTS/postgres.sh"

LOCK_SECONDS=300 # another `up` may be fetching a server meanwhile

usage() {
  sed -n '2,/^set -e/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

lock() { # DIR: one at a time; the servers themselves do not inherit descriptor 9
  exec 9>"$1/servers.lock"
  flock -w "$LOCK_SECONDS" 9 || {
    echo "another servers.sh has been busy in $1 for $LOCK_SECONDS s" >&2
    exit 1
  }
}

up() {
  local dir=$1 nats_url='' nats_monitor='' database_url='' failed=0 answers nats_job='' postgres_job=''
  answers=$(mktemp -d)
  # shellcheck disable=SC2064 # the value of now is meant
  trap "rm -rf '$answers'" EXIT
  if [[ -n ${SYNCLINE_NATS_URL:-} ]]; then
    nats_url=$SYNCLINE_NATS_URL
  else
    nats_up "$dir" >"$answers/nats" &
    nats_job=$!
  fi
  if [[ -n ${SYNCLINE_DATABASE_URL:-} ]]; then
    database_url=$SYNCLINE_DATABASE_URL
  else
    postgres_up "$dir" >"$answers/postgres" &
    postgres_job=$!
  fi
  [[ -z $nats_job ]] || wait "$nats_job" || failed=1
  [[ -z $postgres_job ]] || wait "$postgres_job" || failed=1
  if ((failed)); then
    nats_down "$dir" || true
    postgres_down "$dir" || true
    exit 1
  fi
  [[ -z $nats_job ]] || read -r nats_url nats_monitor <"$answers/nats"
  [[ -z $postgres_job ]] || read -r database_url <"$answers/postgres"
  (
    umask 077
    printf "%s='%s'\n" NATS_URL "$nats_url" NATS_MONITOR_URL "$nats_monitor" DATABASE_URL "$database_url" >"$dir/servers.env.new"
  )
  mv -f "$dir/servers.env.new" "$dir/servers.env"
}

down() {
  local failed=0
  nats_down "$1" || failed=1
  postgres_down "$1" || failed=1
  rm -f "$1/servers.env"
  return "$failed"
}

status() {
  local missing=0 name file pid
  for name in nats postgres; do
    file=$1/$name.pid
    [[ $name != nats ]] || file=$1/nats/nats.pid
    if pid=$(process_pid "$file"); then
      echo "$name: running (pid $pid)"
    else
      echo "$name: not running"
      missing=3
    fi
  done
  return "$missing"
}

[[ $# -ge 1 ]] || usage
command=$1
dir=${2:-$LOCAL_SCRIPTS/../../.local}
case $command in
up | down | wipe)
  [[ $# == 2 ]] || usage
  [[ $command == up || -d $dir ]] || exit 0
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd -P)
  lock "$dir"
  case $command in
  up) up "$dir" ;;
  down) down "$dir" ;;
  wipe)
    down "$dir"
    postgres_wipe "$dir"
    rm -rf "$dir/nats" "$dir/servers.lock"
    ;;
  esac
  ;;
status)
  [[ ! -d $dir ]] || dir=$(cd "$dir" && pwd -P)
  status "$dir"
  ;;
provision)
  [[ -n ${SYNCLINE_NATS_URL:-} ]] || nats_binary >/dev/null
  [[ -n ${SYNCLINE_DATABASE_URL:-} ]] || postgres_binaries >/dev/null
  ;;
*) usage ;;
esac
