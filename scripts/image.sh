#!/usr/bin/env bash
# Builds the image of the operator and the API from the Dockerfile, and says how large it is and what it is made of.
#
#   IMAGE       its name                  (docker.io/taskjobs/taskjobs:dev)
#   BASE        the base image            (the Dockerfile's; where no registry answers, a Debian made on this machine)
#   ENGINE      docker, podman or buildah (the first that answers; buildah is installed from Debian, as root)
#   ARCHIVE     also write a docker-archive there (always done with buildah, whose images nobody else sees)
#   DOCKERFILE  another Dockerfile, with another CONTEXT: the tests build what they need beside the operator
#
# The last line on standard output is the path of the docker-archive, when one was written; all else is on standard error.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly cache="${TASKJOBS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/taskjobs}"
readonly image="${IMAGE:-docker.io/taskjobs/taskjobs:dev}"
readonly dockerfile="${DOCKERFILE:-Dockerfile}" context="${CONTEXT:-.}"
readonly public_base=$(sed -n 's/^ARG BASE=//p' "$dockerfile")
readonly suite=bookworm
readonly made_base="localhost/taskjobs/base:$suite-1" # raise the number when the recipe below changes

say() { printf '%s\n' "$*" >&2; }

packages() { # packages NAME...: Debian packages, installed where that is possible
  if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    say "Docker or podman does not answer here, and these are missing (the names are Debian's): $*"
    say "Start Docker, or as root: apt-get install --no-install-recommends $*"
    exit 1
  fi
  say "installing Debian packages: $*"
  {
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" ||
      { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; }
  } >"$cache/apt.log" 2>&1 || { tail -n 20 "$cache/apt.log" >&2; exit 1; }
}

choose_engine() {
  if [ -n "${ENGINE:-}" ]; then
    echo "$ENGINE"
  elif docker info >/dev/null 2>&1; then
    echo docker
  elif podman info >/dev/null 2>&1; then
    echo podman
  else
    echo buildah
  fi
}

# Images lie in a store of our own in the cache: removing the cache removes them.
buildah_() { nice buildah --root "$cache/buildah/store" --runroot "$cache/buildah/run" "$@"; }

registry_answers() { # with the base's manifest: nothing is pulled yet
  case $engine in
    docker) timeout 60 docker manifest inspect "$1" >/dev/null 2>&1 || docker image inspect "$1" >/dev/null 2>&1 ;;
    podman) timeout 60 podman manifest inspect "$1" >/dev/null 2>&1 || podman image exists "$1" ;;
    buildah) timeout 120 buildah --root "$cache/buildah/store" --runroot "$cache/buildah/run" pull -q "$1" >/dev/null 2>&1 ;;
  esac
}

mirror() { # of this machine's own apt sources
  { cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null || true; } |
    sed -nE 's/^URIs: *([^ ]+).*/\1/p; s/^deb +(\[[^]]*\] +)?([^ ]+) .*/\2/p' | grep -m 1 -E '/debian/?$'
}

make_root() { # make_root FOLDER: a small Debian with Python; what only people and package tools read is left out
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$suite" "$1" "$(mirror)" >"$cache/debootstrap.log" 2>&1 ||
    { tail -n 20 "$cache/debootstrap.log" >&2; say "debootstrap failed (its log: $cache/debootstrap.log)"; exit 1; }
  rm -rf "$1"/usr/share/{doc,man,info,locale,lintian,bug,pixmaps,menu}/* "$1"/var/{lib/apt/lists,cache/apt,cache/debconf,log}/* \
    "$1"/usr/lib/python3*/{lib2to3,idlelib,test,turtledemo} "$1"/tmp/* "$1"/var/cache/ldconfig/*
  : >"$1/etc/machine-id"
  : >"$1/etc/resolv.conf"
  rm -f "$1/etc/hostname"
}

have_base() {
  case $engine in
    buildah) buildah_ inspect --type image "$made_base" >/dev/null 2>&1 ;;
    *) "$engine" image inspect "$made_base" >/dev/null 2>&1 ;;
  esac
}

make_base() {
  have_base && return
  command -v debootstrap >/dev/null || packages debootstrap
  say "no registry answers: making a base, $made_base (half a minute or two, the first time only)"
  local root container
  root=$(mktemp -d "$cache/.base-XXXXXX")
  # An interrupted debootstrap leaves a /proc mounted in there.
  # shellcheck disable=SC2064  # the folder of now
  trap "umount '$root/root/proc' 2>/dev/null; rm -rf --one-file-system '$root'" EXIT
  make_root "$root/root"
  if [ "$engine" = buildah ]; then
    container=$(buildah_ from scratch)
    buildah_ add --quiet "$container" "$root/root" / >/dev/null
    buildah_ config --cmd python3 "$container"
    buildah_ commit --quiet --timestamp 0 --rm "$container" "$made_base" >/dev/null
  else
    tar -C "$root/root" -c . | "$engine" import --change 'CMD ["python3"]' - "$made_base" >/dev/null
  fi
  rm -rf "$root"
  trap - EXIT
}

build() {
  local arguments=(--build-arg "BASE=$base" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" -f "$dockerfile" -t "$image")
  if [ "$engine" != buildah ]; then
    DOCKER_BUILDKIT=1 "$engine" build "${arguments[@]}" "$context" >&2
    return
  fi
  local volumes=() file
  # The machine's own certificates and pip settings, read-only, for the time of the build: behind a proxy or a mirror.
  for file in /etc/ssl/certs /etc/pip.conf; do
    [ -e "$file" ] && volumes+=(-v "$file:$file:ro")
  done
  # chroot isolation needs no right to make namespaces, so that this works in a container too.
  buildah_ bud --isolation chroot --network host --layers --timestamp 0 "${volumes[@]}" "${arguments[@]}" "$context" \
    >"$cache/image.log" 2>&1 || { tail -n 40 "$cache/image.log" >&2; exit 1; }
}

prune() { # Steps of old builds are kept so that a build takes seconds, until they are many.
  [ "$engine" != buildah ] || [ "$(buildah_ images --all --quiet | wc -l)" -lt 40 ] || buildah_ rmi --prune --force >/dev/null
}

write_archive() {
  local place=${ARCHIVE:-$cache/images/$(basename "$image" | tr : -)-built.tar}
  mkdir -p "$(dirname "$place")"
  rm -f "$place.new"
  case $engine in
    buildah) buildah_ push --quiet "$image" "docker-archive:$place.new:$image" >&2 ;;
    *) "$engine" save --output "$place.new" "$image" >&2 ;;
  esac
  mv "$place.new" "$place"
  echo "$place"
}

mkdir -p "$cache"
engine=$(choose_engine)
[ "$engine" != buildah ] || command -v buildah >/dev/null || packages buildah
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
if [ -n "${BASE:-}" ]; then
  base=$BASE
elif registry_answers "$public_base"; then
  base=$public_base
else
  make_base
  base=$made_base
fi
say "building $image with $engine over $base"
began=$(date +%s)
build
prune
say "built $image in $(($(date +%s) - began)) s"
if [ "$engine" = buildah ] || [ -n "${ARCHIVE:-}" ]; then
  place=$(write_archive)
  say "$(($(wc -c <"$place") / 1000000)) MB as a docker-archive:"
  echo "$place"
fi
