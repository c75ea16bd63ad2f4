#!/usr/bin/env bash
# Builds the image with whichever engine answers, and starts the program in it once.
#   SYNCLINE_IMAGE         its name (syncline:local)
#   SYNCLINE_IMAGE_ARGS    further arguments of the build, such as --build-arg BUILDER_DIGEST=sha256:...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

NAME=${SYNCLINE_IMAGE:-syncline:local}
read -r -a more <<<"${SYNCLINE_IMAGE_ARGS:-}"

# A client without its daemon builds nothing.
engine=
for candidate in docker podman buildah; do
  ! command -v "$candidate" >/dev/null || ! "$candidate" info >/dev/null 2>&1 || {
    engine=$candidate
    break
  }
done
[[ -n $engine ]] || {
  echo "no container engine answers here (docker, podman or buildah): the image is not built" >&2
  exit 1
}

revision=$(git rev-parse HEAD)
if [[ -n $(git status --porcelain) ]]; then
  revision+=-changed
  echo "there are changes that are not committed: the image says so in its revision" >&2
fi
epoch=$(git log -1 --format=%ct)
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
arguments=(
  --file deploy/image/Dockerfile --tag "$NAME"
  --build-arg "SOURCE_DATE_EPOCH=$epoch" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" "${more[@]}"
)
case $engine in
  # The cache mount needs BuildKit. The exporter sets the time of what it writes.
  docker) docker buildx build "${arguments[@]}" --provenance=false --output "type=docker,rewrite-timestamp=true" . ;;
  # They don't look for Dockerfile.dockerignore by themselves.
  *) "$engine" build --ignorefile deploy/image/Dockerfile.dockerignore --timestamp "$epoch" "${arguments[@]}" . ;;
esac

if [[ $engine == buildah ]]; then
  echo "built $NAME; buildah starts no container: try it with 'podman run --rm $NAME version'" >&2
else
  # As the chart runs it.
  "$engine" run --rm --read-only --cap-drop ALL --security-opt no-new-privileges --network none "$NAME" version
  echo "built $NAME" >&2
fi
