//! What a validator asks of its beacon nodes and sends to them.
//!
//! Every function takes a deadline, which the caller derives from the duty. Questions are answered by the first node
//! that gives a good answer; submissions go to all. An answer to another question than the one that was asked (another
//! slot, another root) counts as none.
//!
//! | Module | What it is |
//! |---|---|
//! | `one` | one node is asked, and its answer held against the question |
//! | `questions` | the same of several nodes |
//! | `submissions` | what is sent to all of them |

mod one;
mod questions;
mod submissions;

pub use one::{BlockRequest, BlockTrouble, Produced};
pub use questions::KnownBlock;
pub use submissions::Published;
