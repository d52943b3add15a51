//! What is on the chain, and how it is written: blocks, votes and what else a validator signs, as SSZ, as JSON, and as roots.
//!
//! Sources: consensus-specs (phase0 to fulu, the validator documents) and the Beacon API (ethereum/beacon-APIs).
//!
//! | Module | What it is |
//! |---|---|
//! | [`fork`], [`sizes`] | the forks that are known here, and the limits of lists |
//! | [`time`] | slots and epochs from milliseconds, and back |
//! | [`types`] | the containers that a validator signs and sends |
//! | [`block`] | blocks, full and blinded: roots, what they say, what is published |
//! | [`ssz`] | SSZ by a schema that is known at run time |
//! | [`json`] | numbers in quotes, bytes in hexadecimal: the Beacon API's JSON |
//! | [`merkle`] | hash tree roots of what has no fixed size |

pub mod block;
pub mod fork;
pub mod json;
pub mod merkle;
pub mod sizes;
pub mod ssz;
pub mod time;
pub mod types;
