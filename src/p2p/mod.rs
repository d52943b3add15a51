//! How operators reach each other: the libp2p node, and the synchronisation of journals.
//!
//! A caller starts a [`node`] for one [`protocol`] and takes its events one by one. In a ceremony it gives the
//! messages to a [`sync::Sync`] and carries out what that says: the node knows nothing of journals and the
//! synchronisation nothing of sockets.
//!
//! | Module | What it is |
//! |---|---|
//! | [`node`] | the libp2p node: who is dialled, who may stay, one stream for each pair of operators |
//! | [`events`] | what the node tells its caller |
//! | [`protocol`] | what a node must know of the messages that it carries |
//! | [`wire`] | the messages of a ceremony, byte for byte |
//! | [`sync`] | who lacks which entry of a ceremony's journal: a pure state machine |
//! | [`twins`] | whether an identity is used by two processes at once |
//! | `courtesy` | the node's own messages, byte for byte |
//! | `session` | one stream while it lives |
//! | `frame` | reading and writing frames without trusting the other side |
//! | `stream` | streams as a libp2p behaviour |
//! | `book` | where operators may be reached |

pub mod events;
pub mod fields;
pub mod node;
pub mod protocol;
pub mod sync;
pub mod twins;
pub mod wire;

mod book;
mod courtesy;
mod frame;
mod session;
mod stream;
