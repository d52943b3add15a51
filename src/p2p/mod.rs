//! How operators reach each other: the libp2p node and the synchronisation of journals.
//!
//! A caller starts a [`node`], takes its events one by one, gives messages to a [`sync::Sync`] and carries out
//! what that says. The node knows nothing of journals and the synchronisation nothing of sockets.
//!
//! | Module | What it is |
//! |---|---|
//! | [`wire`] | the messages, byte for byte |
//! | [`sync`] | who lacks which entry: a pure state machine |
//! | [`node`] | the libp2p node: who is dialled, who may stay, one stream for each pair of operators |
//! | [`events`] | what the node tells its caller |
//! | `session` | one stream while it lives |
//! | `frame` | reading and writing frames without trusting the other side |
//! | `stream` | journal streams as a libp2p behaviour |
//! | `book` | where operators may be reached |

pub mod events;
pub mod node;
pub mod sync;
pub mod wire;

mod book;
mod frame;
mod session;
mod stream;
