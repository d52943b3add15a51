//! The messages of running nodes as frames of the network node.

use libp2p::StreamProtocol;

use crate::wire::{Limits, Message};
use conclave_net::{
    fields::Fields,
    protocol::{Frame, Protocol, RUN, WireError},
};

/// What may wait for one operator: a few blocks with their blobs.
const QUEUE: usize = 96 << 20;

/// Validation: version 1, and version 2, whose messages can grow.
#[derive(Debug, Clone, Copy)]
pub struct Run;

impl Protocol for Run {
    const STREAM: StreamProtocol = StreamProtocol::new(RUN.fixed);
    const GROWING: Option<StreamProtocol> = Some(StreamProtocol::new(RUN.growing));

    type Message = Message;
    type Limits = Limits;

    fn payload(limits: &Limits, kind: u8) -> Result<usize, WireError> {
        limits.payload(kind).ok_or(WireError::Kind(kind))
    }

    fn queue(_: &Limits) -> usize {
        QUEUE
    }

    fn encode(message: &Message) -> Frame {
        let (kind, payload, body) = message.parts();
        Frame::new(kind, &payload, body)
    }

    fn decode(_: &Limits, kind: u8, payload: &[u8]) -> Result<Message, WireError> {
        Message::decode(kind, payload).ok_or(WireError::Malformed(kind))
    }

    fn fields(message: &Message) -> Fields {
        message.fields()
    }

    fn decode_growing(_: &Limits, kind: u8, payload: &[u8], fields: &Fields) -> Result<Message, WireError> {
        Message::decode_growing(kind, payload, fields).ok_or(WireError::Malformed(kind))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn blobs_are_shared_with_their_frame_and_read_as_they_were() {
        let bytes: Arc<[u8]> = vec![7; 100_000].into();
        let message = Message::Contents {
            slot: 9,
            root: [3; 32],
            bytes: bytes.clone(),
        };
        let frame = Run::encode(&message);
        assert!(Arc::ptr_eq(frame.body.as_ref().unwrap(), &bytes));
        let (kind, payload) = message.encode();
        assert_eq!((kind, payload.len()), (5, 40 + bytes.len()));
        assert_eq!([&frame.head[5..], &bytes].concat(), payload);
        let limits = Limits { validators: 1 };
        assert_eq!(Run::decode(&limits, kind, &payload).unwrap(), message);
    }
}
