//! Ethereum node records (EIP-778): how an operator is named in a definition.
//!
//! A record is a secp256k1 public key, more pairs of key and value, and a signature over all of it, as text. What counts
//! for a cluster is the public key; records of different text with one key are the same operator. The text is kept as it
//! was given, since that is what hashes and wallets' signatures cover.
//!
//! Decoding is our own and strict: the signature is checked over the bytes that came, in canonical RLP only, and other
//! pairs (addresses, ports, anything) are skipped without being interpreted.

use data_encoding::BASE64URL_NOPAD;
use sha3::{Digest, Keccak256};

use conclave_crypto::hash::Hash;
use conclave_crypto::node::{NodeKey, NodePublicKey};

/// Longest text of a record in bytes; what a definition's hash tree can hold.
pub const MAX_TEXT: usize = 1024;
/// Longest encoded record in bytes (EIP-778).
pub const MAX_RECORD: usize = 300;

/// Why a record was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnrError {
    /// Longer than [`MAX_TEXT`] or, decoded, [`MAX_RECORD`].
    #[error("the record is too long")]
    TooLong,
    /// It does not begin with `enr:`.
    #[error("the record does not begin with enr:")]
    Prefix,
    /// Not base64url.
    #[error("the record is cut off or mistyped: something in it is none of the letters of a record")]
    Base64,
    /// Not canonical RLP of a signature, a sequence number and pairs.
    #[error("the record is cut off or mistyped: its parts are not all there")]
    Encoding,
    /// Keys that are not strictly ascending, hence also a key that occurs twice.
    #[error("the record was changed: its parts are not in their order, or one is there twice")]
    KeyOrder,
    /// Another identity scheme than `v4`.
    #[error("the record is of a kind that conclave does not know (its identity scheme is not v4)")]
    Scheme,
    /// No secp256k1 key, or one that is no point.
    #[error(
        "the record was changed, or is of another kind: it holds no public key that could sign it (secp256k1)"
    )]
    PublicKey,
    /// The signature does not fit: most often a mistyped character.
    #[error("the record was mistyped or changed: its signature does not fit what it says")]
    Signature,
}

/// A record whose signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enr {
    text: String,
    public_key: NodePublicKey,
    sequence: u64,
}

impl Enr {
    /// Reads a record, which must begin with `enr:`; padding (`=`) at the end is tolerated and kept.
    ///
    /// # Errors
    /// See [`EnrError`].
    pub fn parse(text: &str) -> Result<Self, EnrError> {
        if text.len() > MAX_TEXT {
            return Err(EnrError::TooLong);
        }
        let encoded = text
            .strip_prefix("enr:")
            .ok_or(EnrError::Prefix)?
            .trim_end_matches('=');
        let record = BASE64URL_NOPAD
            .decode(encoded.as_bytes())
            .map_err(|_| EnrError::Base64)?;
        if record.len() > MAX_RECORD {
            return Err(EnrError::TooLong);
        }
        let mut outer = record.as_slice();
        let mut content = rlp::list(&mut outer).ok_or(EnrError::Encoding)?;
        let signature = rlp::string(&mut content).ok_or(EnrError::Encoding)?;
        if !outer.is_empty() {
            return Err(EnrError::Encoding);
        }
        let signed = digest(content);
        let sequence = rlp::integer(&mut content).ok_or(EnrError::Encoding)?;

        let (mut last_key, mut scheme, mut public_key): (Option<&[u8]>, _, _) = (None, None, None);
        while !content.is_empty() {
            let key = rlp::string(&mut content).ok_or(EnrError::Encoding)?;
            if last_key.is_some_and(|last| last >= key) {
                return Err(EnrError::KeyOrder);
            }
            last_key = Some(key);
            match key {
                b"id" => scheme = Some(rlp::string(&mut content).ok_or(EnrError::Encoding)?),
                b"secp256k1" => public_key = Some(rlp::string(&mut content).ok_or(EnrError::Encoding)?),
                _ => rlp::skip(&mut content).ok_or(EnrError::Encoding)?,
            }
        }
        if scheme != Some(b"v4") {
            return Err(EnrError::Scheme);
        }
        let public_key: [u8; 33] = public_key
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(EnrError::PublicKey)?;
        let public_key = NodePublicKey::from_bytes(&public_key).ok_or(EnrError::PublicKey)?;
        let signature: [u8; 64] = signature.try_into().map_err(|_| EnrError::Signature)?;
        if !public_key.verify(&signed, &signature) {
            return Err(EnrError::Signature);
        }
        Ok(Enr {
            text: text.to_owned(),
            public_key,
            sequence,
        })
    }

