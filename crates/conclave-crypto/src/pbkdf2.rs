//! PBKDF2 with HMAC-SHA-256 (RFC 8018, section 5.2), several passwords at a time.
//!
//! Each round of a derivation needs the result of the round before, so a single derivation leaves most of a core's
//! hash unit idle. Several that take turns fill it, and cost little more than half as much each.

use sha2::block_api::compress256;
use zeroize::{Zeroize as _, Zeroizing};

use super::hash::{hmac_sha256, sha256};

/// Derivations that take turns on one core: more gain nothing.
pub const LANES: usize = 4;
/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;
/// The initial state of SHA-256 (FIPS 180-4, section 5.3.3).
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

type State = [u32; 8];

/// What one derivation needs.
#[derive(Clone, Copy)]
pub struct Lane<'a> {
    /// The password, of any length.
    pub password: &'a [u8],
    /// The salt, of any length.
    pub salt: &'a [u8],
}

/// Derives 32 bytes for each lane, in their order, with `rounds` rounds (at least 1). Give it [`LANES`] or a multiple of that
/// at a time where there are so many; 262,144 rounds take 10 to 30 milliseconds for each.
pub fn derive(lanes: &[Lane<'_>], rounds: u32) -> Vec<Zeroizing<[u8; 32]>> {
    let mut keys = Vec::with_capacity(lanes.len());
    let (fours, rest) = lanes.as_chunks::<LANES>();
    let (twos, one) = rest.as_chunks::<2>();
    keys.extend(fours.iter().flat_map(|lanes| together(lanes, rounds)));
    keys.extend(twos.iter().flat_map(|lanes| together(lanes, rounds)));
    keys.extend(one.iter().flat_map(|lane| together(&[*lane], rounds)));
    keys
}

/// The states of SHA-256 after the inner and the outer pad of HMAC (RFC 2104).
fn padded(password: &[u8]) -> [State; 2] {
    let mut key = Zeroizing::new([0; BLOCK]);
    match key.get_mut(..password.len()) {
        Some(start) => start.copy_from_slice(password),
        None => key[..32].copy_from_slice(&*Zeroizing::new(sha256(&[password]))),
    }
    [0x36, 0x5c].map(|pad| {
        let block = Zeroizing::new(key.map(|byte| byte ^ pad));
        let mut state = INITIAL;
        compress256(&mut state, std::slice::from_ref(&*block));
        state
    })
}

fn together<const N: usize>(lanes: &[Lane<'_>; N], rounds: u32) -> [Zeroizing<[u8; 32]>; N] {
    let mut pads: [[State; 2]; N] = lanes.map(|lane| padded(lane.password));
    let mut keys = lanes.map(|lane| hmac_sha256(lane.password, &[lane.salt, &1_u32.to_be_bytes()]));
    // What is hashed in every further step: 32 bytes after one block, with their padding.
    let mut template = [0; BLOCK];
    template[32] = 0x80;
    template[BLOCK - 8..].copy_from_slice(&(8 * (BLOCK as u64 + 32)).to_be_bytes());
    let mut blocks = [template; N];
    for (block, key) in blocks.iter_mut().zip(&keys) {
        block[..32].copy_from_slice(&**key);
    }
    let mut sums: [State; N] = std::array::from_fn(|lane| words(&blocks[lane]));
    let next = |block: &mut [u8; BLOCK], pad: &State| {
        let mut state = *pad;
        compress256(&mut state, std::slice::from_ref(block));
        write(&state, block);
        state
    };
    for _ in 1..rounds {
        for (block, [inner, _]) in blocks.iter_mut().zip(&pads) {
            next(block, inner);
        }
        for ((block, [_, outer]), sum) in blocks.iter_mut().zip(&pads).zip(&mut sums) {
            let state = next(block, outer);
            for (sum, word) in sum.iter_mut().zip(state) {
                *sum ^= word;
            }
        }
    }
    for ((key, sum), block) in keys.iter_mut().zip(&sums).zip(&mut blocks) {
        write(sum, block);
        key.copy_from_slice(&block[..32]);
    }
    pads.zeroize();
    blocks.zeroize();
    sums.zeroize();
    keys
}

/// The first 32 bytes of a block as big-endian words.
fn words(block: &[u8; BLOCK]) -> State {
    let (words, _) = block.as_chunks::<4>();
    std::array::from_fn(|i| u32::from_be_bytes(words[i]))
}

/// Puts words in the place of the first 32 bytes of a block.
fn write(words: &State, block: &mut [u8; BLOCK]) {
    block[..32].copy_from_slice(words.map(u32::to_be_bytes).as_flattened());
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;
    use proptest::prelude::*;
    use sha2::Sha256;

    use super::*;

    fn one(password: &[u8], salt: &[u8], rounds: u32) -> [u8; 32] {
        *derive(&[Lane { password, salt }], rounds)[0]
    }

    #[test]
    fn published_vectors() {
        // RFC 7914, section 11, the first half of each output.
        assert_eq!(
            one(b"passwd", b"salt", 1),
            hex!("55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc")
        );
        assert_eq!(
            one(b"Password", b"NaCl", 80_000),
            hex!("4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56")
        );
    }

    proptest! {
        /// Any number of lanes, short and long passwords and salts: as another implementation has it.
        #[test]
        fn as_another_implementation(
            lanes in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..150), proptest::collection::vec(any::<u8>(), 0..150)),
                0..12,
            ),
            rounds in 1_u32..20,
        ) {
            let given: Vec<Lane<'_>> = lanes.iter().map(|(password, salt)| Lane { password, salt }).collect();
            let keys = derive(&given, rounds);
            prop_assert_eq!(keys.len(), lanes.len());
            for ((password, salt), key) in lanes.iter().zip(&keys) {
                let mut expected = [0; 32];
                ::pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, rounds, &mut expected);
                prop_assert_eq!(**key, expected);
            }
        }
    }
}
