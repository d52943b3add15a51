#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
//!
//! Agreement is by Tendermint. Its state machine is the driver of `arc-malachitebft-core-driver`; here is what that
//! leaves to its user: signed messages, certificates, verdicts on proposals, timers, and what keeps others from feeding
//! it anything that it does not expect. All of it is pure: an [`Instance`] is told what happens and when, and says what
//! to do.
//!
//! # A round
//! The leader proposes a value. Whoever finds it plausible *prevotes* for it, everybody else for nil. Whoever sees t
//! prevotes for a value (a *polka*) *precommits* to it, everybody else to nil. t precommits for a value are a decision;
//! otherwise a round with another leader follows. A node that precommitted stays with the value until it sees a polka of
//! a later round for another one.
//!
//! Two sets of t operators have at least 2t - n operators in common, so two values need as many who vote for both: with
//! at most 2t - n - 1 liars no two honest nodes decide differently, whatever clocks and the network do. While t honest
//! nodes can talk, and no more than n - t lie, they decide.
//!
//! # What others may do
//! * Messages are signed by node keys over everything that they mean, checked before they are used, and passed on as
//!   they are. Who sends what no honest node would send is reported, and soon no longer listened to.
//! * An operator has two votes for each step, of which the driver sees the first. A liar may have shown its other vote to
//!   somebody who acted on it: a [`Certificate`](messages::Certificate) of t votes is complete in itself and counts
//!   whatever was seen before. Whoever first sees a polka or a decision tells everybody.
//! * An undecided node says now and then what it has ([`Status`](messages::Status)), and whenever somebody connects;
//!   others send what it lacks.
//!
//! # What is expected of the caller
//! Beacon nodes, networks and clocks are the caller's. It hands in decoded messages with the peer that sent them, passes
//! on what [`Effect`]s say, calls [`Instance::tick`] at [`Instance::next_wakeup`], and drops the instance at the duty's
//! deadline. Whether a decided value is signed is for the guard to say.

mod context;
mod instance;
pub mod messages;
mod quorum;
mod records;
mod timing;

#[cfg(test)]
mod tests;

pub use instance::{Decision, Effect, Instance, Misbehaviour, Role};
pub use quorum::{NodeSignatures, Quorum, Signatures};
pub use records::Verdict;
