#!/usr/bin/env bash
# Runs a Python script in the virtual environment of a list: tools/setup/in_venv.sh python-clients SCRIPT [ARGS]
set -euo pipefail
venv=$("$(dirname "$0")/venv.sh" "$1")
shift
exec "$venv/bin/python" "$@"
