# shellcheck shell=bash
# Sourced. Remembers processes this project started, so that exactly those can be stopped again.
#
# A pid alone proves nothing: after a reboot or a crash the number may belong to somebody else. A record therefore
# holds "pid starttime", and both must match (/proc/PID/stat, field 22) before a signal is sent.

# How long a process may take to leave after a polite signal before it is killed.
PROCESS_STOP_SECONDS=20

# The start time of a pid in clock ticks since boot; fails when there is no such process or it is a zombie.
process_starttime() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  stat=${stat##*) } # the name before it may contain blanks and brackets
  local -a fields
  read -r -a fields <<<"$stat"
  [[ ${fields[0]} != Z ]] || return 1
  printf '%s\n' "${fields[19]}"
}

# process_record FILE PID: remembers a process that was just started.
process_record() {
  local started
  started=$(process_starttime "$2") || return 1
  printf '%s %s\n' "$2" "$started" >"$1"
}

# process_pid FILE: prints the pid if the recorded process still is that process.
process_pid() {
  local pid started now
  [[ -f $1 ]] || return 1
  read -r pid started <"$1" || return 1
  [[ $pid =~ ^[0-9]+$ ]] || return 1
  now=$(process_starttime "$pid") || return 1
  [[ $now == "$started" ]] || return 1
  printf '%s\n' "$pid"
}

# process_stop FILE [SIGNAL [LAST_SIGNAL]]: stops the recorded process and forgets it. Nothing to stop is success.
process_stop() {
  local file=$1 signal=${2:-TERM} last=${3:-KILL} pid waited=0
  if pid=$(process_pid "$file"); then
    kill -s "$signal" "$pid" 2>/dev/null || true
    while process_pid "$file" >/dev/null; do
      if ((waited == PROCESS_STOP_SECONDS * 20)); then
        echo "process $pid ($(basename "$file" .pid)) did not leave within ${PROCESS_STOP_SECONDS} s: sending SIG$last" >&2
        kill -s "$last" "$pid" 2>/dev/null || true
      fi
      if ((waited > PROCESS_STOP_SECONDS * 40)); then
        echo "process $pid ($(basename "$file" .pid)) cannot be stopped" >&2
        return 1
      fi
      sleep 0.05
      waited=$((waited + 1))
    done
  fi
  rm -f "$file"
}

# A port on loopback that is free now, below the range the kernel hands out to outgoing connections.
free_port() {
  python3 - <<'PY'
import random, socket
for _ in range(200):
    port = random.randint(20000, 32000)
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
    print(port)
    break
else:
    raise SystemExit("no free port between 20000 and 32000")
PY
}

# port_free PORT: whether nobody listens there.
port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

random_secret() { python3 -c 'import secrets; print(secrets.token_hex(20))'; }

# secret_file FILE: prints the secret kept in FILE, made on first use.
secret_file() {
  [[ -s $1 ]] || (umask 077 && random_secret >"$1")
  cat "$1"
}

# apt_install PACKAGE...: Debian's packages, as root or through sudo without a prompt.
apt_install() {
  local -a as=()
  command -v apt-get >/dev/null || return 1
  if [[ $(id -u) != 0 ]]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
    as=(sudo -n)
  fi
  echo "installing $* with apt-get" >&2
  {
    "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" ||
      {
        "${as[@]}" apt-get update &&
          "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
      }
  } >&2
}
