#!/usr/bin/env bash
# Plays two scenarios of two epochs on development beacon chains: nothing happens, and one operator of four is killed in
# each epoch. Beside them the chain shows that it refuses what it must. About two minutes. Needs Node.js (20 or newer) and npm; installs the chain into
# target/interop. CONCLAVE_BIN names the program to run; without it a release build is made. Says what it does on standard
# error; logs and folders stay in target/interop/devnet-run until the next time.
set -euo pipefail
set -m # each job is a process group, so that all of it can be ended

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
cache=$target/interop/devnet

conclave=${CONCLAVE_BIN:-}
say() { echo "$(date +%T) $*" >&2; }

if [ -z "$conclave" ]; then
  say "building conclave"
  cargo build --release --locked --manifest-path "$root/Cargo.toml"
  conclave=$target/release/conclave
fi
conclave=$(cd "$(dirname "$conclave")" && pwd)/$(basename "$conclave")

# Node.js looks for packages above the script, so the harness runs from a copy beside its packages.
mkdir -p "$cache"
rm -rf "$cache/lib"
cp -R "$here"/{*.mjs,package.json,package-lock.json,lib} "$cache/"
if ! cmp -s "$here/package-lock.json" "$cache/installed-lock.json"; then
  say "installing the chain's packages"
  (cd "$cache" && npm ci --ignore-scripts --no-audit --no-fund)
  cp "$here/package-lock.json" "$cache/installed-lock.json"
fi

work=$cache-run
rm -rf "$work"
mkdir -p "$work/tmp"
export TMPDIR=$work/tmp
jobs=()
finish() {
  for job in "${jobs[@]}"; do kill -KILL -- "-$job" 2>/dev/null || true; done
  rm -rf "$work/tmp"
  say "logs and folders are in $work"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

say "a ceremony for the development chain"
node "$cache/ceremony.mjs" "$work/ceremony" --program "$conclave" &
jobs+=($!)
wait $!

scenarios=(all-up one-killed chain-selftest)
say "playing side by side, each with a chain of its own: ${scenarios[*]}"
for scenario in "${scenarios[@]}"; do
  if [ "$scenario" = chain-selftest ]; then
    node "$cache/chain-selftest.mjs" >"$work/$scenario.txt" 2>&1 &
  else
    node "$cache/scenario.mjs" "$scenario" --program "$conclave" --ceremony "$work/ceremony" --epochs 2 \
      --out "$work/$scenario" >"$work/$scenario.txt" &
  fi
  jobs+=($!)
done
failed=0
for i in "${!scenarios[@]}"; do
  scenario=${scenarios[i]}
  code=0
  wait "${jobs[i + 1]}" || code=$?
  echo "--- $scenario"
  cat "$work/$scenario.txt"
  if [ "$code" != 0 ]; then
    failed=1
    for log in "$work/$scenario"/*.log; do
      [ -e "$log" ] || continue
      echo "--- the end of $(basename "$log") of $scenario"
      tail -n 60 "$log"
    done
  fi
done
exit "$failed"
