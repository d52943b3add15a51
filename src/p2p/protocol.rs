//! What one node needs to know of the messages that it carries: how the streams are called, how messages become
//! frames, and how long a frame may be.
//!
//! A frame is `u32 length || u8 kind || payload`; the length counts kind and payload and is big-endian. Two kinds of
//! every protocol are the node's own (see `courtesy`): where operators may be reached, and the goodbye.

use std::{sync::Arc, time::Duration};

use libp2p::StreamProtocol;

use super::courtesy;

/// Bytes before the payload of a frame: length and kind.
pub const HEADER: usize = 5;

/// A body that several frames share without copying it.
pub type Bytes = Arc<[u8]>;

/// Messages of one kind of conversation between operators.
///
/// Nobody speaks two protocols on one stream, and a node speaks one.
pub trait Protocol: 'static {
    /// Name and version of the streams.
    const STREAM: StreamProtocol;
    /// The kind of the node's own frames that tell addresses.
    const ADDRESSES: u8 = 254;
    /// The kind of the node's own frame that says goodbye.
    const BYE: u8 = 255;
    /// How often round trips are measured. Who does not answer for 15 seconds is gone.
    const PING: Duration = Duration::from_secs(10);

    /// What is said.
    type Message: Send + 'static;
    /// What bounds the frames, fixed before the first byte is read.
    type Limits: Clone + Send + Sync + 'static;

    /// The longest payload (bytes after the kind) of a kind of message.
    ///
    /// # Errors
    /// [`WireError::Kind`] when there is no such kind.
    fn payload(limits: &Self::Limits, kind: u8) -> Result<usize, WireError>;

    /// How many bytes may be queued for one operator. Who is sent more before it takes anything is disconnected.
    fn queue(limits: &Self::Limits) -> usize;

    /// Encodes a message as one frame.
    fn encode(message: &Self::Message) -> Frame;

    /// Decodes the payload of a frame of this kind; every byte must belong to the message.
    ///
    /// # Errors
    /// [`WireError`] for anything that [`Protocol::encode`] would not have written.
    fn decode(limits: &Self::Limits, kind: u8, payload: &[u8]) -> Result<Self::Message, WireError>;
}

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// There is no such kind of message.
    #[error("a message of the unknown kind {0}")]
    Kind(u8),
    /// The payload is longer than the kind allows.
    #[error("a message of kind {kind} with {length} bytes, where at most {limit} are allowed")]
    TooLong {
        /// The kind.
        kind: u8,
        /// The announced length in bytes, kind included.
        length: usize,
        /// What is allowed, kind included.
        limit: usize,
    },
    /// The payload's length or content is not that of its kind.
    #[error("a malformed message of kind {0}")]
    Malformed(u8),
}

/// A frame ready to be written. Large bodies are shared with their owner, not copied.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Length, kind and whatever is not in the body.
    pub head: Vec<u8>,
    /// The rest, where there is any.
    pub body: Option<Bytes>,
}

impl Frame {
    /// A frame of this kind: the head's part of the payload, and the body.
    pub fn new(kind: u8, payload: &[u8], body: Option<Bytes>) -> Self {
        let length = 1 + payload.len() + body.as_ref().map_or(0, |body| body.len());
        let mut head = Vec::with_capacity(HEADER + payload.len());
        head.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        head.push(kind);
        head.extend_from_slice(payload);
        Self { head, body }
    }

    /// The frame's length in bytes.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.as_ref().map_or(0, |body| body.len())
    }

    /// Never: a frame has at least a header.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// How long frames may be in a group of so many operators, the node's own included.
#[derive(Debug)]
pub(super) struct Bounds<P: Protocol> {
    pub(super) operators: usize,
    pub(super) limits: P::Limits,
}

impl<P: Protocol> Clone for Bounds<P> {
    fn clone(&self) -> Self {
        Self {
            operators: self.operators,
            limits: self.limits.clone(),
        }
    }
}

impl<P: Protocol> Bounds<P> {
    /// Checks the five bytes before a payload and gives the kind and the payload's length.
    pub(super) fn header(&self, header: [u8; HEADER]) -> Result<(u8, usize), WireError> {
        let [a, b, c, d, kind] = header;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let limit = if kind == P::ADDRESSES {
            courtesy::longest_addresses(self.operators)
        } else if kind == P::BYE {
            0
        } else {
            P::payload(&self.limits, kind)?
        }
        .saturating_add(1);
        if length > limit {
            return Err(WireError::TooLong { kind, length, limit });
        }
        let payload = length.checked_sub(1).ok_or(WireError::Malformed(kind))?;
        Ok((kind, payload))
    }
}
