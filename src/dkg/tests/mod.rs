//! Ceremonies in memory.

mod ceremonies;
mod sim;
mod votes;
