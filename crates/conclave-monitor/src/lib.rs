#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
//!
//! | Module | What it is |
//! |---|---|
//! | [`overview`] | the state of a running node, made of what it tells |
//! | [`monitoring`] | the same over HTTP |

pub mod monitoring;
pub mod overview;
