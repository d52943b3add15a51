//! Agreement as a whole.
