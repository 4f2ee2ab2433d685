#!/usr/bin/env bash
# Draws a page as a PNG with headless Chromium, for the README: tools/picture.sh FILE-OR-URL OUT.png [WIDTHxHEIGHT]
set -euo pipefail
page=$1 out=$2 size=${3:-1200x1000}
[[ $page == *://* ]] || page="file://$(realpath "$page")"
command -v chromium >/dev/null || { echo "no chromium: tools/setup/install.sh pictures" >&2; exit 1; }
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
# Chromium's own sandbox refuses root; the page is ours.
timeout 60 chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$profile" \
  --force-device-scale-factor=1 --window-size="${size/x/,}" --virtual-time-budget=5000 --screenshot="$out" "$page" >/dev/null 2>&1
[ -s "$out" ] || { echo "Chromium drew nothing: $page" >&2; exit 1; }