    /// The record of a node key as definitions hold it: sequence number 0, no addresses. One key always gives the same
    /// text.
    pub fn create(key: &NodeKey) -> Self {
        let public_key = key.public();
        let mut content = rlp::encode_string(&[]);
        for item in [b"id".as_slice(), b"v4", b"secp256k1", &public_key.to_bytes()] {
            content.extend(rlp::encode_string(item));
        }
        let mut record = rlp::encode_string(&key.sign(&digest(&content)));
        record.extend(content);
        let text = format!("enr:{}", BASE64URL_NOPAD.encode(&rlp::encode_list(&record)));
        Enr {
            text,
            public_key,
            sequence: 0,
        }
    }

    /// The operator's public key.
    pub fn node_public_key(&self) -> &NodePublicKey {
        &self.public_key
    }

    /// The text as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The sequence number; it says nothing in a cluster.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// What a record's signature covers: Keccak-256 of the list without the signature.
fn digest(content: &[u8]) -> Hash {
    Keccak256::digest(rlp::encode_list(content)).into()
}

/// The little of RLP (Ethereum yellow paper, appendix B) that records need. Reading takes the canonical form only; every
/// function takes what it read off the front of its input and gives nothing if the input is anything else.
mod rlp {
    /// The payload of the next item and whether it is a list.
    fn item<'a>(input: &mut &'a [u8]) -> Option<(bool, &'a [u8])> {
        let (&first, rest) = input.split_first()?;
        let (is_list, length, rest) = match first {
            0x00..=0x7f => (false, 1, *input),
            0x80..=0xb7 => (false, usize::from(first - 0x80), rest),
            0xb8..=0xbf => long_length(first - 0xb7, rest).map(|(length, rest)| (false, length, rest))?,
            0xc0..=0xf7 => (true, usize::from(first - 0xc0), rest),
            0xf8..=0xff => long_length(first - 0xf7, rest).map(|(length, rest)| (true, length, rest))?,
        };
        let (payload, rest) = rest.split_at_checked(length)?;
        // One byte below 0x80 is its own encoding.
        if first == 0x81 && payload.first().is_some_and(|&byte| byte < 0x80) {
            return None;
        }
        *input = rest;
        Some((is_list, payload))
    }

    fn long_length(bytes: u8, rest: &[u8]) -> Option<(usize, &[u8])> {
        let (length, rest) = rest.split_at_checked(usize::from(bytes))?;
        if bytes > 4 || length.first() == Some(&0) {
            return None;
        }
        let length = length
            .iter()
            .fold(0_usize, |sum, &byte| sum << 8 | usize::from(byte));
        (length > 55).then_some((length, rest))
    }

