//! The chain: its clock, its forks, what is signed on it and how that is written.
//!
//! Pure: bytes and numbers in, bytes and numbers out. Sources: consensus-specs (phase0 to fulu, the validator
//! documents) and the Beacon API (ethereum/beacon-APIs).
//!
//! | Module | What it is |
//! |---|---|
//! | [`spec`] | what a beacon node says of its chain: timing, forks, sizes, genesis |
//! | [`signing`] | what a key signs for each of them |

pub mod signing;
pub mod spec;
