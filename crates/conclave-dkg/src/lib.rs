#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
//!
//! In one paragraph: every operator signs *entries* ([`entry`]) with its node key and
//! anybody passes them on. A [`board`] judges each entry once its predecessors are there; what is provably wrong becomes
//! [`evidence`] with a name. An [`operator`] looks at the board, at its [`secrets`] and at the [`rules`] of the vote, and says the
//! next step: Join, Deal, Ack or Complaint, Reveal, Stored (the vote), Sign, Seal, Done.
//!
//! | Read in this order | |
//! |---|---|
//! | [`terms`] | what everybody agreed on before |
//! | [`entry`], [`body`] | what is signed, and its exact bytes |
//! | [`secrets`] | what an operator keeps to itself |
//! | [`outputs`] | from Reveals to keys |
//! | [`board`] | admission, sessions, verdicts |
//! | [`evidence`] | proofs for third parties |
//! | [`rules`] | the vote rules V1-V4 |
//! | [`operator`] | the next thing to say |
//! | [`transcript`] | the public record of a finished ceremony, and its check |

pub mod board;
pub mod body;
pub mod entry;
pub mod evidence;
pub mod operator;
pub mod outputs;
pub mod rules;
pub mod secrets;
pub mod terms;
pub mod transcript;
pub mod wire;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

#[cfg(test)]
mod tests;
