#!/usr/bin/env bash
# Prints the path of a Go of at least 1.26: the machine's own, else PyPI's in a virtual environment.
set -euo pipefail
version=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed 's/^go//') || true
if [ -n "$version" ] && [ "$(printf '%s\n' 1.26 "$version" | sort -V | head -1)" = 1.26 ]; then
  command -v go
else
  echo "$("$(dirname "$0")/venv.sh" python-go)/bin/go"
fi
