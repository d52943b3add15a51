#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
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
//! | [`chain`] | blocks, votes and what else a validator signs |
//! | [`duty`] | what there is to do in a slot |
//! | [`recognise`] | what a file is by its content, and what is wrong with one that cannot be read |
//! | [`text`], [`secret_text`] | what others wrote, before anybody sees it |

pub mod address;
pub mod chain;
pub mod deposit;
pub mod domain;
pub mod duty;
pub mod exit;
pub mod json;
pub mod keystore;
pub mod network;
pub mod recognise;
pub mod registration;
pub mod secret_text;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod unspendable;
