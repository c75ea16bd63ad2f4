# shellcheck shell=bash disable=SC2034
# Sourced. Pinned development tools, built once into the user's cache.

TOOLS=${XDG_CACHE_HOME:-$HOME/.cache}/syncline/tools
CARGO_DENY_VERSION=0.20.2
CARGO_LLVM_COV_VERSION=0.9.1

# tool NAME VERSION: prints the program's path; builds it if absent (minutes, once).
tool() {
  local name=$1 version=$2 path=$TOOLS/$1-$2/bin/$1
  if [[ ! -x $path ]]; then
    echo "building $name $version, once" >&2
    # Not in the project's target directory: its tree is another one.
    env -u CARGO_TARGET_DIR cargo install --quiet --locked --version "$version" --root "$TOOLS/$name-$version" "$name" >&2
  fi
  printf '%s\n' "$path"
}
