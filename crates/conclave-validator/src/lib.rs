#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
//!
//! | Read in this order | |
//! |---|---|
//! | [`group`] | operators and validators, as the lock names them |
//! | [`partials`], [`combine`] | from partial signatures to the group's |
//! | [`memory`], [`alive`] | what peers remember of each other; twins |
//! | [`exits`] | voluntary exits: who consents to what |
//! | [`quota`] | how much of something there may be in a while |
//! | [`wire`] | what running nodes say to each other |
//! | [`control`] | what other commands in the same folder ask a running node |
//! | [`core`] | one operator's behaviour: events in, effects out |
//! | [`pulse`] | whether its work goes on |
//! | [`observed`] | what a node tells of itself and of the chain beside its duties |
//! | [`node`] | where the core meets sockets, disks and clocks |

pub mod alive;
pub mod combine;
pub mod control;
pub mod core;
pub mod exits;
pub mod group;
pub mod memory;
pub mod node;
pub mod observed;
pub mod partials;
pub mod pulse;
pub mod quota;
pub mod wire;
