#!/usr/bin/env bash
# Lets other people's software judge the example clusters in tests/vectors and the output of our own rehearsals.
# Needs Node.js (20 or newer), npm, Python 3.10 or newer with venv; installs the judges into target/interop.
# CONCLAVE_BIN names a program to rehearse with; without it a release build is made.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
cache=$target/interop
vectors=$root/tests/vectors
network=$here/networks/kurtosis.toml

# Node.js looks for packages above the script, so the judges run from a copy beside their packages.
mkdir -p "$cache/judges"
rm -rf "$cache/judges"/{lib,judges,networks}
cp -R "$here"/{*.mjs,package.json,package-lock.json,lib,judges,networks} "$cache/judges/"
if ! cmp -s "$here/package-lock.json" "$cache/installed-lock.json"; then
  (cd "$cache/judges" && npm ci --ignore-scripts --no-audit --no-fund)
  cp "$here/package-lock.json" "$cache/installed-lock.json"
fi
if ! cmp -s "$here/requirements.txt" "$cache/installed-requirements.txt"; then
  rm -rf "$cache/venv"
  python3 -m venv "$cache/venv"
  "$cache/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$cache/installed-requirements.txt"
fi
export INTEROP_PYTHON=$cache/venv/bin/python

judge() { node "$cache/judges/judge.mjs" --network-file "$network" "$@"; }

echo "--- the judges refuse tampered files"
node "$cache/judges/selftest.mjs" --complete --network-file "$network" \
  "$vectors"/dkg-v1.8-holesky-4x2 "$vectors"/dkg-v1.10-hoodi-4x1-signed \
  "$vectors"/dkg-v1.10-hoodi-4x2 "$vectors"/dkg-v1.11-hoodi-4x1

echo "--- the judges accept clusters that other software made"
judge "$vectors"/{cluster,dkg,edit}-*/

if [ "${1:-}" = "--vectors-only" ]; then exit 0; fi

conclave=${CONCLAVE_BIN:-}
if [ -z "$conclave" ]; then
  cargo build --release --locked --manifest-path "$root/Cargo.toml"
  conclave=$target/release/conclave
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for plan in ci friends pool-7; do
  echo "--- the judges accept our rehearsal of $plan"
  "$conclave" rehearse "$root/ceremonies/$plan.toml" --out "$work/$plan" </dev/null
  judge --complete "$work/$plan"
done

echo "--- others open our archives, and we theirs"
node "$cache/judges/archives.mjs" "$conclave" "$work/friends/operator-1"