    pub(super) fn string<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
        item(input).and_then(|(is_list, payload)| (!is_list).then_some(payload))
    }

    pub(super) fn list<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
        item(input).and_then(|(is_list, payload)| is_list.then_some(payload))
    }

    pub(super) fn skip(input: &mut &[u8]) -> Option<()> {
        item(input).map(|_| ())
    }

    pub(super) fn integer(input: &mut &[u8]) -> Option<u64> {
        let bytes = string(input)?;
        if bytes.len() > 8 || bytes.first() == Some(&0) {
            return None;
        }
        Some(bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    pub(super) fn encode_string(bytes: &[u8]) -> Vec<u8> {
        match bytes {
            [byte] if *byte < 0x80 => vec![*byte],
            _ => encode(0x80, bytes),
        }
    }

    pub(super) fn encode_list(payload: &[u8]) -> Vec<u8> {
        encode(0xc0, payload)
    }

    fn encode(offset: u8, payload: &[u8]) -> Vec<u8> {
        let length = payload.len();
        let mut out = Vec::with_capacity(length + 9);
        if length <= 55 {
            out.push(offset + length.to_le_bytes()[0]);
        } else {
            let bytes: Vec<u8> = length
                .to_be_bytes()
                .into_iter()
                .skip_while(|&byte| byte == 0)
                .collect();
            out.push(offset + 55 + bytes.len().to_le_bytes()[0]);
            out.extend(bytes);
        }
        out.extend_from_slice(payload);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of EIP-778, with addresses.
    const EXAMPLE: &str = "enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5wBgmlkgnY0gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOIN1ZHCCdl8";

    fn key() -> NodeKey {
        NodeKey::from_bytes(&[7; 32]).unwrap()
    }

    fn build(pairs: &[&[u8]]) -> String {
        let key = key();
        let content: Vec<u8> = pairs.iter().flat_map(|item| rlp::encode_string(item)).collect();
        let mut record = rlp::encode_string(&key.sign(&digest(&content)));
        record.extend(content);
        format!("enr:{}", BASE64URL_NOPAD.encode(&rlp::encode_list(&record)))
    }

    #[test]
    fn the_example_of_the_standard_is_read() {
        let enr = Enr::parse(EXAMPLE).unwrap();
        assert_eq!(enr.sequence(), 1);
        assert_eq!(
            hex::encode(enr.node_public_key().to_bytes()),
            "03ca634cae0d49acb401d8a4c6b6fe8c55b70d115bf400769cc1400f3258cd3138"
        );
        assert_eq!(enr.text(), EXAMPLE);
    }

    #[test]
    fn own_records_are_the_same_every_time_and_other_software_reads_them() {
        let enr = Enr::create(&key());
        assert_eq!(enr, Enr::create(&key()));
        assert_eq!(Enr::parse(enr.text()).unwrap(), enr);
        let judged: enr::Enr<enr::k256::ecdsa::SigningKey> = enr.text().parse().unwrap();
        assert_eq!(judged.seq(), 0);
        assert_eq!(judged.iter().count(), 2);
    }

    #[test]
    fn padding_is_tolerated() {
        let enr = Enr::create(&key());
        let padded = format!("{}==", enr.text());
        let read = Enr::parse(&padded).unwrap();
        assert_eq!(read.node_public_key(), enr.node_public_key());
        assert_eq!(read.text(), padded);
    }

    #[test]
    fn every_changed_character_is_noticed() {
        for position in 0..EXAMPLE.len() {
            for replacement in ["A", "B", "-", "9", "!"] {
                let mut text = EXAMPLE.to_owned();
                text.replace_range(position..=position, replacement);
                assert!(text == EXAMPLE || Enr::parse(&text).is_err(), "{text}");
            }
            assert!(Enr::parse(&EXAMPLE[..position]).is_err());
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        let public = key().public().to_bytes();
        let good: [&[u8]; 5] = [&[], b"id", b"v4", b"secp256k1", &public];
        assert_eq!(Enr::parse(&build(&good)).unwrap(), Enr::create(&key()));
        let cases: [(&[&[u8]], EnrError); 9] = [
            (
                &[&[], b"id", b"v4", b"id", b"v4", b"secp256k1", &public],
                EnrError::KeyOrder,
            ),
            (&[&[], b"secp256k1", &public, b"id", b"v4"], EnrError::KeyOrder),
            (&[&[], b"id", b"v5", b"secp256k1", &public], EnrError::Scheme),
            (&[&[], b"secp256k1", &public], EnrError::Scheme),
            (&[&[], b"id", b"v4"], EnrError::PublicKey),
            (
                &[&[], b"id", b"v4", b"secp256k1", &public[..32]],
                EnrError::PublicKey,
            ),
            (
                &[&[], b"id", b"v4", b"secp256k1", &[0xff; 33]],
                EnrError::PublicKey,
            ),
            (
                &[&[0, 1], b"id", b"v4", b"secp256k1", &public],
                EnrError::Encoding,
            ),
            (&[&[], b"id", b"v4", b"secp256k1"], EnrError::Encoding),
        ];
        for (pairs, expected) in cases {
            assert_eq!(Enr::parse(&build(pairs)), Err(expected));
        }
        let long = [
            &[],
            b"id".as_slice(),
            b"v4",
            b"secp256k1",
            &public,
            b"x",
            &[0; 200],
        ];
        assert_eq!(Enr::parse(&build(&long)), Err(EnrError::TooLong));
        assert_eq!(
            Enr::parse(&format!("enr:{}", "A".repeat(1100))),
            Err(EnrError::TooLong)
        );
        assert_eq!(Enr::parse("-IS4"), Err(EnrError::Prefix));
        assert_eq!(Enr::parse("enr:"), Err(EnrError::Encoding));
    }

    #[test]
    fn trailing_bytes_after_the_list_are_refused() {
        let mut record = BASE64URL_NOPAD.decode(&EXAMPLE.as_bytes()[4..]).unwrap();
        record.push(0);
        let text = format!("enr:{}", BASE64URL_NOPAD.encode(&record));
        assert_eq!(Enr::parse(&text), Err(EnrError::Encoding));
    }
}
