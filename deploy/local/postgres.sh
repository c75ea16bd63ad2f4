# shellcheck shell=bash
# Sourced by servers.sh. One private PostgreSQL server.

POSTGRES_VERSION_MIN=15
POSTGRES_ATTEMPTS=5

# Prints the directory of initdb and postgres: the newest of Debian's, else the one on PATH, else installs Debian's.
postgres_binaries() {
  postgres_find && return
  apt_install postgresql && postgres_find && return
  echo "PostgreSQL >= $POSTGRES_VERSION_MIN is needed: install Debian's package postgresql, put initdb on PATH, or set SYNCLINE_DATABASE_URL" >&2
  return 1
}

postgres_find() {
  local candidate best=0 version initdb
  for candidate in /usr/lib/postgresql/*/bin; do
    [[ -x $candidate/initdb && -x $candidate/postgres ]] || continue
    version=$(basename "$(dirname "$candidate")")
    if [[ $version =~ ^[0-9]+$ ]] && ((version >= POSTGRES_VERSION_MIN && version > best)); then
      best=$version
    fi
  done
  if ((best > 0)); then
    printf '%s\n' "/usr/lib/postgresql/$best/bin"
    return
  fi
  initdb=$(command -v initdb) || return 1
  [[ $("$initdb" --version) =~ \)\ ([0-9]+) ]] && ((BASH_REMATCH[1] >= POSTGRES_VERSION_MIN)) || return 1
  dirname "$(readlink -f "$initdb")"
}

# PostgreSQL refuses to run as root: then it runs as Debian's user for it, or as nobody.
postgres_user() {
  if [[ $(id -u) != 0 ]]; then
    id -un
  elif getent passwd postgres >/dev/null; then
    echo postgres
  else
    echo nobody
  fi
}

as_postgres() {
  if [[ $(id -u) == 0 ]]; then
    local user
    user=$(postgres_user)
    setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups -- env -i PATH="$PATH" LC_ALL=C "$@"
  else
    env LC_ALL=C "$@"
  fi
}

# postgres_home DIR: prints where the files live, made on first use. That is DIR/postgres, unless the server's user
# cannot get there (a checkout under root's private home): then a directory in /var/tmp named after the checkout's
# path, with a link from DIR/postgres.
postgres_home() {
  local home=$1/postgres user elsewhere
  user=$(postgres_user)
  if [[ ! -e $home ]]; then
    if as_postgres test -x "$1"; then
      rm -f "$home" # a link whose target is gone
      mkdir "$home"
    else
      elsewhere=/var/tmp/syncline-$(printf '%s' "$1" | sha256sum | cut -c1-16)
      # Only a directory that we made ourselves is good enough: anybody may write to /var/tmp.
      mkdir -m 700 "$elsewhere" 2>/dev/null || [[ ! -L $elsewhere && -d $elsewhere && $(stat -c %U "$elsewhere") == "$user" ]] || {
        echo "$elsewhere exists and does not belong to $user: remove it" >&2
        return 1
      }
      ln -sfn "$elsewhere" "$home"
    fi
    chown "$user" "$home/" 2>/dev/null || [[ $(id -u) != 0 ]]
    chmod 700 "$home/"
  fi
  readlink -f "$home"
}

postgres_write_config() { # HOME PORT
  cat >"$1/syncline.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $2
unix_socket_directories = ''        # its path would be too long for a deep checkout; loopback serves
max_connections = 200
shared_buffers = 64MB
# What is committed is on disk. Everything else may be fast.
fsync = on
synchronous_commit = on
full_page_writes = on
wal_level = replica
wal_compression = off              # what is on disk stays readable for the scan for leaked values
max_wal_size = 2GB
checkpoint_timeout = 15min
max_wal_senders = 10
jit = off                           # short statements: compiling them costs more than running them
random_page_cost = 1.1
# No statement, parameter or key value may reach the log: a failing insert would write a record's values there.
log_min_error_statement = panic
log_error_verbosity = terse
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_checkpoints = off
CONF
}

# postgres_forget HOME: removes the lock file of a server that was killed. PostgreSQL itself refuses when the pid in it
# exists, be it somebody else's by now or a zombie. It is safe only once none of the old server's processes is left:
# each of them works inside the data directory.
postgres_forget() {
  local waited cwd busy
  [[ -e $1/data/postmaster.pid ]] || return 0
  for ((waited = 0; waited < 200; waited++)); do
    busy=0
    for cwd in /proc/[0-9]*/cwd; do
      [[ $(readlink "$cwd" 2>/dev/null) != "$1/data" ]] || busy=1
    done
    if ((!busy)); then
      rm -f "$1/data/postmaster.pid"
      return
    fi
    sleep 0.05
  done
  echo "processes of an earlier PostgreSQL are still at work in $1/data" >&2
  return 1
}

