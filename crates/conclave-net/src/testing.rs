//! How a node judges what it has not read yet, for tests of protocols.

use super::protocol::{Bounds, Dialect, HEADER, Protocol, WireError};

/// The kind and the payload's length in bytes that the first bytes of a frame announce, in the dialect in which every byte has its meaning and in
/// a group of so many operators.
///
/// # Errors
/// [`WireError`] for a frame that such a group never sends.
pub fn fixed_header<P: Protocol>(
    operators: usize,
    limits: P::Limits,
    header: [u8; HEADER],
) -> Result<(u8, usize), WireError> {
    let bounds: Bounds<P> = Bounds {
        operators,
        limits,
        dialect: Dialect::Fixed,
    };
    bounds.header(header)
}
