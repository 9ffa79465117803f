#!/usr/bin/env bash
# Layout, clang-tidy and the small checks. clang-tidy reads the .cc files that differ from the last
# commit or, where nothing does, those of that commit; --all reads every one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

all=
case ${1:-} in
  "") ;;
  --all) all=yes ;;
  *)
    echo "lint: no such option: $1" >&2
    exit 2
    ;;
esac
failed=0

mapfile -t sources < <(find src sim fuzz test bench \( -name '*.cc' -o -name '*.h' \) | sort)
echo "== layout of ${#sources[@]} files"
clang-format-14 --dry-run -Werror "${sources[@]}" || failed=1

for check in await layers names functions; do
  echo "== $check"
  /usr/bin/python3 "tools/check_$check.py" || failed=1
done

changed_files() {
  if [ -n "$all" ]; then
    printf '%s\n' "${sources[@]}"
  elif [ -n "$(git status --porcelain -- src sim fuzz test bench)" ]; then
    git diff --name-only --diff-filter=d HEAD
    git ls-files --others --exclude-standard
  else
    git show --name-only --diff-filter=d --format= HEAD
  fi
}
mapfile -t tidied < <(changed_files | grep -E '^(src|sim|fuzz|test|bench)/.*\.cc$' | sort -u)
echo "== clang-tidy on ${#tidied[@]} files"
if [ "${#tidied[@]}" -gt 0 ]; then
  cmake --preset tidy >build/configure-tidy.log || {
    cat build/configure-tidy.log >&2
    exit 1
  }
  # Generated headers must be there before the code that includes them is read.
  cmake --build build/tidy --target control_messages >build/tidy-proto.log 2>&1 || {
    cat build/tidy-proto.log >&2
    exit 1
  }
  printf '%s\n' "${tidied[@]}" |
    xargs -P "$(nproc)" -n 1 clang-tidy-14 -p build/tidy --quiet || failed=1
fi

if [ "$failed" = 0 ]; then echo "lint: clean"; else echo "lint: findings above" >&2; fi
exit "$failed"
