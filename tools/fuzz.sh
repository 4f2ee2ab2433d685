#!/usr/bin/env bash
# Runs every fuzz target for SECONDS: with clang, libFuzzer under address and undefined-behaviour sanitizers; without, the targets
# of the preset asan (g++) with our own mutating driver. Ends non-zero at the first input that breaks a promise, and says where it is.
#   tools/fuzz.sh SECONDS [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1
shift
targets=(${@:-gguf model text bodies events})
preset=asan
if command -v clang++ >/dev/null && echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' |
  clang++ -x c++ -fsanitize=fuzzer,address - -o /dev/null 2>/dev/null; then
  preset=fuzz
fi
build=build/$preset
echo "fuzzing ${targets[*]} with the preset $preset, $seconds s each"
mkdir -p build
cmake --preset $preset -DPATELLA_BUILD_TESTS=ON >build/configure.log 2>&1 || { cat build/configure.log; exit 1; }
ninja -C "$build" -j"${JOBS:-$(nproc)}" fuzz
cd "$build/fuzz"
./fuzz_seeds seeds
for target in "${targets[@]}"; do
  mkdir -p "corpus/$target"
  options=(-max_total_time="$seconds" -seed=1)
  [ $preset = asan ] || options+=(-max_len=131072 -rss_limit_mb=4096 -timeout=25 -print_final_stats=1 -artifact_prefix="crash-$target-")
  if ! "./${target}_fuzz" "${options[@]}" "corpus/$target" "seeds/$target" >"$target.log" 2>&1; then
    tail -40 "$target.log"
    echo "$target broke: its input is $(ls -t "$PWD"/crash-* | head -1); run $PWD/${target}_fuzz on it" >&2
    exit 1
  fi
  echo "$target: $(grep -E 'number_of_executed_units|mutated inputs' "$target.log" | tail -1)"
done
