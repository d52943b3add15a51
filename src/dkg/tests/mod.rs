//! Ceremonies in memory.

mod attacks;
mod ceremonies;
mod sessions;
mod shares;
pub(crate) mod sim;
mod votes;
