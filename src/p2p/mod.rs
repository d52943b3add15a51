//! How operators reach each other: the libp2p node and the synchronisation of journals.
//!
//! | Module | What it is |
//! |---|---|
//! | [`wire`] | the messages, byte for byte |
//! | [`sync`] | who lacks which entry: a pure state machine |

pub mod sync;
pub mod wire;
