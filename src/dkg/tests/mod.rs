//! Ceremonies in memory.

mod attacks;
mod ceremonies;
mod shares;
pub(crate) mod sim;
mod votes;
