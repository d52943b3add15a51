//! Real nodes on the interfaces of this machine.

mod connections;
mod harness;
mod lan;
mod liar;
mod relays;
mod talk;
