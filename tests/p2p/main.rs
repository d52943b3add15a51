//! Real nodes on the interfaces of this machine.

mod connections;
mod flood;
mod growing;
mod harness;
mod lan;
mod liar;
#[path = "../machine/mod.rs"]
mod machine;
mod relays;
#[path = "../group/strangers.rs"]
mod strangers;
mod talk;
mod unreachable;
