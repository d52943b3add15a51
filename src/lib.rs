//! Key ceremonies for groups who validate together.
//!
//! The program's library. Below it are the crates [`conclave_cluster`], [`conclave_eth`], [`conclave_dkg`] and
//! [`conclave_crypto`]. Read it from the bottom up; dependencies
//! point downwards only.
//!
//! | Module | What it is |
//! |---|---|
//! | [`cli`] | what a person types and sees |

pub mod cli;
