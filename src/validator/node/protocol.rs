//! The messages of running nodes as frames of the network node.

use libp2p::StreamProtocol;

use crate::{
    p2p::protocol::{Frame, Protocol, WireError},
    validator::wire::{Limits, Message},
};

/// What may wait for one operator: a few blocks with their blobs.
const QUEUE: usize = 96 << 20;

/// Validation, version 1.
pub struct Run;

impl Protocol for Run {
    const STREAM: StreamProtocol = StreamProtocol::new("/conclave/run/1");

    type Message = Message;
    type Limits = Limits;

    fn payload(limits: &Limits, kind: u8) -> Result<usize, WireError> {
        limits.payload(kind).ok_or(WireError::Kind(kind))
    }

    fn queue(_: &Limits) -> usize {
        QUEUE
    }

    fn encode(message: &Message) -> Frame {
        let (kind, payload) = message.encode();
        Frame::new(kind, &payload, None)
    }

    fn decode(_: &Limits, kind: u8, payload: &[u8]) -> Result<Message, WireError> {
        Message::decode(kind, payload).ok_or(WireError::Malformed(kind))
    }
}
