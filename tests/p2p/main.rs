//! Real nodes on the interfaces of this machine.

mod connections;
mod flood;
mod growing;
mod harness;
mod lan;
mod liar;
mod relays;
#[path = "../group/strangers.rs"]
mod strangers;
mod talk;
mod unreachable;
