#!/usr/bin/env bash
# Downloads the servers that the lab's tests talk to and unpacks them, with the libraries they miss,
# into build/tools-root. Installs nothing: their packages would start services. Needs no root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/packages.sh

target=${OPENP2P_TOOLS_ROOT:-$PWD/build/tools-root}
stamp=$target/.unpacked
wanted="$target ${unpacked_packages[*]}"

# Whether the last unpacking was of the same packages, and nothing it relied on has gone since.
is_complete() {
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] || return 1
  local program
  for program in "${unpacked_programs[@]}"; do
    PATH=$target/run:$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || return 1
  done
}
if is_complete; then exit 0; fi

echo "unpacking into ${target#"$PWD"/}: ${unpacked_packages[*]} (servers that tests start; not installed)"
mkdir -p "$(dirname "$target")"
partial=$(mktemp -d "$target.partial.XXXXXX")
trap 'rm -rf "$partial"' EXIT
mkdir "$partial/archives" "$partial/root"

# apt says which packages an installation would add; exactly these are unpacked.
missing=$(apt-get install --simulate --no-install-recommends "${unpacked_packages[@]}" |
  awk '$1 == "Inst" { print $2 }')
# A package that is installed already is not in that list; its own files are on the machine.
# shellcheck disable=SC2086
if [ -n "$missing" ]; then
  (cd "$partial/archives" && apt-get download -q $missing >download.log 2>&1) || {
    cat "$partial/archives/download.log" >&2
    echo "unpack.sh: apt could not download the packages; is the network up?" >&2
    exit 1
  }
fi
for archive in "$partial"/archives/*.deb; do
  if [ -e "$archive" ]; then dpkg-deb -x "$archive" "$partial/root"; fi
done

# One wrapper a program, in run/, so that it finds the libraries that came with it.
mkdir "$partial/root/run"
libraries=$(cd "$partial/root" && find . -name '*.so*' -printf "$target/%P\n" |
  xargs -r -n1 dirname | sort -u | paste -sd:)
for program in "$partial"/root/{usr/bin,usr/sbin,bin,sbin}/*; do
  if [ ! -x "$program" ]; then continue; fi
  wrapper=$partial/root/run/${program##*/}
  cat >"$wrapper" <<EOF
#!/bin/sh
LD_LIBRARY_PATH=$libraries\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH} exec $target/${program#"$partial"/root/} "\$@"
EOF
  chmod +x "$wrapper"
done
printf '%s' "$wanted" >"$partial/root/.unpacked"
rm -rf "$target"
mv "$partial/root" "$target"
