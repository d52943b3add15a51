//! Heads as they come: server-sent events of all nodes at once.
//!
//! One task for each node reads `/eth/v1/events?topics=head`, and begins anew with a growing pause when the
//! stream ends, is silent for too long, or says something that is no event. Source: HTML, "Server-sent events".

use std::time::Duration;

use serde::Deserialize;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use conclave_crypto::hash::Hash;
use conclave_eth::{chain::json, recognise::why_no_json};

use super::{
    http::{BYTE_ORDER_MARK, ErrorKind, Node, NodeError, Request},
    nodes::{EVENTS, Nodes},
};

/// Most bytes of one event.
const MAX_EVENT_BYTES: usize = 64 * 1024;
/// How long a stream may take to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// More events in so long than any chain has: the node is broken, and whoever follows it would do nothing else.
const FLOOD: (u32, Duration) = (256, Duration::from_secs(4));
/// First and longest pause before a stream is opened again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// Events that wait for their reader. A reader that is behind gets them late; nodes send few.
const QUEUE: usize = 64;

/// A node's fork choice has a new head.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Head {
    /// Slot of the head.
    #[serde(with = "json::number")]
    pub slot: u64,
    /// Its block root, 32 bytes.
    #[serde(with = "json::bytes")]
    pub block: Hash,
    /// Root of the last block two epochs back: attester duties of this epoch depend on it. 32 bytes.
    #[serde(with = "json::bytes")]
    pub previous_duty_dependent_root: Hash,
    /// Root of the last block of the previous epoch: attester duties of the next epoch depend on it. 32 bytes.
    #[serde(with = "json::bytes")]
    pub current_duty_dependent_root: Hash,
    /// Whether the execution client has not verified it.
    #[serde(default, deserialize_with = "json::or_default")]
    pub execution_optimistic: bool,
}

/// What a stream tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The stream is open, or the node is of use from now on: what happened before was missed, here and there.
    Connected,
    /// The stream ended; it will be opened again.
    Lost(NodeError),
    /// A new head.
    Head(Head),
}

/// News and which node they are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The place of the node among those that were given.
    pub node: usize,
    /// What happened.
    pub news: News,
}

/// The events of all nodes. Dropping it closes the streams.
pub struct Events {
    receiver: mpsc::Receiver<Event>,
    _tasks: JoinSet<()>,
}

impl Events {
    /// Opens streams to all nodes of the right chain, and to the others as soon as they are seen to be. `idle` is how
    /// long a stream may be silent: a few slots.
    pub fn open(nodes: &Nodes, idle: Duration) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        for (place, node) in nodes.all().into_iter().enumerate() {
            tasks.spawn(follow(nodes.clone(), place, node, idle, sender.clone()));
        }
        Self {
            receiver,
            _tasks: tasks,
        }
    }

    /// The next event; none when there is no node at all. May be cancelled.
    pub async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }
}

/// Whom to tell what a node says.
struct Teller {
    place: usize,
    sender: mpsc::Sender<Event>,
}

impl Teller {
    /// Whether somebody still listens.
    async fn tell(&self, news: News) -> bool {
        let event = Event {
            node: self.place,
            news,
        };
        self.sender.send(event).await.is_ok()
    }
}

