//! One stream while it lives: reads messages to the caller, writes what is queued, says how it ended.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use libp2p::Stream;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    courtesy::{self, Incoming, Known},
    events::{Event, EventSender, Reason},
    frame::{self, FrameError},
    protocol::{Bounds, Frame, Protocol},
};
use conclave_eth::text::of_connection;

/// At most so many bytes of one peer's messages wait for the caller, unless a single one is larger.
const UNREAD: usize = 4 << 20;
/// A peer may send so many bytes of messages of unknown kinds in [`UNKNOWN_WITHIN`]: they are read for nothing. A newer program
/// that has much to say asks first whether it is understood.
const UNKNOWN: usize = 1 << 20;
/// See [`UNKNOWN`].
const UNKNOWN_WITHIN: Duration = Duration::from_secs(60);
/// A session that ends in good order waits so long for the other side to have taken everything.
const FAREWELL: Duration = Duration::from_secs(3);

/// What sessions tell the node.
#[derive(Debug)]
pub(super) enum Report {
    /// The peer told where operators may be reached.
    Addresses(u16, Known),
    /// The session is over, and the caller has been told.
    Ended(u16, u64, Reason),
}

/// The node's end of a session.
#[derive(Debug)]
pub(super) struct Outgoing {
    frames: mpsc::UnboundedSender<Arc<Frame>>,
    queued: Arc<AtomicUsize>,
    limit: usize,
    stop: Option<oneshot::Sender<Reason>>,
}

impl Outgoing {
    /// Queues a frame. False if the peer takes so little that the queue is full.
    pub(super) fn send(&self, frame: Arc<Frame>) -> bool {
        let length = frame.len();
        if self.queued.fetch_add(length, Ordering::Relaxed) + length > self.limit {
            return false;
        }
        // The session may have ended just now; then nobody misses the message.
        let _ = self.frames.send(frame);
        true
    }

    /// Ends the session at once.
    pub(super) fn stop(&mut self, reason: Reason) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(reason);
        }
    }

    /// Whether [`Outgoing::stop`] was called.
    pub(super) fn stopped(&self) -> bool {
        self.stop.is_none()
    }
}

/// The session's own end.
pub(super) struct Ends {
    frames: mpsc::UnboundedReceiver<Arc<Frame>>,
    queued: Arc<AtomicUsize>,
    stop: oneshot::Receiver<Reason>,
}

/// The queue between node and session, for so many bytes.
pub(super) fn queue(limit: usize) -> (Outgoing, Ends) {
    let (frames, receiver) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel();
    let queued = Arc::new(AtomicUsize::new(0));
    let outgoing = Outgoing {
        frames,
        queued: queued.clone(),
        limit,
        stop: Some(stop),
    };
    (
        outgoing,
        Ends {
            frames: receiver,
            queued,
            stop: stopped,
        },
    )
}

/// Whose stream it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who {
    pub(super) operator: u16,
    /// The session's number in this node.
    pub(super) number: u64,
    /// The operator who passes everything on, if there is one.
    pub(super) through: Option<u16>,
}

/// What a peer has sent of unknown kinds.
#[derive(Debug)]
struct Unknown {
    since: Instant,
    bytes: usize,
}

impl Unknown {
    fn new(now: Instant) -> Self {
        Self { since: now, bytes: 0 }
    }

    /// Counts a frame; false if it is too much.
    fn take(&mut self, now: Instant, length: usize) -> bool {
        if now.duration_since(self.since) >= UNKNOWN_WITHIN {
            *self = Self::new(now);
        }
        self.bytes = self.bytes.saturating_add(length);
        self.bytes <= UNKNOWN
    }
}

/// Lives as long as the stream. The caller hears of the beginning first and of the end last; dropping the
/// [`Outgoing`] ends it after everything queued was taken by the other side.
pub(super) async fn run<P: Protocol>(
    who: Who,
    stream: Stream,
    bounds: Bounds<P>,
    ends: Ends,
    events: EventSender<P::Message>,
    reports: mpsc::Sender<Report>,
) {
    let Who {
        operator,
        number,
        through,
    } = who;
    let path = Event::Path { operator, through };
    let reason = if events.connected(operator, number).await && events.send(path, None).await {
        let (mut reader, mut writer) = stream.split();
        let Ends {
            mut frames,
            queued,
            stop,
        } = ends;
        let reading = async {
            let unread = Arc::new(Semaphore::new(UNREAD));
            let mut unknown = Unknown::new(Instant::now());
            loop {
                let (incoming, length) = match frame::read_patiently(&mut reader, &bounds).await {
                    Ok(Some(read)) => read,
                    Ok(None) => return Reason::Lost("the connection was closed".into()),
                    Err(FrameError::Io(error)) => return Reason::Lost(of_connection(&error)),
                    Err(fault) => return Reason::Fault(fault.to_string()),
                };
                let taken = match incoming {
                    Incoming::Bye => return Reason::Left,
                    Incoming::Unknown if unknown.take(Instant::now(), length) => true,
                    Incoming::Unknown => {
                        return Reason::Fault("it sent more messages of kinds that this version does not know than any version sends".into());
                    }
                    Incoming::Addresses(list) => {
                        reports.send(Report::Addresses(operator, list)).await.is_ok()
                    }
                    Incoming::Message(message) => {
                        let size = length.min(UNREAD);
                        let permit = unread
                            .clone()
                            .acquire_many_owned(u32::try_from(size).unwrap_or(1))
                            .await;
                        events
                            .send(Event::Message { operator, message }, permit.ok())
                            .await
                    }
                };
                if !taken {
                    return Reason::Stopped;
                }
            }
        };
        let writing = async {
            while let Some(frame) = frames.recv().await {
                if let Err(error) = frame::write(&mut writer, &frame, bounds.dialect).await {
                    return Reason::Lost(of_connection(&error));
                }
                queued.fetch_sub(frame.len(), Ordering::Relaxed);
            }
            // The other side closes its half when it has read everything; then `reading` ends.
            let _ = frame::write(&mut writer, &courtesy::bye::<P>(), bounds.dialect).await;
            let _ = writer.close().await;
            tokio::time::sleep(FAREWELL).await;
            Reason::Stopped
        };
        let stopping = stop.then(|reason| async {
            match reason {
                Ok(reason) => reason,
                Err(_) => std::future::pending().await,
            }
        });
        tokio::select! {
            biased;
            reason = stopping => reason,
            reason = reading => reason,
            reason = writing => reason,
        }
    } else {
        Reason::Stopped
    };
    events
        .send(
            Event::Disconnected {
                operator,
                reason: reason.clone(),
            },
            None,
        )
        .await;
    let _ = reports.send(Report::Ended(operator, number, reason)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_bounded_in_each_minute() {
        let begun = Instant::now();
        let mut unknown = Unknown::new(begun);
        let half = UNKNOWN / 2;
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert!(unknown.take(at(0), half) && unknown.take(at(59), half));
        assert!(!unknown.take(at(59), 1));
        assert!(unknown.take(at(60), half) && unknown.take(at(60), half) && !unknown.take(at(61), 1));
        assert!(!unknown.take(at(62), usize::MAX));
    }
}
