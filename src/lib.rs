//! Key ceremonies for groups who validate together.
//!
//! The program's library: what a person types and sees. Everything else is in the crates below it, each of which has a front page of its own. From the
//! top to the bottom: [`conclave_monitor`], [`conclave_validator`], [`conclave_ceremony`], [`conclave_net`], [`conclave_consensus`], [`conclave_beacon`],
//! [`conclave_slashing`], [`conclave_cluster`], [`conclave_eth`], `conclave_dkg`, [`conclave_crypto`]. Read them from the bottom up; dependencies point
//! downwards only.

pub mod cli;
