#!/usr/bin/env bash
# What must be on the machine before `make` can do its work: Python with venv, and (for the cluster) Go.
#
#   scripts/prerequisites.sh python      prints the Python to use
#   scripts/prerequisites.sh go          makes sure that a Go is there that can build the cluster's programs
#
# What is missing is installed where that needs no question (Debian packages, as root); elsewhere the script says
# exactly what to install and ends with 1. It runs in a moment when nothing is missing.
set -euo pipefail

readonly go_wanted=1.26
readonly go_toolchain=go1.26.8 # the module golang.org/toolchain at this version, checked by Go's checksum database
readonly cache="${TASKJOBS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/taskjobs}"

say() { printf '%s\n' "$*" >&2; }

at_least() { # at_least HAVE WANTED: dotted numbers
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

install_packages() { # install_packages WHAT_FOR PACKAGE...
  local what_for=$1
  shift
  if ! command -v apt-get >/dev/null; then
    say "$what_for: this is not Debian or a relative of it, so nothing is installed by itself."
    say "Install what Debian calls: $*"
    exit 1
  fi
  if [ "$(id -u)" -ne 0 ]; then
    say "$what_for. Install it, then say make again:"
    say "  sudo apt-get update && sudo apt-get install --no-install-recommends $*"
    exit 1
  fi
  say "$what_for: installing $* (apt-get)"
  local said
  if ! said=$(apt-get -q update 2>&1 && # --no-upgrade: what is there already stays as it is
    DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-upgrade --no-install-recommends "$@" 2>&1); then
    say "$said"
    say "apt-get failed: see above."
    exit 1
  fi
}

python_is_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

python_can_make_a_venv() {
  "$1" -c 'import ensurepip, venv' >/dev/null 2>&1
}

find_python() { # The first Python that is new enough and complete; else the first that is new enough.
  local candidate enough=""
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 /usr/bin/python3}; do
    python_is_enough "$candidate" || continue
    python_can_make_a_venv "$candidate" && echo "$candidate" && return
    enough=${enough:-$candidate}
  done
  echo "$enough"
}

python() {
  local found
  found=$(find_python)
  if [ -z "$found" ] || ! python_can_make_a_venv "$found"; then
    install_packages "Python 3.11 or newer, with venv, is needed" python3 python3-venv
    found=$(find_python)
  fi
  if [ -z "$found" ] || ! python_can_make_a_venv "$found"; then
    say "Python 3.11 or newer with its venv module is needed, and the one that is here is not."
    say "Install it and name it: make PYTHON=/path/to/python3.11"
    exit 1
  fi
  echo "$found"
}

go_version() { # of the Go that the cluster tool would call
  PATH="$cache/go/bin:$PATH:/usr/local/go/bin" go env GOVERSION 2>/dev/null | sed 's/^go//'
}

go_is_enough() {
  local have
  have=$(go_version)
  [ -n "$have" ] || return 1
  at_least "$have" "$go_wanted" && return
  # From 1.21 on, Go fetches a newer toolchain by itself unless it was told not to.
  at_least "$have" 1.21 && [ "$(PATH="$PATH:/usr/local/go/bin" go env GOTOOLCHAIN)" != local ]
}

go_() {
  go_is_enough && return
  command -v go >/dev/null || install_packages "Go is needed to build the cluster's programs" golang-go ca-certificates
  go_is_enough && return
  fetch_toolchain
  go_is_enough && return
  say "Go $go_wanted or newer is needed to build the cluster's programs: https://go.dev/doc/install"
  exit 1
}

fetch_toolchain() { # A Go of any age can download a newer one as a module.
  local machine os made
  os=$(go env GOOS)
  machine=$(go env GOARCH)
  made="$cache/go"
  say "Go $(go_version) is too old to build Kubernetes: fetching $go_toolchain as a Go module"
  mkdir -p "$cache"
  local scratch
  scratch=$(mktemp -d "$cache/.go-XXXXXX")
  # shellcheck disable=SC2064  # the folder of now
  trap "chmod -R u+w '$scratch'; rm -rf '$scratch'" EXIT
  (
    cd "$scratch"
    GOMODCACHE="$scratch/modules" GOFLAGS=-modcacherw GOWORK=off \
      go mod download "golang.org/toolchain@v0.0.1-$go_toolchain.$os-$machine" >&2
  )
  rm -rf "$made"
  mv "$scratch/modules/golang.org/toolchain@v0.0.1-$go_toolchain.$os-$machine" "$made"
  chmod -R u+w "$made"
  chmod +x "$made"/bin/* "$made/pkg/tool/${os}_$machine"/* # the archives of modules know no modes
}

case "${1:-}" in
  python) python ;;
  go) go_ ;;
  *)
    say "usage: scripts/prerequisites.sh python|go"
    exit 2
    ;;
esac
