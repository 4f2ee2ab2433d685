#!/usr/bin/env bash
# clang-tidy (checks: .clang-tidy) on the given .cc files, or on those changed since origin/main. Exit 1 if it cannot read one.
#   tools/tidy.sh BUILD-FOLDER JOBS [FILE ...]       the build folder holds compile_commands.json and the generated headers
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1 jobs=$2
shift 2

files=("$@")
if [ ${#files[@]} -eq 0 ]; then
  base=$(git merge-base origin/main HEAD) || { echo 'no origin/main to compare with: name files, FILES="a.cc b.cc"' >&2; exit 2; }
  mapfile -t files < <({ git diff --name-only --diff-filter=d "$base" -- '*.cc'; git ls-files -o --exclude-standard -- '*.cc'; } | sort -u)
fi
[ ${#files[@]} -gt 0 ] || { echo "no .cc file changed since origin/main"; exit 0; }
[ -e "$build/compile_commands.json" ] || { echo "$build/compile_commands.json: not there: configure first" >&2; exit 2; }

patterns=()
for file in "${files[@]}"; do
  [ -e "$file" ] || { echo "$file: not there" >&2; exit 2; }
  patterns+=("/$(sed 's/[.+]/\\&/g' <<<"$file")\$")
done
# The compile commands are g++'s: clang does not know all of its warnings.
exec run-clang-tidy -quiet -extra-arg=-Wno-unknown-warning-option -p "$build" -j "$jobs" "${patterns[@]}"
