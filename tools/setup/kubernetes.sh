#!/usr/bin/env bash
# Builds the programs of a real Kubernetes, once, and prints the folder that holds them (progress goes to stderr).
#   tools/setup/kubernetes.sh [--where] NAME|GROUP ...
#       control-plane  kube-apiserver kubectl kube-controller-manager               for tests/integration
#       node           those and kube-scheduler kubelet kube-proxy coredns helm     for `make cluster`
#   --where builds nothing and only prints the folder.
#
# Kubernetes comes from Go's module proxy, pinned by tests/cluster/kubernetes/go.mod; the others by tools.txt
# beside it. The first build keeps two cores busy for about six minutes. It may be stopped and run again, or twice
# at once: what is built stays. Of KUBEBUILDER_ASSETS, if set, kube-apiserver and kubectl (and, by the tests, etcd)
# are used instead of built.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
module=$here/../../tests/cluster/kubernetes
cache=${PATELLA_CACHE:-$HOME/.cache/patella}
root=$cache/kubernetes
key=$(sha256sum "$module/go.sum" | cut -c1-12)
assets=${KUBEBUILDER_ASSETS:-}
own=$root/$key  # what is built here of Kubernetes' own
[ -z "$assets" ] || key+=-assets-$(sha256sum <<<"$assets" | cut -c1-8)
bin=$root/$key

where=
names=()
for argument in "$@"; do
  case $argument in
    --where) where=1 ;;
    control-plane) names+=(kube-apiserver kubectl kube-controller-manager) ;;
    node) names+=(kube-apiserver kubectl kube-controller-manager kube-scheduler kubelet kube-proxy coredns helm) ;;
    *) names+=("$argument") ;;
  esac
done
if [ -n "$where" ]; then
  echo "$bin"
  exit 0
fi

# Package and version of a program from tools.txt; nothing for Kubernetes' own.
tool() { awk -v name="$1" '$1 == name {print $2, $3}' "$module/tools.txt"; }

# The file that a program is kept in: Kubernetes' own under the key of go.sum, the others by version.
file_of() {
  local package version
  if [ -n "$assets" ] && [ -x "$assets/$1" ]; then
    echo "$assets/$1"
    return
  fi
  read -r package version < <(tool "$1") || true
  if [ -n "${package:-}" ]; then echo "$root/tools/$1-$version"; else echo "$own/$1"; fi
}

missing=()
for name in "${names[@]}"; do
  file=$(file_of "$name")
  [ -x "$file" ] && [ "$(readlink -f "$bin/$name")" = "$(readlink -f "$file")" ] || missing+=("$name")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "$bin"
  exit 0
fi

mkdir -p "$bin" "$own" "$root/tools" "$root/logs"
exec 9>"$root/lock"
if ! flock -n 9; then
  echo "waiting for another run that builds Kubernetes" >&2
  flock 9
fi

# build NAME COMMAND...: runs `go ... -v`, which names each package that it compiles; says every 20 s how many.
build() {
  local name=$1 log=$root/logs/$1.log compiled=0 said=$SECONDS started=$SECONDS
  shift
  if ! { "$@" 2>&1 9>&- | tee "$log" | while read -r _; do
    compiled=$((compiled + 1))
    if [ $((SECONDS - said)) -ge 20 ]; then
      said=$SECONDS
      echo "  $name: $compiled packages in $((SECONDS - started)) s" >&2
    fi
  done; }; then
    tail -20 "$log" >&2
    echo "$name could not be built: the lines above say why, $log has them all. Run the command again to go on." >&2
    exit 1
  fi
  echo "  $name: built in $((SECONDS - started)) s" >&2
}

export CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off
export GOMODCACHE=$cache/go/mod GOCACHE=$cache/go/build
unset GOBIN
go=
count=0
for name in "${missing[@]}"; do
  count=$((count + 1))
  file=$(file_of "$name")
  if [ ! -x "$file" ]; then
    [ -n "$go" ] || go=$("$here/go.sh")
    partial=$root/tools/.partial-$name
    rm -rf "$partial"
    mkdir -p "$partial"
    read -r package version < <(tool "$name") || true
    if [ -n "${package:-}" ]; then
      echo "building $name $version ($count of ${#missing[@]})" >&2
      (export GOBIN=$partial GOFLAGS=-modcacherw
       build "$name" "$go" install -v -trimpath -ldflags "-s -w" "$package@$version")
      mv "$partial/$(basename "$package")" "$file"
    else
      version=$(awk '$1 == "k8s.io/kubernetes" {print $2; exit}' "$module/go.mod")
      major=$(cut -d. -f1 <<<"${version#v}") minor=$(cut -d. -f2 <<<"$version")
      stamp=k8s.io/component-base/version
      echo "building $name $version ($count of ${#missing[@]}; the first takes 4 minutes, the others one at most)" >&2
      (cd "$module"
       export GOFLAGS="-mod=readonly -modcacherw"
       build "$name" "$go" build -v -trimpath -o "$partial/$name" -ldflags "-s -w -X $stamp.gitVersion=$version \
         -X $stamp.gitMajor=$major -X $stamp.gitMinor=$minor -X $stamp.gitTreeState=clean" "k8s.io/kubernetes/cmd/$name")
      mv "$partial/$name" "$file"
    fi
    rm -rf "$partial"
  fi
  [ "$file" = "$bin/$name" ] || ln -sfn "$file" "$bin/$name"
done
echo "$bin"
