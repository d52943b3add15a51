//! Ethereum facts: networks, domains, deposits, keystores.
//!
//! Everything here is pure: no clock, no file, no randomness of its own. Bytes come in, bytes go out.
//!
//! | Module | What it is |
//! |---|---|
//! | [`network`] | the networks that are known, and custom ones from a file |
//! | [`address`] | execution-layer addresses and their EIP-55 checksum |

pub mod address;
pub mod network;
