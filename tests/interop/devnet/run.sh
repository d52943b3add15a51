#!/usr/bin/env bash
# Plays scenarios on development beacon chains, two side by side: those that are named, all of them for "all", or, in
# about three minutes: nothing happens, one operator of four is killed in each epoch, each has two beacon nodes of which the
# first one is later. Beside them the chain shows that it refuses what it must. EPOCHS says for how long (2).
# Needs Node.js (20 or newer) and npm; installs the chain into target/interop. CONCLAVE_BIN names the program to run;
# without it a release build is made. CONCLAVE_ADVERSARY names the operator that lies, for the scenarios that need it. Says
# what it does on standard error; logs and folders stay in target/interop/devnet-run until the next time.
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

scenarios=("$@")
if [ $# = 0 ]; then scenarios=(chain-selftest all-up one-killed two-nodes); fi
if [ "$*" = all ]; then
  mapfile -t scenarios < <(node "$cache/scenario.mjs" --names)
  scenarios=(chain-selftest "${scenarios[@]}")
fi
epochs=${EPOCHS:-2}

play() { # SCENARIO
  if [ "$1" = chain-selftest ]; then
    node "$cache/chain-selftest.mjs" >"$work/$1.txt" 2>&1
  else
    node "$cache/scenario.mjs" "$1" --program "$conclave" --ceremony "$work/ceremony" --epochs "$epochs" \
      --out "$work/$1" >"$work/$1.txt"
  fi
}

# Two at a time: they share the machine, and chains have clocks. The self-test, which is light, counts for nothing.
say "playing two side by side, each with a chain of its own: ${scenarios[*]}"
pids=()
heavy=()
for scenario in "${scenarios[@]}"; do
  if [ "$scenario" != chain-selftest ]; then
    while [ "$(for pid in "${heavy[@]}"; do kill -0 "$pid" 2>/dev/null && echo; done | wc -l)" -ge 2 ]; do sleep 0.5; done
  fi
  play "$scenario" &
  pids+=($!)
  jobs+=($!)
  if [ "$scenario" != chain-selftest ]; then heavy+=($!); fi
done
failed=0
not_played=()
for i in "${!scenarios[@]}"; do
  scenario=${scenarios[i]}
  code=0
  wait "${pids[i]}" || code=$?
  echo "--- $scenario"
  cat "$work/$scenario.txt"
  if [ "$code" = 77 ]; then
    not_played+=("$scenario")
  elif [ "$code" != 0 ]; then
    failed=1
    for log in "$work/$scenario"/*.log; do
      [ -e "$log" ] || continue
      echo "--- the end of $(basename "$log") of $scenario"
      tail -n 60 "$log"
    done
  fi
done
if [ ${#not_played[@]} != 0 ]; then echo "this machine cannot play: ${not_played[*]}"; fi
exit "$failed"
