//! Hash trees of SSZ (consensus-specs, `ssz/simple-serialize.md`, *Merkleization*), in the dialect of cluster files.
//!
//! Every value has a 32-byte root. The dialect's own rules: byte vectors of fixed length are padded with zeros **on the
//! left** when shorter, so an absent signature hashes like one of zeros; lists of `u64` are packed four to a chunk.

use conclave_crypto::hash::{Hash, sha256};

/// A value does not fit into its type; nothing is ever cut off silently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is too long: {length}, where {limit} is the most")]
pub struct TooLong {
    /// Bytes or items at hand.
    pub length: usize,
    /// Bytes or items that the type can hold.
    pub limit: usize,
}

fn within(length: usize, limit: usize) -> Result<(), TooLong> {
    if length <= limit {
        Ok(())
    } else {
        Err(TooLong { length, limit })
    }
}

/// Binary SHA-256 tree over `chunks`, padded with zero sub-trees up to the next power of two of `limit`.
///
/// # Errors
/// If there are more chunks than `limit`.
pub fn merkle(chunks: Vec<Hash>, limit: usize) -> Result<Hash, TooLong> {
    within(chunks.len(), limit)?;
    Ok(tree(chunks, limit))
}

fn tree(mut chunks: Vec<Hash>, limit: usize) -> Hash {
    let depth = limit.max(1).next_power_of_two().trailing_zeros();
    let mut zero = [0; 32];
    if chunks.is_empty() {
        chunks.push(zero);
    }
    for _ in 0..depth {
        if chunks.len() % 2 == 1 {
            chunks.push(zero);
        }
        chunks = chunks
            .chunks_exact(2)
            .map(|pair| sha256(&[&pair[0], &pair[1]]))
            .collect();
        zero = sha256(&[&zero, &zero]);
    }
    chunks[0]
}

/// Binds a list's length to its root.
pub fn mix_in_length(root: &Hash, length: usize) -> Hash {
    sha256(&[root, &uint64(length as u64)])
}

/// `bytes` cut into chunks, the last one padded with zeros on the right.
fn chunks(bytes: &[u8]) -> Vec<Hash> {
    bytes
        .chunks(32)
        .map(|part| {
            let mut chunk = [0; 32];
            chunk[..part.len()].copy_from_slice(part);
            chunk
        })
        .collect()
}

/// `ByteList[limit]`: bytes of any length up to `limit`. Text is its UTF-8 bytes.
///
/// # Errors
/// If there are more than `limit` bytes.
pub fn byte_list(bytes: &[u8], limit: usize) -> Result<Hash, TooLong> {
    within(bytes.len(), limit)?;
    Ok(mix_in_length(
        &merkle(chunks(bytes), limit.div_ceil(32))?,
        bytes.len(),
    ))
}

/// `BytesN`: bytes padded with zeros on the left to exactly `N`.
///
/// # Errors
/// If there are more than `N` bytes.
pub fn bytes<const N: usize>(bytes: &[u8]) -> Result<Hash, TooLong> {
    within(bytes.len(), N)?;
    let mut padded = [0; N];
    padded[N - bytes.len()..].copy_from_slice(bytes);
    merkle(chunks(&padded), N.div_ceil(32))
}

/// `uint64`, little endian.
pub fn uint64(number: u64) -> Hash {
    let mut chunk = [0; 32];
    chunk[..8].copy_from_slice(&number.to_le_bytes());
    chunk
}

/// `boolean`.
pub fn boolean(value: bool) -> Hash {
    uint64(u64::from(value))
}

/// `List[uint64, limit]`; `limit` must be a multiple of four.
///
/// # Errors
/// If there are more than `limit` numbers.
pub fn uint64_list(numbers: &[u64], limit: usize) -> Result<Hash, TooLong> {
    within(numbers.len(), limit)?;
    let packed: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Ok(mix_in_length(&merkle(chunks(&packed), limit / 4)?, numbers.len()))
}

/// A container: the tree over its fields' roots. A container of one field has that field's root.
pub fn container<const N: usize>(fields: [Hash; N]) -> Hash {
    tree(fields.to_vec(), N)
}

/// A container whose number of fields depends on the version.
pub fn fields_root(fields: Vec<Hash>) -> Hash {
    let limit = fields.len();
    tree(fields, limit)
}

/// `List[_, limit]` of containers or byte vectors, given their roots.
///
/// # Errors
/// If there are more than `limit` items.
pub fn list(roots: Vec<Hash>, limit: usize) -> Result<Hash, TooLong> {
    let length = roots.len();
    Ok(mix_in_length(&merkle(roots, limit)?, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zero(depth: usize) -> Hash {
        (0..depth).fold([0; 32], |node, _| sha256(&[&node, &node]))
    }

    #[test]
    fn trees_are_padded_to_the_power_of_two_of_the_limit() {
        let (a, b, c) = ([1; 32], [2; 32], [3; 32]);
        assert_eq!(merkle(vec![], 1).unwrap(), [0; 32]);
        assert_eq!(merkle(vec![a], 1).unwrap(), a);
        assert_eq!(merkle(vec![], 5).unwrap(), zero(3));
        let left = sha256(&[&a, &b]);
        assert_eq!(
            merkle(vec![a, b, c], 3).unwrap(),
            sha256(&[&left, &sha256(&[&c, &[0; 32]])])
        );
        assert_eq!(
            merkle(vec![a], 8).unwrap(),
            sha256(&[&sha256(&[&sha256(&[&a, &zero(0)]), &zero(1)]), &zero(2)])
        );
        assert_eq!(merkle(vec![a, b], 1), Err(TooLong { length: 2, limit: 1 }));
    }

    #[test]
    fn byte_vectors_are_padded_on_the_left_then_chunked() {
        let mut expected = [0; 32];
        expected[2..4].copy_from_slice(&[7, 8]);
        assert_eq!(bytes::<4>(&[7, 8]).unwrap(), expected);
        assert_eq!(bytes::<65>(&[]).unwrap(), zero(2));
        assert_eq!(bytes::<65>(&[]).unwrap(), bytes::<65>(&[0; 65]).unwrap());
        assert!(bytes::<4>(&[0; 5]).is_err());
    }

    #[test]
    fn lists_mix_in_their_length() {
        assert_eq!(byte_list(b"", 64).unwrap(), sha256(&[&zero(1), &[0; 32]]));
        assert_ne!(byte_list(b"a", 64).unwrap(), byte_list(b"a\0", 64).unwrap());
        assert!(byte_list(&[0; 65], 64).is_err());
        assert_eq!(uint64_list(&[], 256).unwrap(), sha256(&[&zero(6), &[0; 32]]));
        assert_eq!(list(vec![], 256).unwrap(), sha256(&[&zero(8), &[0; 32]]));
        assert_eq!(container([[9; 32]]), [9; 32]);
        assert_eq!(boolean(true)[0], 1);
    }
}
