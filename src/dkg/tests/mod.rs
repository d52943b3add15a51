//! Ceremonies in memory.

mod attacks;
mod authority;
mod ceremonies;
mod coalitions;
mod sessions;
mod shares;
pub(crate) mod sim;
mod verdicts;
mod votes;