# postgres_up DIR: starts the server, or finds it running; prints its URL.
postgres_up() {
  local dir=$1 home bin user password port attempt
  user=$(postgres_user)
  home=$(postgres_home "$dir") || return 1
  password=$(secret_file "$dir/postgres.password")
  if process_pid "$dir/postgres.pid" >/dev/null && [[ -s $dir/postgres.port ]]; then
    port=$(cat "$dir/postgres.port")
  else
    bin=$(postgres_binaries) || return 1
    if [[ ! -e $home/data/PG_VERSION ]]; then
      rm -rf "$home/data" # what a killed initdb left
      (umask 077 && printf '%s\n' "$password" >"$home/pwfile")
      chown "$user" "$home/pwfile"
      (cd "$home" && as_postgres "$bin/initdb" -D "$home/data" -U syncline --pwfile="$home/pwfile" -A scram-sha-256 \
        -E UTF8 --no-locale --no-instructions >"$home/initdb.log" 2>&1 &&
        echo 'create database syncline' |
        as_postgres "$bin/postgres" --single -D "$home/data" postgres >>"$home/initdb.log" 2>&1) || {
        cat "$home/initdb.log" >&2
        rm -rf "$home/data" "$home/pwfile"
        return 1
      }
      rm -f "$home/pwfile"
      echo "include '$home/syncline.conf'" >>"$home/data/postgresql.conf"
    fi
    postgres_forget "$home" || return 1
    for ((attempt = 1; ; attempt++)); do
      if ((attempt > 1)) || ! port=$(cat "$dir/postgres.port" 2>/dev/null) || ! port_free "$port"; then
        port=$(free_port) || return 1
      fi
      postgres_write_config "$home" "$port"
      printf '%s\n' "$port" >"$dir/postgres.port"
      chown "$user" "$home/syncline.conf"
      # pg_ctl waits for the server's own word in postmaster.pid that it accepts connections.
      if (cd "$home" && as_postgres "$bin/pg_ctl" -D "$home/data" -l "$home/postgres.log" -w -t 60 -s start </dev/null >/dev/null 2>&1 9>&-) &&
        process_record "$dir/postgres.pid" "$(head -n 1 "$home/data/postmaster.pid")"; then
        break
      fi
      if ((attempt == POSTGRES_ATTEMPTS)); then
        echo "PostgreSQL does not start; the end of $home/postgres.log:" >&2
        tail -n 15 "$home/postgres.log" >&2 || true
        return 1
      fi
    done
  fi
  printf '%s\n' "postgres://syncline:$password@127.0.0.1:$port/syncline"
}

# SIGINT is PostgreSQL's fast shutdown: sessions end, a checkpoint is written; SIGQUIT leaves recovery to the next start.
postgres_down() { process_stop "$1/postgres.pid" INT QUIT; }

postgres_wipe() {
  local home
  if home=$(readlink -f "$1/postgres" 2>/dev/null); then
    rm -rf "$home"
  fi
  rm -rf "$1/postgres"
  rm -f "$1/postgres.password" "$1/postgres.port"
}
