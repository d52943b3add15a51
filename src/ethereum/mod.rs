//! Ethereum facts: networks, domains, deposits, keystores.
//!
//! Everything here is pure: no clock, no file, no randomness of its own. Bytes come in, bytes go out.
//!
//! | Module | What it is |
//! |---|---|
//! | [`network`] | the networks that are known, and custom ones from a file |
//! | [`address`] | execution-layer addresses and their EIP-55 checksum |
//! | [`unspendable`] | addresses from which nobody can spend |
//! | [`domain`] | what a signature commits to beside its message |
//! | [`deposit`] | deposit messages and the file that the launchpad takes |
//! | [`registration`] | builder registrations |
//! | [`exit`] | voluntary exits |
//! | [`keystore`] | encrypted secret keys (EIP-2335) |

pub mod address;
pub mod deposit;
pub mod domain;
pub mod exit;
pub(crate) mod json;
pub mod keystore;
pub mod network;
pub mod registration;
#[cfg(test)]
pub mod testing;
pub mod unspendable;
