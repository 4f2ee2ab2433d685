#!/usr/bin/env bash
# Gets what the chart's tests need, once, and prints the folder that holds it: helm, helm3, helm-unittest, kubeconform and, for
# kubeconform, swagger.json of Kubernetes and crds/ of the Prometheus operator. All from Go's module proxy.
#   tests/chart/tools.sh [--where]      --where gets nothing and only prints the folder
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
setup=$here/../../tools/setup
module=$here/../cluster/kubernetes
cache=${PATELLA_CACHE:-$HOME/.cache/patella}
prometheus_operator=v0.85.0
key=$(cat "$here/tools/go.sum" "$module/tools.txt" "$module/go.mod" "$0" | sha256sum | cut -c1-12)
bin=$cache/chart/$key
if [ "${1:-}" = --where ] || [ -e "$bin/.complete" ]; then
  echo "$bin"
  exit 0
fi

mkdir -p "$bin/crds"
ln -sf "$(readlink -f "$("$setup/kubernetes.sh" helm)/helm")" "$bin/helm"

export CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off GOMODCACHE=$cache/go/mod GOCACHE=$cache/go/build GOFLAGS=-modcacherw
go=$("$setup/go.sh")
build() {
  echo "building $1" >&2
  (cd "$here/tools" && "$go" build -trimpath -ldflags "-s -w" -o "$bin/$1" "$2") >&2
}
build helm3 helm.sh/helm/v3/cmd/helm
build helm-unittest github.com/helm-unittest/helm-unittest/cmd/helm-unittest
build kubeconform github.com/yannh/kubeconform/cmd/kubeconform
# The folder in the module cache that holds a module's files.
files_of() { (cd "$bin" && GOFLAGS="-modcacherw -mod=mod" "$go" mod download -json "$1") | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'; }
kubernetes=$(awk '$1 == "k8s.io/kubernetes" {print $2; exit}' "$module/go.mod")
cp -f "$(files_of "k8s.io/kubernetes@$kubernetes")/api/openapi-spec/swagger.json" "$bin/swagger.json"
operator=$(files_of "github.com/prometheus-operator/prometheus-operator@$prometheus_operator")
for kind in servicemonitors podmonitors prometheusrules; do
  cp -f "$operator/example/prometheus-operator-crd/monitoring.coreos.com_$kind.yaml" "$bin/crds/$kind.yaml"
done
chmod -R u+w "$bin"
touch "$bin/.complete"
echo "$bin"
