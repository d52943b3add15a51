//! `conclave run`: the group's machines are the validator.
//!
//! Each operator runs one process beside its own beacon node. Operators agree on what is to be signed, each share
//! signs what its own guard allows, and any t partial signatures make the validator's. Whatever decides is pure;
//! sockets, files and clocks are at the edge.
//!
//! | Read in this order | |
//! |---|---|
//! | [`chain`] | the chain: clock, forks, containers, signing roots |
//! | [`beacon`] | the client of beacon nodes |
//! | [`duty`] | what there is to do in a slot |
//! | [`group`] | operators and validators, as the lock names them |
//! | [`agreement`] | what to sign: one agreement for each slot and kind |
//! | [`partials`] | partial signatures as they travel |
//! | [`guard`] | slashing protection: what may be signed |

pub mod agreement;
pub mod alive;
pub mod beacon;
pub mod chain;
pub mod combine;
pub mod duty;
pub mod group;
pub mod guard;
pub mod memory;
pub mod partials;
