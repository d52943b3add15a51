//! Frames on a stream: nothing is read that is too long, and nobody may be slower than a trickle.

use std::{io, time::Duration};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::{
    courtesy::{self, Incoming},
    protocol::{Bounds, Dialect, Frame, HEADER, Protocol, WireError},
};

/// A frame that has begun must grow by a [`STRIDE`], or end, within this time.
const PROGRESS: Duration = Duration::from_secs(30);
/// The same for writing: longer, because a peer that is busy with cryptography takes nothing for a while.
const PATIENCE: Duration = Duration::from_secs(600);
/// Bytes that are read or written, and memory that is taken, at a time.
const STRIDE: usize = 64 << 10;
/// A part of a frame that is written together with others.
const SHORT: usize = 4 << 10;

/// Why reading stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream ended or broke: nobody's fault.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer sent what no correct peer sends.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A frame did not get on.
    #[error("its message came so slowly that it was not waited for")]
    Trickle,
}

/// Reads one frame: what it says, and its length in bytes. `Ok(None)` is the end of the stream between two frames.
///
/// Memory grows with the bytes that arrive, never with the length that is announced.
pub(super) async fn read<P: Protocol, R: AsyncRead + Unpin>(
    reader: &mut R,
    bounds: &Bounds<P>,
    progress: Duration,
) -> Result<Option<(Incoming<P::Message>, usize)>, FrameError> {
    let mut header = [0; HEADER];
    let (first, rest) = header.split_at_mut(1);
    if reader.read(first).await? == 0 {
        return Ok(None);
    }
    within(progress, reader.read_exact(rest)).await?;
    let (kind, length) = bounds.header(header)?;
    let mut payload = Vec::new();
    while payload.len() < length {
        let start = payload.len();
        payload.resize(length.min(start + STRIDE), 0);
        let chunk = payload.get_mut(start..).unwrap_or_default();
        within(progress, reader.read_exact(chunk)).await?;
    }
    let incoming = courtesy::decode(bounds, kind, &payload)?;
    Ok(Some((incoming, HEADER + length)))
}

/// Reads one frame with the usual patience.
pub(super) async fn read_patiently<P: Protocol, R: AsyncRead + Unpin>(
    reader: &mut R,
    bounds: &Bounds<P>,
) -> Result<Option<(Incoming<P::Message>, usize)>, FrameError> {
    read(reader, bounds, PROGRESS).await
}

/// Writes one frame and flushes it.
pub(super) async fn write<W: AsyncWrite + Unpin>(
    writer: &mut W,
    frame: &Frame,
    dialect: Dialect,
) -> io::Result<()> {
    // What is short goes together; what is long is not copied.
    let mut short = frame.header(dialect).to_vec();
    for part in frame.rest(dialect) {
        if part.len() <= SHORT {
            short.extend_from_slice(part);
            continue;
        }
        patiently(writer.write_all(&std::mem::take(&mut short))).await?;
        for chunk in part.chunks(STRIDE) {
            patiently(writer.write_all(chunk)).await?;
        }
    }
    patiently(writer.write_all(&short)).await?;
    patiently(writer.flush()).await
}

