//! Ceremonies in memory.

mod attacks;
mod authority;
mod ceremonies;
mod coalitions;
mod hostile_files;
mod restarts;
mod restored;
mod seals;
mod sessions;
mod shares;
mod verdicts;
mod votes;
