#!/usr/bin/env bash
# fuzz.sh JOBS SECONDS [--keep] [NAME...]: builds the fuzz targets and runs each for SECONDS.
# It starts from the kept inputs in fuzz/corpus/NAME and from what earlier runs found, which stays in
# build/fuzz/found/NAME. An input that fails is written to fuzz/corpus/NAME, so that it is a
# regression test from then on. With --keep, what was found and reaches new code goes there too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
jobs=$1 seconds=$2
shift 2
keep=
if [ "${1:-}" = --keep ]; then
  keep=yes
  shift
fi

cmake --preset fuzz >build/configure-fuzz.log || {
  cat build/configure-fuzz.log >&2
  exit 1
}
mapfile -t targets < <(ninja -C build/fuzz -t targets all |
  sed -n 's/^\([a-z0-9][a-z_0-9]*_fuzz\): phony$/\1/p' | grep -v '^cmake_object_order' | sort -u)
if [ $# -gt 0 ]; then
  mapfile -t targets < <(printf '%s\n' "${targets[@]}" | grep -F "$(printf '%s\n' "$@")")
fi
if [ "${#targets[@]}" = 0 ]; then
  echo "fuzz: no such target" >&2
  exit 1
fi
cmake --build build/fuzz -j "$jobs" --target "${targets[@]}"

fuzz_one() {
  local name=$1 seconds=$2 corpus=fuzz/corpus/$1 found=build/fuzz/found/$1 binary log=build/fuzz/$1.log
  binary=$(find build/fuzz -type f -name "$name" -perm -u+x | head -n 1)
  mkdir -p "$found" "$corpus"
  if ! "$binary" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$corpus/" "$found" "$corpus" >"$log" 2>&1; then
    tail -n 40 "$log"
    echo "$name: FAILED, the input is in $corpus"
    return 1
  fi
  if [ -n "$keep" ]; then "$binary" -merge=1 "$corpus" "$found" >>"$log" 2>&1; fi
  local runs
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  echo "$name: $runs runs, no failure; $(find "$corpus" -type f | wc -l) inputs kept," \
    "$(find "$found" -type f | wc -l) found"
}
export -f fuzz_one
export keep
printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -I{} bash -c 'set -euo pipefail; fuzz_one "$@"' fuzz {} "$seconds"
