//! Ceremonies in memory.

mod attacks;
mod ceremonies;
mod sim;
mod votes;