/// Follows one node for ever.
async fn follow(nodes: Nodes, place: usize, node: Node, idle: Duration, sender: mpsc::Sender<Event>) {
    let teller = Teller { place, sender };
    let mut pause = PAUSES.0;
    loop {
        // The health check decides when; a stream of another chain would only mislead.
        while !nodes.is_verified(place) {
            sleep(PAUSES.0).await;
        }
        let request = Request::get(EVENTS, "/eth/v1/events", MAX_EVENT_BYTES).with("topics", "head");
        let head_then = nodes.head_of(place);
        let error = match node.stream(&request, Instant::now() + OPEN_TIMEOUT).await {
            Ok(response) => {
                if !teller.tell(News::Connected).await {
                    return;
                }
                let opened = Instant::now();
                // Heads of a node that catches up are old ones.
                let counts = || nodes.is_of_use(place);
                let told = || nodes.stream_told(place);
                let kind = match listen(response, idle, &teller, counts, told).await {
                    Ok(()) => return,
                    Err(kind) => kind,
                };
                if opened.elapsed() > PAUSES.1 {
                    pause = PAUSES.0;
                    // It may have been stopped, and another version may be there next. What breaks all the time says nothing.
                    node.forget_lacking();
                }
                node.error(EVENTS, kind)
            }
            Err(error) => error,
        };
        nodes.stream_failed(place, &error, head_then);
        if !teller.tell(News::Lost(error)).await {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Reads a stream to its end, which is always an error; `Ok` when nobody listens any more.
async fn listen(
    mut response: reqwest::Response,
    idle: Duration,
    teller: &Teller,
    counts: impl Fn() -> bool,
    told: impl Fn(),
) -> Result<(), ErrorKind> {
    let mut parser = Parser::default();
    let (mut since, mut count) = (Instant::now(), 0);
    let mut counted = counts();
    loop {
        let piece = match timeout(idle, response.chunk()).await {
            Err(_) => return Err(ErrorKind::Timeout),
            Ok(Err(_)) => return Err(ErrorKind::Unreachable("the stream broke".to_owned())),
            Ok(Ok(None)) => return Err(ErrorKind::Unreachable("the stream ended".to_owned())),
            Ok(Ok(Some(piece))) => piece,
        };
        for event in parser.push(&piece)? {
            if since.elapsed() >= FLOOD.1 {
                (since, count) = (Instant::now(), 0);
            }
            count += 1;
            if count > FLOOD.0 {
                return Err(ErrorKind::Malformed("more events than a chain has".to_owned()));
            }
            let news = news(&event)?;
            if news.is_some() {
                told();
            }
            let before = std::mem::replace(&mut counted, counts());
            if counted && !before && !teller.tell(News::Connected).await {
                return Ok(());
            }
            if let Some(news) = news.filter(|_| counted)
                && !teller.tell(news).await
            {
                return Ok(());
            }
        }
    }
}

/// Understands an event; others than those asked for are skipped.
fn news(event: &Raw) -> Result<Option<News>, ErrorKind> {
    let malformed = |error: serde_json::Error| ErrorKind::Malformed(why_no_json(&error));
    Ok(match event.name.as_str() {
        "head" => Some(News::Head(serde_json::from_str(&event.data).map_err(malformed)?)),
        _ => None,
    })
}

/// An event as it is written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Raw {
    name: String,
    data: String,
}

/// Takes a stream apart: lines end in CR, LF or both; an empty line ends an event; `:` begins a comment.
#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    /// Whether a line was read; the first one may begin with a byte order mark.
    begun: bool,
    event: Raw,
}

impl Parser {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Raw>, ErrorKind> {
        let mut events = Vec::new();
        for &byte in bytes {
            let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\r' | b'\n' => self.end_line(&mut events)?,
                byte => {
                    if self.line.len() >= MAX_EVENT_BYTES {
                        return Err(ErrorKind::TooLarge(MAX_EVENT_BYTES));
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(events)
    }

    fn end_line(&mut self, events: &mut Vec<Raw>) -> Result<(), ErrorKind> {
        let mut bytes = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.begun, true) && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        if bytes.is_empty() {
            let event = std::mem::take(&mut self.event);
            if !event.data.is_empty() {
                events.push(event);
            }
            return Ok(());
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| ErrorKind::Malformed("an event that is not text".to_owned()))?;
        let (field, value) = text.split_once(':').unwrap_or((&text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if self.event.data.len() + value.len() >= MAX_EVENT_BYTES {
                    return Err(ErrorKind::TooLarge(MAX_EVENT_BYTES));
                }
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = ": hello\n\nevent: head\ndata: {\"a\":\ndata: 1}\r\n\r\nid: 7\revent:block\rdata:x\r\rdata: y\n\nevent: z\n\n";

    fn raw(name: &str, data: &str) -> Raw {
        Raw {
            name: name.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn streams_are_taken_apart_wherever_they_are_cut() {
        let expected = [raw("head", "{\"a\":\n1}"), raw("block", "x"), raw("", "y")];
        // A byte order mark is not of the text, at its beginning and nowhere else.
        let marked = format!("\u{feff}{}", STREAM.trim_start_matches(": hello\n\n"));
        for (size, stream) in [1, 2, 3, 7, 1000]
            .into_iter()
            .flat_map(|size| [(size, STREAM), (size, &marked)])
        {
            let mut parser = Parser::default();
            let events: Vec<Raw> = stream
                .as_bytes()
                .chunks(size)
                .flat_map(|piece| parser.push(piece).unwrap())
                .collect();
            assert_eq!(events, expected, "{size}");
        }
    }

    #[test]
    fn endless_lines_and_events_are_refused() {
        let mut parser = Parser::default();
        let error = parser.push(&vec![b'x'; MAX_EVENT_BYTES + 1]).unwrap_err();
        assert_eq!(error, ErrorKind::TooLarge(MAX_EVENT_BYTES));
        let mut parser = Parser::default();
        let text = format!("data: {}\n", "x".repeat(1000)).repeat(70);
        assert!(parser.push(text.as_bytes()).is_err());
        assert!(Parser::default().push(b"data: \xff\n").is_err());
    }

    #[test]
    fn null_is_absent_in_a_head() {
        let root = format!("0x{}", "11".repeat(32));
        let head = serde_json::json!({
            "slot": "10", "block": root, "state": root, "epoch_transition": false, "execution_optimistic": true,
            "previous_duty_dependent_root": root, "current_duty_dependent_root": root,
        });
        let read = |value: &serde_json::Value| match news(&raw("head", &value.to_string())) {
            Ok(Some(News::Head(head))) => Some(head),
            _ => None,
        };
        let optional = conclave_eth::testing::null_is_absent(&head, read);
        assert!(
            optional.contains(&"/execution_optimistic".to_owned()),
            "{optional:?}"
        );
    }

    #[test]
    fn heads_are_understood() {
        let root = |digit: &str| format!("0x{}", digit.repeat(64));
        let data = format!(
            "{{\"slot\":\"10\",\"block\":\"{}\",\"state\":\"{}\",\"epoch_transition\":false,\
             \"previous_duty_dependent_root\":\"{}\",\"current_duty_dependent_root\":\"{}\",\
             \"execution_optimistic\":true}}",
            root("1"),
            root("2"),
            root("3"),
            root("4")
        );
        let Some(News::Head(head)) = news(&raw("head", &data)).unwrap() else {
            panic!("no head");
        };
        assert_eq!(
            (head.slot, head.block, head.execution_optimistic),
            (10, [0x11; 32], true)
        );
        assert_eq!(
            (
                head.previous_duty_dependent_root,
                head.current_duty_dependent_root
            ),
            ([0x33; 32], [0x44; 32])
        );
        assert!(news(&raw("head", "{}")).is_err());
        assert_eq!(news(&raw("finalized_checkpoint", "{}")), Ok(None));
    }

    proptest! {
        #[test]
        fn any_stream_is_parsed_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let mut parser = Parser::default();
            for event in parser.push(&bytes).unwrap_or_default() {
                let _ = news(&event);
            }
        }
    }
}
