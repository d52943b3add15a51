//! Hash tree roots of what has no fixed size at compile time: preset sizes come from the beacon node.
//!
//! Source: consensus-specs, `ssz/simple-serialize.md`, "Merkleization".

use tree_hash::{Hash256, merkle_root, mix_in_length};

use conclave_crypto::hash::Hash;

/// Bytes of a leaf.
pub const CHUNK: usize = 32;

/// The root of bytes that fill `limit` chunks at most: packed, padded with zeros to a power of two.
pub fn chunks_root(bytes: &[u8], limit: usize) -> Hash {
    merkle_root(bytes, limit.max(1)).0
}

/// The root of a list or bit list: with its length mixed in.
pub fn with_length(root: Hash, length: usize) -> Hash {
    mix_in_length(&Hash256::from(root), length).0
}

/// The root of a container, from the roots of its fields; the same for the elements of a vector.
pub fn container_root(fields: &[Hash]) -> Hash {
    chunks_root(fields.as_flattened(), fields.len())
}

/// The root of a list of at most `limit` elements, from the roots of the elements.
pub fn list_root(elements: &[Hash], limit: usize) -> Hash {
    with_length(chunks_root(elements.as_flattened(), limit), elements.len())
}

/// The root of a number.
pub fn number_root(number: u64) -> Hash {
    let mut root = [0; CHUNK];
    root[..8].copy_from_slice(&number.to_le_bytes());
    root
}
