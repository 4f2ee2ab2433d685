#!/usr/bin/env bash
# Installs the Debian packages named in the given lists, after showing which are missing. Does nothing when all are there.
#   tools/setup/install.sh demo [test ...]        reads tools/setup/packages-NAME.txt
set -euo pipefail
cd "$(dirname "$0")"

missing=()
for list in "$@"; do
  while read -r package; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done < <(grep -v '^#' "packages-$list.txt")
done

# A package that brings a daemon must not start it here: for as long as apt runs, this file says so. It names the process
# that made it, so that one of a run that was killed is known, and removed by the next.
policy=/usr/sbin/policy-rc.d
made_by='# made by tools/setup/install.sh, process'
left_policy() {
  local process
  process=$(sed -n "s|^$made_by ||p" $policy 2>/dev/null) && [ -n "$process" ] && [ ! -e "/proc/$process" ]
}
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
if [ ${#missing[@]} -eq 0 ]; then
  if left_policy; then
    echo "Removing $policy, which keeps daemons from starting: an installation that was killed left it."
    "${as_root[@]}" rm -f $policy
  fi
  exit 0
fi

echo "These Debian packages are needed and not installed:"
printf '  %s\n' "${missing[@]}"
if [ ${#as_root[@]} -gt 0 ]; then
  command -v sudo >/dev/null || { echo "Install them as root: apt-get install --no-install-recommends ${missing[*]}" >&2; exit 1; }
  echo "Installing them asks for root (sudo)."
fi
made_policy=
trap '[ -z "$made_policy" ] || "${as_root[@]}" rm -f $policy' EXIT
if [ ! -e $policy ] || left_policy; then
  made_policy=1
  printf '#!/bin/sh\n%s\nexit 101\n' "$made_by $$" | "${as_root[@]}" tee $policy >/dev/null
  "${as_root[@]}" chmod +x $policy
fi

# apt's hundreds of lines go to a log; what it is at is said every 10 s.
log=${PATELLA_CACHE:-$HOME/.cache/patella}/install.log
mkdir -p "$(dirname "$log")"
run() {
  local count=0 said=$SECONDS line
  if ! { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "$@" 2>&1 | tee -a "$log" | while read -r line; do
    case $line in Unpacking\ * | Setting\ up\ *) count=$((count + 1)) ;; esac
    case $line in *' newly installed, '*) echo "  $line" ;; esac
    if [ $((SECONDS - said)) -ge 10 ]; then
      said=$SECONDS
      echo "  $count unpacked or set up: ${line:0:90}"
    fi
  done; }; then
    tail -30 "$log" >&2
    echo "$* failed; all of its output is in $log" >&2
    return 1
  fi
}
: >"$log"
run apt-get update -q
run apt-get install -y -q --no-install-recommends "${missing[@]}"
