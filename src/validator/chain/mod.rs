//! The chain: its clock, its forks, what is signed on it and how that is written.
//!
//! Pure: bytes and numbers in, bytes and numbers out. Sources: consensus-specs (phase0 to fulu, the validator
//! documents) and the Beacon API (ethereum/beacon-APIs).
//!
//! | Module | What it is |
//! |---|---|
//! | [`spec`] | what a beacon node says of its chain: timing, forks, sizes, genesis |
//! | [`fork`], [`sizes`] | the forks that are known here, and the limits of lists |
//! | [`time`] | slots and epochs from milliseconds, and back |
//! | [`types`] | the containers that a validator signs and sends |
//! | [`signing`] | what a key signs for each of them |
//! | [`block`] | blocks, full and blinded: roots, what they say, what is published |
//! | [`ssz`] | SSZ by a schema that is known at run time |
//! | [`json`] | numbers in quotes, bytes in hexadecimal: the Beacon API's JSON |
//! | [`merkle`] | hash tree roots of what has no fixed size |

pub mod block;
pub mod fork;
pub mod json;
pub mod merkle;
pub mod signing;
pub mod sizes;
pub mod spec;
pub mod ssz;
pub mod time;
pub mod types;