async fn patiently(step: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    timeout(PATIENCE, step)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn within(progress: Duration, step: impl Future<Output = io::Result<()>>) -> Result<(), FrameError> {
    match timeout(progress, step).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(FrameError::Trickle),
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;
    use crate::protocol::Bytes;
    use crate::sample::{Message, Sample};
    use crate::{
        fields::{Fields, MAX_FIELDS},
        protocol::MAX_UNKNOWN,
    };

    const BOUNDS: Bounds<Sample> = Bounds {
        operators: 4,
        limits: (),
        dialect: Dialect::Fixed,
    };

    const GROWING: Bounds<Sample> = Bounds {
        dialect: Dialect::Growing,
        ..BOUNDS
    };

    fn bytes(message: &Message) -> Vec<u8> {
        let frame = message.frame();
        let mut bytes = frame.head;
        bytes.extend_from_slice(frame.body.as_deref().unwrap_or_default());
        bytes
    }

    #[tokio::test]
    async fn frames_follow_each_other() {
        for (bounds, more) in [(BOUNDS, 0), (GROWING, 2)] {
            frames_follow(&bounds, more).await;
        }
    }

    async fn frames_follow(bounds: &Bounds<Sample>, more: usize) {
        let large = Message::Note(Bytes::from(vec![7; 300_000]));
        let mut stream = Vec::new();
        let links = Message::Numbers(vec![1, 2]);
        let said = [
            (Incoming::Bye, courtesy::bye::<Sample>()),
            (Incoming::Message(large.clone()), large.frame()),
            (Incoming::Message(links.clone()), links.frame()),
        ];
        for (_, frame) in &said {
            write(&mut stream, frame, bounds.dialect).await.expect("a vector");
        }
        let mut reader = Cursor::new(stream);
        for (incoming, frame) in said {
            assert_eq!(
                read_patiently(&mut reader, bounds).await.expect("a frame"),
                Some((incoming, HEADER + more + payload_of(&frame)))
            );
        }
        assert!(
            read_patiently(&mut reader, bounds)
                .await
                .expect("the end")
                .is_none()
        );
    }

    fn payload_of(frame: &Frame) -> usize {
        frame.head.len() - HEADER + frame.body.as_ref().map_or(0, |body| body.len())
    }

    /// What a newer program may send: it is passed over, within bounds; an older stream takes none of it.
    #[tokio::test]
    async fn what_is_new_is_passed_over_where_frames_can_grow() {
        let links = Message::Numbers(vec![1, 2]);
        let fields = Fields::default().with(9, b"of a later version");
        let with_field = links.frame().with_fields(&fields);
        let new_kind = Frame::new(200, &[7; 5000], None).with_fields(&fields);
        let mut stream = Vec::new();
        for frame in [&new_kind, &with_field, &new_kind] {
            write(&mut stream, frame, Dialect::Growing)
                .await
                .expect("a vector");
        }
        let mut reader = Cursor::new(stream.clone());
        let mut read = Vec::new();
        while let Some((incoming, _)) = read_patiently(&mut reader, &GROWING).await.expect("frames") {
            read.push(incoming);
        }
        assert_eq!(
            read,
            [Incoming::Unknown, Incoming::Message(links), Incoming::Unknown]
        );
        let mut reader = Cursor::new(stream);
        assert!(matches!(
            read_patiently(&mut reader, &BOUNDS).await,
            Err(FrameError::Wire(WireError::Kind(200)))
        ));
        // To an older program nothing of it goes.
        let mut stream = Vec::new();
        write(&mut stream, &with_field, Dialect::Fixed)
            .await
            .expect("a vector");
        assert_eq!(stream, bytes(&Message::Numbers(vec![1, 2])));

        // Whatever is unknown has its bound, and what is no list of fields is a fault.
        let too_long = u32::try_from(MAX_UNKNOWN + 2 + MAX_FIELDS + 2)
            .expect("small")
            .to_be_bytes();
        let mut reader = Cursor::new([&too_long[..], &[200]].concat());
        assert!(matches!(
            read_patiently(&mut reader, &GROWING).await,
            Err(FrameError::Wire(WireError::TooLong { .. }))
        ));
        for payload in [&[][..], &[0], &[0, 1], &[255, 255, 1], &[0, 3, 5, 0, 9]] {
            for kind in [10, 11, 12, 200] {
                let mut frame = Frame::new(kind, payload, None);
                frame.fields.clear();
                let mut stream = Vec::new();
                write(&mut stream, &frame, Dialect::Growing)
                    .await
                    .expect("a vector");
                let mut reader = Cursor::new(stream);
                let read = read_patiently(&mut reader, &GROWING).await;
                assert!(
                    matches!(read, Err(FrameError::Wire(WireError::Malformed(found))) if found == kind),
                    "{payload:?} {read:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_cut_frame_is_an_error() {
        let whole = bytes(&Message::Note(Bytes::from(vec![7; 200_000])));
        for length in [1, 4, 5, 6, 70_000, whole.len() - 1] {
            let mut reader = Cursor::new(&whole[..length]);
            assert!(
                matches!(read_patiently(&mut reader, &BOUNDS).await, Err(FrameError::Io(_))),
                "{length}"
            );
        }
    }

    #[tokio::test]
    async fn an_oversized_frame_is_refused_unread() {
        let mut stream = u32::MAX.to_be_bytes().to_vec();
        stream.extend_from_slice(&[2, 9, 9, 9]);
        let mut reader = Cursor::new(stream);
        assert!(matches!(
            read_patiently(&mut reader, &BOUNDS).await,
            Err(FrameError::Wire(_))
        ));
        assert_eq!(reader.position(), HEADER as u64);
    }

    #[tokio::test]
    async fn a_trickle_runs_dry() {
        let (mut near, far) = tokio::io::duplex(1 << 20);
        let writer = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            let frame = bytes(&Message::Note(Bytes::from(vec![7; 200_000])));
            for byte in frame {
                if near.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let mut reader = Compat(far);
        let result = read(&mut reader, &BOUNDS, Duration::from_millis(60)).await;
        assert!(matches!(result, Err(FrameError::Trickle)), "{result:?}");
        writer.abort();
    }

    /// Where in memory the bytes are that it is given.
    struct Places(Vec<std::ops::Range<*const u8>>);

    impl AsyncWrite for Places {
        fn poll_write(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            bytes: &[u8],
        ) -> std::task::Poll<io::Result<usize>> {
            self.0.push(bytes.as_ptr_range());
            std::task::Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn poll_close(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn whoever_a_frame_is_written_to_it_is_not_copied() {
        let fields = Fields::default().with(9, &[1; 3000]);
        let body = Bytes::from(vec![7; 300_000]);
        let frame = Frame::new(5, &vec![8; 200_000], Some(body.clone())).with_fields(&fields);
        for dialect in [Dialect::Fixed, Dialect::Growing] {
            let mut places = Places(Vec::new());
            write(&mut places, &frame, dialect).await.expect("it takes all");
            let owned = [&frame.head[..], &frame.fields, &body].map(<[u8]>::as_ptr_range);
            let is_shared = |place: &&std::ops::Range<*const u8>| {
                let within =
                    |one: &std::ops::Range<*const u8>| one.start <= place.start && place.end <= one.end;
                owned.iter().any(within)
            };
            let copied: Vec<usize> = places
                .0
                .iter()
                .filter(|place| !is_shared(place))
                .map(|place| place.end.addr() - place.start.addr())
                .collect();
            let fields = if dialect == Dialect::Fixed {
                0
            } else {
                frame.fields.len()
            };
            assert_eq!(copied, [HEADER + fields], "{dialect:?}");
        }
    }

    /// tokio's half of a pipe as the kind of stream that libp2p has.
    struct Compat(tokio::io::DuplexStream);

    impl AsyncRead for Compat {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            buffer: &mut [u8],
        ) -> std::task::Poll<io::Result<usize>> {
            let mut buffer = tokio::io::ReadBuf::new(buffer);
            let read = tokio::io::AsyncRead::poll_read(std::pin::Pin::new(&mut self.0), cx, &mut buffer);
            read.map_ok(|()| buffer.filled().len())
        }
    }
}
