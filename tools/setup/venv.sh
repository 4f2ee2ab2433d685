#!/usr/bin/env bash
# Makes a Python virtual environment from a list, once per content of that list. Prints its path.
#   tools/setup/venv.sh python-clients
set -euo pipefail
list=$(dirname "$0")/$1.txt
venv=${PATELLA_CACHE:-$HOME/.cache/patella}/venv/$1-$(sha256sum "$list" | cut -c1-12)
if [ ! -e "$venv/.complete" ]; then
  rm -rf "$venv"
  mkdir -p "$(dirname "$venv")"
  python3 -m venv "$venv" >&2
  echo "installing $(grep -vc '^#' "$list") Python packages of $1" >&2
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$list" >&2
  touch "$venv/.complete"
fi
echo "$venv"
