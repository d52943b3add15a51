//! A conversation for tests: notes of any bytes, and lists of numbers.

use libp2p::StreamProtocol;

use super::protocol::{Bytes, Frame, Protocol, WireError};

/// The longest note in bytes.
const MAX_NOTE: usize = 8 << 20;
/// The most numbers in a list.
const MAX_NUMBERS: usize = 64;

/// The conversation.
#[derive(Debug)]
pub(crate) struct Sample;

/// What is said in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// Kind 2.
    Note(Bytes),
    /// Kind 10: ascending or not.
    Numbers(Vec<u16>),
}

impl Message {
    pub(crate) fn frame(&self) -> Frame {
        Sample::encode(self)
    }
}

impl Protocol for Sample {
    const STREAM: StreamProtocol = StreamProtocol::new("/conclave/sample/1");
    const GROWING: Option<StreamProtocol> = Some(StreamProtocol::new("/conclave/sample/2"));
    const ADDRESSES: u8 = 11;
    const BYE: u8 = 12;

    type Message = Message;
    type Limits = ();

    fn payload((): &(), kind: u8) -> Result<usize, WireError> {
        match kind {
            2 => Ok(MAX_NOTE),
            10 => Ok(2 * MAX_NUMBERS),
            other => Err(WireError::Kind(other)),
        }
    }

    fn queue((): &()) -> usize {
        2 * MAX_NOTE
    }

    fn encode(message: &Message) -> Frame {
        match message {
            Message::Note(bytes) => Frame::new(2, &[], Some(bytes.clone())),
            Message::Numbers(numbers) => {
                let payload: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
                Frame::new(10, &payload, None)
            }
        }
    }

    fn decode((): &(), kind: u8, payload: &[u8]) -> Result<Message, WireError> {
        match kind {
            2 => Ok(Message::Note(payload.into())),
            10 => {
                let (numbers, rest) = payload.as_chunks();
                if rest.is_empty() {
                    Ok(Message::Numbers(
                        numbers.iter().map(|two| u16::from_be_bytes(*two)).collect(),
                    ))
                } else {
                    Err(WireError::Malformed(kind))
                }
            }
            other => Err(WireError::Kind(other)),
        }
    }
}
