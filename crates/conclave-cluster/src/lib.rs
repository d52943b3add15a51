#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
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
