//! Clusters: who validates together, and the files that say so.
//!
//! A *definition* says what a ceremony is to make: operators, threshold, addresses. A *lock* says what it made: the
//! distributed keys and everything that was signed with them. Both files are the formats of Obol's software, versions
//! v1.8 to v1.11, so that a ceremony's result runs there the same day; this module is written from the formats alone.
//!
//! | Module | What it is |
//! |---|---|
//! | [`json`] | JSON as these files use it: bounded and strict on reading, byte-exact on writing |
//! | [`ssz`] | the hash trees behind every hash of these files |
//! | [`enr`] | node records: an operator's public key with a signature |
//! | [`eip712`] | what the wallets of creator and operators sign |
//! | [`definition`] | `cluster-definition.json` |
//! | [`lock`] | `cluster-lock.json` |
//! | [`wallets`] | wallets that are contracts, which only the chain can ask (ERC-1271) |
//! | [`verify`] | everything about a lock that can be checked |
//! | [`report`] | named checks and their outcomes |
//!
//! Nothing in here reads files, clocks or the network.

pub mod definition;
pub mod eip712;
pub mod enr;
mod hashes;
pub mod json;
pub mod lock;
pub mod report;
pub mod ssz;
pub mod verify;
pub mod wallets;
