#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
//!
//! | Module | What it is |
//! |---|---|
//! | [`node`] | the libp2p node: who is dialled, who may stay, one stream for each pair of operators |
//! | [`events`] | what the node tells its caller |
//! | [`protocol`] | what a node must know of the messages that it carries |
//! | [`fields`] | what can be added to a message without those who do not know it being disturbed |
//! | `courtesy` | the node's own messages, byte for byte |
//! | `session` | one stream while it lives |
//! | `frame` | reading and writing frames without trusting the other side |
//! | `stream` | streams as a libp2p behaviour |
//! | `book` | where operators may be reached |

pub mod events;
pub mod fields;
pub mod node;
pub mod protocol;

mod book;
mod courtesy;
mod frame;
#[cfg(test)]
mod sample;
mod session;
mod stream;

#[cfg(feature = "testing")]
pub mod testing;
