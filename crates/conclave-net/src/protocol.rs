//! What one node needs to know of the messages that it carries: how the streams are called, how messages become
//! frames, and how long a frame may be.
//!
//! A frame is `u32 length || u8 kind || payload`; the length counts kind and payload and is big-endian. Two kinds of
//! every protocol are the node's own (see `courtesy`): where operators may be reached, and the goodbye.
//!
//! There are two dialects. In the *fixed* one every byte has its meaning, and nothing else is taken. In the *growing* one
//! payloads begin with [`Fields`], and unknown fields and unknown kinds of messages are passed over. It is offered first,
//! and the fixed one is spoken with programs that do not know it.

use std::{sync::Arc, time::Duration};

use libp2p::StreamProtocol;

use super::{
    courtesy,
    fields::{Fields, MAX_FIELDS},
};

/// Bytes before the payload of a frame: length and kind.
pub const HEADER: usize = 5;

/// The longest payload of a frame of an unknown kind, which is read and passed over.
pub const MAX_UNKNOWN: usize = 64 << 10;

/// A body that several frames share without copying it.
pub type Bytes = Arc<[u8]>;

/// Messages of one kind of conversation between operators.
///
/// Nobody speaks two protocols on one stream, and a node speaks one.
pub trait Protocol: 'static {
    /// Name and version of the streams with fixed frames.
    const STREAM: StreamProtocol;
    /// Those whose frames can grow, if there are any: they are offered first.
    const GROWING: Option<StreamProtocol> = None;
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

    /// What a message says beside its payload to those who understand fields.
    fn fields(_: &Self::Message) -> Fields {
        Fields::default()
    }

    /// Decodes a frame with fields. What is not known in it may be new, and is passed over.
    ///
    /// # Errors
    /// [`WireError`] for what no program writes, not even a newer one.
    fn decode_growing(
        limits: &Self::Limits,
        kind: u8,
        payload: &[u8],
        _: &Fields,
    ) -> Result<Self::Message, WireError> {
        Self::decode(limits, kind, payload)
    }
}

/// How the streams of one protocol are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamNames {
    /// Name and version of those with fixed frames.
    pub fixed: &'static str,
    /// Of those whose frames can grow.
    pub growing: &'static str,
}

/// A ceremony's journals.
pub const JOURNAL: StreamNames = StreamNames {
    fixed: "/conclave/journal/1",
    growing: "/conclave/journal/2",
};

/// Validation.
pub const RUN: StreamNames = StreamNames {
    fixed: "/conclave/run/1",
    growing: "/conclave/run/2",
};

impl StreamNames {
    /// Whether one of these names of protocols, which somebody speaks, is of this protocol, in any version: a later one is not known here.
    pub fn is_one_of(&self, speaks: &[String]) -> bool {
        let Some((name, _)) = self.fixed.rsplit_once('/') else {
            return false;
        };
        let is_one = |id: &String| id.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
        speaks.iter().any(is_one)
    }
}

/// How the frames of a stream are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Every byte has its meaning.
    Fixed,
    /// With fields; what is unknown is passed over.
    Growing,
}

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// There is no such kind of message.
    #[error(
        "it sent a message of a kind that there is not ({0}): it is another version of conclave, or another program"
    )]
    Kind(u8),
    /// The payload is longer than the kind allows.
    #[error(
        "it sent a message (kind {kind}) of {length} bytes, and such a message has {limit} at most: its program is another one, or damaged"
    )]
    TooLong {
        /// The kind.
        kind: u8,
        /// The announced length in bytes, kind included.
        length: usize,
        /// What is allowed, kind included.
        limit: usize,
    },
    /// The payload's length or content is not that of its kind.
    #[error(
        "it sent a message (kind {0}) that cannot be read: it is another version of conclave, or its program is damaged"
    )]
    Malformed(u8),
}

/// A frame ready to be written. Large bodies are shared with their owner, not copied.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Length, kind and whatever is not in the body, as they are in the fixed dialect.
    pub head: Vec<u8>,
    /// What goes between kind and payload in the growing one.
    pub(super) fields: Vec<u8>,
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
        Self {
            head,
            fields: Fields::default().encode(),
            body,
        }
    }

    /// With these fields, for those who understand them.
    #[must_use]
    pub fn with_fields(mut self, fields: &Fields) -> Self {
        self.fields = fields.encode();
        self
    }

    /// Length and kind in a dialect.
    pub(super) fn header(&self, dialect: Dialect) -> [u8; HEADER] {
        let fields = match dialect {
            Dialect::Fixed => 0,
            Dialect::Growing => self.fields.len(),
        };
        let body = self.body.as_ref().map_or(0, |body| body.len());
        let length = (self.head.len() + fields + body).saturating_sub(4);
        let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        [a, b, c, d, self.head.get(4).copied().unwrap_or_default()]
    }

    /// What follows them in a dialect, in order. Nothing is copied: a frame is shared by all to whom it is written.
    pub(super) fn rest(&self, dialect: Dialect) -> [&[u8]; 3] {
        let fields: &[u8] = match dialect {
            Dialect::Fixed => &[],
            Dialect::Growing => &self.fields,
        };
        let payload = self.head.get(HEADER..).unwrap_or_default();
        [fields, payload, self.body.as_deref().unwrap_or_default()]
    }

    /// The frame's length in bytes, fields included.
    pub fn len(&self) -> usize {
        self.head.len() + self.fields.len() + self.body.as_ref().map_or(0, |body| body.len())
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
    pub(super) dialect: Dialect,
}

impl<P: Protocol> Clone for Bounds<P> {
    fn clone(&self) -> Self {
        Self {
            operators: self.operators,
            limits: self.limits.clone(),
            dialect: self.dialect,
        }
    }
}

impl<P: Protocol> Bounds<P> {
    /// Checks the five bytes before a payload and gives the kind and the payload's length.
    pub(super) fn header(&self, header: [u8; HEADER]) -> Result<(u8, usize), WireError> {
        let [a, b, c, d, kind] = header;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let growing = self.dialect == Dialect::Growing;
        let known = if kind == P::ADDRESSES {
            courtesy::longest_addresses(self.operators)
        } else if kind == P::BYE {
            0
        } else {
            match P::payload(&self.limits, kind) {
                Err(WireError::Kind(_)) if growing => MAX_UNKNOWN,
                other => other?,
            }
        };
        let fields = if growing { 2 + MAX_FIELDS } else { 0 };
        let limit = known.saturating_add(fields).saturating_add(1);
        if length > limit {
            return Err(WireError::TooLong { kind, length, limit });
        }
        let payload = length.checked_sub(1).ok_or(WireError::Malformed(kind))?;
        Ok((kind, payload))
    }
}
