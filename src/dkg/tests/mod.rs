//! Ceremonies in memory.

mod attacks;
mod ceremonies;
mod shares;
mod sim;
mod votes;
