//! The node's own frames, the same in every protocol: where operators may be reached, and the goodbye.
//!
//! | Frame | Payload |
//! |---|---|
//! | addresses | per operator, ascending: u16 operator, u8 count, then per address u16 length and the binary multiaddr |
//! | goodbye | nothing |

use libp2p::Multiaddr;

use super::{
    fields::Fields,
    protocol::{Bounds, Dialect, Frame, Protocol, WireError},
};

/// The most addresses of one operator in one message.
pub(super) const MAX_ADDRESSES: usize = 8;
/// The longest binary multiaddr, in bytes (a DNS name has up to 255).
pub(super) const MAX_ADDRESS: usize = 300;

/// Operators, numbered from 1, and where they may be reached.
pub(super) type Known = Vec<(u16, Vec<Multiaddr>)>;

/// A frame as it comes from a peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming<M> {
    Message(M),
    Addresses(Known),
    Bye,
    /// Of a kind that is not known here: newer than this program.
    Unknown,
}

/// The longest payload of a frame with addresses, in bytes.
pub(super) fn longest_addresses(operators: usize) -> usize {
    operators.saturating_mul(3 + MAX_ADDRESSES * (2 + MAX_ADDRESS))
}

/// The frame that tells addresses. What is too long or too much is left out.
pub(super) fn addresses<P: Protocol>(list: &Known) -> Frame {
    let mut payload = Vec::new();
    for (operator, addresses) in list {
        put_addresses(&mut payload, *operator, addresses);
    }
    Frame::new(P::ADDRESSES, &payload, None)
}

/// The frame that says goodbye.
pub(super) fn bye<P: Protocol>() -> Frame {
    Frame::new(P::BYE, &[], None)
}

/// Decodes a payload whose length was judged before.
pub(super) fn decode<P: Protocol>(
    bounds: &Bounds<P>,
    kind: u8,
    payload: &[u8],
) -> Result<Incoming<P::Message>, WireError> {
    let malformed = WireError::Malformed(kind);
    let (fields, payload) = match bounds.dialect {
        Dialect::Fixed => (None, payload),
        Dialect::Growing => {
            let (fields, payload) = Fields::decode(payload).ok_or(malformed)?;
            (Some(fields), payload)
        }
    };
    if kind == P::ADDRESSES {
        return get_addresses(payload).map(Incoming::Addresses).ok_or(malformed);
    }
    if kind == P::BYE {
        return payload.is_empty().then_some(Incoming::Bye).ok_or(malformed);
    }
    let decoded = match fields {
        None => P::decode(&bounds.limits, kind, payload),
        Some(_) if P::payload(&bounds.limits, kind).is_err() => return Ok(Incoming::Unknown),
        Some(fields) => P::decode_growing(&bounds.limits, kind, payload, &fields),
    };
    decoded.map(Incoming::Message)
}

fn put_addresses(out: &mut Vec<u8>, operator: u16, addresses: &[Multiaddr]) {
    let fitting = || {
        addresses
            .iter()
            .filter(|address| address.len() <= MAX_ADDRESS)
            .take(MAX_ADDRESSES)
    };
    out.extend_from_slice(&operator.to_be_bytes());
    out.push(u8::try_from(fitting().count()).unwrap_or(0));
    for address in fitting() {
        out.extend_from_slice(&u16::try_from(address.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(address.as_ref());
    }
}

fn get_addresses(mut rest: &[u8]) -> Option<Vec<(u16, Vec<Multiaddr>)>> {
    let mut list: Vec<(u16, Vec<Multiaddr>)> = Vec::new();
    while !rest.is_empty() {
        let (operator, after) = rest.split_first_chunk()?;
        let operator = u16::from_be_bytes(*operator);
        if operator <= list.last().map_or(0, |(before, _)| *before) {
            return None;
        }
        let (count, after) = after.split_first()?;
        if usize::from(*count) > MAX_ADDRESSES {
            return None;
        }
        rest = after;
        let mut addresses = Vec::with_capacity(usize::from(*count));
        for _ in 0..*count {
            let (length, after) = rest.split_first_chunk()?;
            let length = usize::from(u16::from_be_bytes(*length));
            if length == 0 || length > MAX_ADDRESS {
                return None;
            }
            let (address, after) = after.split_at_checked(length)?;
            addresses.push(Multiaddr::try_from(address.to_vec()).ok()?);
            rest = after;
        }
        list.push((operator, addresses));
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;
    use crate::{protocol::HEADER, sample::Sample};

    const BOUNDS: Bounds<Sample> = Bounds {
        operators: 64,
        limits: (),
        dialect: Dialect::Fixed,
    };

    fn reread(kind: u8, payload: &[u8]) -> Option<Known> {
        match decode(&BOUNDS, kind, payload) {
            Ok(Incoming::Addresses(list)) => Some(list),
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert_eq!(error, WireError::Malformed(kind));
                None
            }
        }
    }

    fn address() -> impl Strategy<Value = Multiaddr> {
        prop_oneof![
            (any::<[u8; 4]>(), any::<u16>())
                .prop_map(|(ip, port)| format!("/ip4/{}/tcp/{port}", std::net::Ipv4Addr::from(ip))),
            (any::<[u8; 16]>(), any::<u16>())
                .prop_map(|(ip, port)| format!("/ip6/{}/udp/{port}/quic-v1", std::net::Ipv6Addr::from(ip))),
            "[a-z]{1,60}".prop_map(|name| format!("/dns4/{name}.example/tcp/9000")),
        ]
        .prop_map(|text| text.parse().expect("a multiaddr"))
    }

    proptest! {
        #[test]
        fn addresses_survive_the_wire(
            map in collection::btree_map(1u16..=64, collection::vec(address(), 0..=MAX_ADDRESSES), 0..6),
            extra in any::<u8>(),
        ) {
            let list: Known = map.into_iter().collect();
            let mut frame = addresses::<Sample>(&list).head;
            prop_assert!(frame.len() - HEADER <= longest_addresses(64));
            prop_assert_eq!(frame[4], 11);
            prop_assert_eq!(reread(11, &frame[HEADER..]), Some(list));
            frame.push(extra);
            prop_assert_eq!(reread(11, &frame[HEADER..]), None);
        }

        #[test]
        fn what_decodes_is_what_would_have_been_written(payload in collection::vec(any::<u8>(), 0..200)) {
            if let Some(list) = reread(11, &payload) {
                prop_assert_eq!(&addresses::<Sample>(&list).head[HEADER..], &payload[..]);
            }
        }
    }

    #[test]
    fn hostile_lists_are_refused() {
        let twice = [0, 2, 0, 0, 2, 0];
        for bad in [
            &[0, 1, 1, 0, 0][..],
            &[0, 1, 255],
            &[0, 2, 0, 0, 1, 0],
            &[0, 0, 0],
            &twice,
            &[0],
        ] {
            assert_eq!(reread(11, bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_goodbye_is_empty() {
        assert_eq!(bye::<Sample>().head, [0, 0, 0, 1, 12]);
        assert!(matches!(decode(&BOUNDS, 12, &[]), Ok(Incoming::Bye)));
        assert!(decode(&BOUNDS, 12, &[0]).is_err());
    }
}
