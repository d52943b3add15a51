# Short names for what this repository's scripts and cargo do; `just` lists them. Nothing here is needed to build.

# Shows this list.
default:
    @just --list --unsorted

# Builds the program, optimised.
build:
    cargo build --release --locked

# Formats the code.
fmt:
    cargo fmt

# Format, lints as errors, documentation: what is quick to check before a commit.
check:
    .ci/run format clippy docs

# All tests, or those of one crate: `just test conclave-dkg`.
test crate="":
    cargo test --locked {{ if crate == "" { "" } else { "-p " + crate } }}

# One section of what runs before a merge, or all of it: `just ci`, `just ci tests`.
ci *sections:
    .ci/run {{ sections }}

# Licences, sources, bans; part of `just ci`.
policy:
    .ci/run tools policy

# Known vulnerabilities of dependencies; fetches the RustSec database.
advisories:
    cargo deny --locked check advisories

# Other people's software judges our files.
interop:
    .ci/run release interop

# Four validators on a development beacon chain: the short scenario, or those that are named.
devnet *scenarios:
    cargo build --release --locked --bin conclave --example adversary
    CONCLAVE_BIN=target/release/conclave CONCLAVE_ADVERSARY=target/release/examples/adversary \
        tests/interop/devnet/run.sh {{ scenarios }}

# What is too long for each change: `just long tests`, `just long scenarios`, or both.
long *half:
    .ci/long {{ half }}

# Our operations beside those of others.
bench *filter:
    cd benches && cargo bench --locked -- {{ filter }}
