#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
//!
//! Source: ethereum/beacon-APIs. Every request has a deadline that its caller derives from the duty; every answer has
//! a limit in bytes and is decoded strictly. Credentials (in the URL, or in a file of headers) are sent and never
//! shown.
//!
//! | Module | What it is |
//! |---|---|
//! | [`chain`] | what a beacon node says of its chain, its forks above all, and what is signed on it |
//! | [`api`] | what a validator asks and sends, typed |
//! | [`answers`] | what beacon nodes answer |
//! | [`choice`] | which of several nodes is asked first, and whose head is ours |
//! | [`majority`] | whose word counts when they disagree |
//! | [`agreed`] | the same of validators, for commands that ask once |
//! | `schedule` | the same of the chain, its forks above all |
//! | [`nodes`] | several nodes: health, hedged questions, submissions to all |
//! | [`http`] | one node: one request, bounded in time and size |
//! | [`events`] | heads as they come (server-sent events), from all nodes at once |

pub mod agreed;
pub mod answers;
pub mod api;
pub mod chain;
pub mod choice;
pub mod events;
pub mod http;
pub mod majority;
pub mod nodes;

mod schedule;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
