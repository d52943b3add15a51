//! One beacon node: its address and credentials, and one request, bounded in time and size.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use reqwest::{
    Client, Method, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::chain::spec::Mismatch;
use conclave_eth::chain::fork::Fork;
use conclave_eth::chain::{block::Unfit, json};
use conclave_eth::text::of_connection;

/// Most bytes that a file of headers may have.
pub const MAX_HEADER_FILE_BYTES: usize = 16 * 1024;
/// Most bytes of an error's body that are read.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// What some programs write before a text in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Most characters of an error message that are shown.
const MAX_MESSAGE: usize = 300;
/// Most refused items of one submission that are told one by one.
const MAX_FAILURES: usize = 64;
/// A node lacks an endpoint that says so this often, one time after the other: once may be a hiccup, or something that stands between.
const LACKS_AFTER: u32 = 3;
/// What is said of an answer that is no beacon node's, but a page for a browser.
const WEB_PAGE: &str = "a web page: something before the beacon node answers in its place";
/// Longest time for which a node is asked nothing because it says so: some say an hour, and it may be the only node that there is.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
const WEB_PAGE_ADVICE: &str = "Check the address, the proxy or service that stands before the beacon node, and that the node behind it runs.";
/// How long a connection may take, unless the deadline is sooner.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why an address or its headers are not usable. Credentials are not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No URL.
    #[error(
        "The beacon node's address is not a URL.\n\
         Its scheme must be http or https, for example http://localhost:5052.\n\
         Correct --beacon-node."
    )]
    Url,
    /// A header line that is none.
    #[error(
        "Line {0} of the header file is not a header.\n\
         Each line must be like \"Authorization: Bearer TOKEN\".\n\
         Correct the file."
    )]
    Header(usize),
    /// A header that every request has already, or that says how it is sent: the line, and the name.
    #[error(
        "Line {0} of the header file names {1}, which cannot be set there.\n\
         It says how a request is sent or what is in it, which differs from request to request: with another value none would be understood.\n\
         Take that line out. The file is for credentials, such as \"Authorization: Bearer TOKEN\"."
    )]
    Reserved(usize, String),
    /// A part of the API in the address.
    #[error(
        "The beacon node's address has {0} in it, which conclave adds itself.\n\
         Behind the address it asks for /eth/v1/..., and a node knows no {0}/eth/v1/...\n\
         Leave out {0} and what follows it: {1} is the address."
    )]
    ApiPath(String, String),
    /// More than a file of headers needs.
    #[error(
        "The header file has more than {MAX_HEADER_FILE_BYTES} bytes.\n\
         It holds one header a line.\n\
         Check that it is the right file."
    )]
    TooLong,
    /// The TLS library does not start.
    #[error(
        "The HTTP client does not start.\n{0}.\nInstall this machine's certificates, for example the package ca-certificates."
    )]
    Client(String),
}

/// Whether a header says how a request is sent, or what is in it: the HTTP client and the requests themselves set these.
fn is_reserved(name: &HeaderName) -> bool {
    const NAMES: [&str; 17] = [
        "accept",
        "connection",
        "date",
        "eth-consensus-version",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "max-forwards",
        "content-range",
    ];
    let name = name.as_str();
    NAMES.contains(&name)
        || ["accept-", "content-", "if-", "eth-"]
            .iter()
            .any(|family| name.starts_with(family))
}

/// How much of a path is a part of the Beacon API, as of `/eth/v1`, if any of it is.
fn api_part(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').collect();
    let is_version = |part: &str| {
        part.strip_prefix(['v', 'V'])
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    parts.windows(2).find_map(|pair| match pair {
        [eth, version] if eth.eq_ignore_ascii_case("eth") && is_version(version) => {
            Some(format!("/{eth}/{version}"))
        }
        _ => None,
    })
}

/// A beacon node's address with its credentials. `Display` and `Debug` show neither credentials, path nor query, as hosted nodes have
/// keys there; but that there is a path.
#[derive(Clone)]
pub struct Address {
    url: Url,
    headers: HeaderMap,
    shown: String,
}

impl Address {
    /// From a URL, in which user and password may stand, and the text of a header file (one `Name: value` a line).
    ///
    /// # Errors
    /// [`AddressError`] without the credentials.
    pub fn new(url: &str, header_file: Option<&str>) -> Result<Self, AddressError> {
        let mut url = Url::parse(url.trim()).map_err(|_| AddressError::Url)?;
        // No host has a comma in its name: this is a list.
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(|host| host.contains(',')) {
            return Err(AddressError::Url);
        }
        url.set_fragment(None);
        let mut headers = HeaderMap::new();
        if !url.username().is_empty() || url.password().is_some() {
            let credentials = basic_credentials(&url).ok_or(AddressError::Url)?;
            headers.insert(AUTHORIZATION, credentials);
            url.set_username("").map_err(|()| AddressError::Url)?;
            url.set_password(None).map_err(|()| AddressError::Url)?;
        }
        let text = header_file.unwrap_or_default();
        if text.len() > MAX_HEADER_FILE_BYTES {
            return Err(AddressError::TooLong);
        }
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let error = AddressError::Header(number + 1);
            let (name, value) = line.split_once(':').ok_or(error.clone())?;
            let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| error.clone())?;
            if is_reserved(&name) {
                return Err(AddressError::Reserved(number + 1, name.as_str().to_owned()));
            }
            let mut value = HeaderValue::from_str(value.trim()).map_err(|_| error)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let root = format!("{}://{host}{port}", url.scheme());
        if let Some(part) = api_part(url.path()) {
            // What stands before it may be a key.
            let begins = url
                .path()
                .get(..part.len())
                .is_some_and(|beginning| beginning == part);
            let right = if begins {
                root
            } else {
                "what is before it".to_owned()
            };
            return Err(AddressError::ApiPath(part, right));
        }
        let has_path = !url.path().trim_matches('/').is_empty();
        let shown = if has_path { format!("{root}/...") } else { root };
        Ok(Self { url, headers, shown })
    }

    /// Whether both are one server's: the same host, port, path and query, whatever the credentials. All names of this machine are one.
    pub fn is_same(&self, other: &Self) -> bool {
        let host = |url: &Url| {
            // A name that ends with a dot is the same without it.
            let host = url.host_str().unwrap_or_default().trim_end_matches('.');
            let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
            // Another address of 127.0.0.0/8 may be another server's.
            let is_here = ip.is_ok_and(|ip| {
                ip.is_unspecified()
                    || [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].contains(&ip)
            });
            if is_here {
                "localhost".to_owned()
            } else {
                host.to_owned()
            }
        };
        let parts = |url: &Url| {
            let path = url.path().trim_end_matches('/').to_owned();
            (
                host(url),
                url.port_or_known_default(),
                path,
                url.query().map(str::to_owned),
            )
        };
        parts(&self.url) == parts(&other.url)
    }

    /// The URL of an endpoint: the path is appended to the address's, the address's query is kept.
    fn join(&self, path: &str, query: &[(&str, String)]) -> Url {
        let mut url = self.url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}{path}"));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
}

/// User and password of a URL as a header (RFC 7617).
fn basic_credentials(url: &Url) -> Option<HeaderValue> {
    let decode = |text: &str| percent_decode(text.as_bytes());
    let mut pair = decode(url.username())?;
    pair.push(b':');
    pair.extend(decode(url.password().unwrap_or_default())?);
    let text = format!("Basic {}", data_encoding::BASE64.encode(&pair));
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'%' {
            let digits = [*bytes.next()?, *bytes.next()?];
            out.extend(hex::decode(digits).ok()?);
        } else {
            out.push(*byte);
        }
    }
    Some(out)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.shown)
    }
}

/// What a beacon node did instead of what was asked. The text names the node (without credentials) and the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("beacon node {node}: {request}: {kind}")]
pub struct NodeError {
    /// The node, without credentials.
    pub node: String,
    /// What was asked.
    pub request: &'static str,
    /// What happened.
    pub kind: ErrorKind,
}

/// What happened instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// No whole answer before the deadline.
    #[error("no answer in time")]
    Timeout,
    /// Another node that was asked later answered before it.
    #[error("another beacon node that was asked later answered before it")]
    Overtaken,
    /// No connection, or it broke.
    #[error("not reachable ({0})")]
    Unreachable(String),
    /// What is asked for is elsewhere (a redirect); where, without path and query.
    #[error("it says that this is at another address now ({0})")]
    Moved(String),
    /// The node says that it is not in step with the chain (503).
    #[error("it is syncing ({0})")]
    Syncing(String),
    /// The node does not have it (404).
    #[error("it does not have it ({0})")]
    NotFound(String),
    /// The node has no such endpoint (404 without the API's error, 405, 501).
    #[error("it does not know this request (HTTP {0})")]
    NotImplemented(u16),
    /// The node, or the service before it, asks for fewer requests (429), and for none for so many seconds if it says how long: then
    /// nothing is sent to it until that is over, a minute at most.
    #[error("it asks for fewer requests (HTTP 429){}", .0.map(|seconds| format!(", and for none for {seconds} s")).unwrap_or_default())]
    Limited(Option<u64>),
    /// The node wants other credentials (401, 403).
    #[error("it refuses the credentials (HTTP {0})")]
    Credentials(u16),
    /// The node refuses what was sent or fails.
    #[error("it answers HTTP {status}: {message}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The node's words, cut to a sane length.
        message: String,
        /// For lists: the places of the refused ones, and why. At most 64.
        failures: Vec<(u64, String)>,
    },
    /// More than any such answer has.
    #[error("its answer has more than {0} bytes")]
    TooLarge(usize),
    /// Not what the Beacon API says.
    #[error("its answer is not usable: {0}")]
    Malformed(String),
    /// The node follows another chain.
    #[error("it is on another network: {0}")]
    WrongNetwork(Mismatch),
    /// The node's head has not been verified by its execution client.
    #[error("its head is optimistic: its execution client has not verified it")]
    Optimistic,
    /// The block that it made is none that the group signs.
    #[error("it made a block that {}", .0.why)]
    Refused(Unfit),
}

impl ErrorKind {
    /// What the operator can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Timeout | Self::Overtaken => {
                "Check the load of the beacon node's machine and the connection to it."
            }
            Self::Unreachable(_) => "Check that the beacon node runs, and its address and port.",
            Self::Syncing(_) => "Wait until it has caught up, or give a second one with --beacon-node.",
            Self::Optimistic => "Check the execution client of the beacon node.",
            Self::NotFound(_) => "Nothing, unless it goes on: then check that the beacon node is in step.",
            Self::Malformed(why) if why == WEB_PAGE => WEB_PAGE_ADVICE,
            Self::NotImplemented(404) => {
                "Check that the address is that of the beacon node's HTTP API, not of its execution client or its metrics, and ends before \
                 /eth/v1; else update the beacon node."
            }
            Self::NotImplemented(_) | Self::Malformed(_) | Self::TooLarge(_) => {
                "Update the beacon node, or check what answers at its address."
            }
            Self::Limited(_) => {
                "Have whoever runs it allow more requests, or give a beacon node of your own with --beacon-node. It is asked less until \
                 then; who starts conclave again asks at once."
            }
            Self::Refused(unfit) => unfit.advice,
            Self::Moved(_) => {
                "Give the address at which the beacon node is now with --beacon-node; often it has https for http. Nobody is followed \
                 there, for your credentials go along."
            }
            Self::Credentials(_) => {
                "Check user and password in the URL, the key in its path, or the header file, and that the node lets this machine in."
            }
            Self::Status { message, .. } if message == WEB_PAGE => WEB_PAGE_ADVICE,
            Self::Status { .. } => "Look into the beacon node's log.",
            Self::WrongNetwork(_) => {
                "Give the address of a beacon node of the lock's network; if it was updated after a fork had begun, start anew."
            }
        }
    }

    /// Whether the node has what was sent already, from another operator or over the chain's network, and some nodes call that an
    /// error. The Beacon API has no code for it, so their words count: `PriorAttestationKnown`, `ATTESTATION_ALREADY_KNOWN`,
    /// `duplicate`.
    pub fn is_known_already(&self) -> bool {
        // `PriorAttestationKnown`, `AttestationSupersetKnown`, `PriorSyncCommitteeMessageKnown`, `block already known`.
        const WORDS: [&str; 6] = [
            "alreadyknown",
            "alreadyexist",
            "attestationknown",
            "supersetknown",
            "messageknown",
            "duplicate",
        ];
        let Self::Status {
            status: 400..=500,
            message,
            failures,
        } = self
        else {
            return false;
        };
        let says_so = |text: &str| {
            let letters: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
            let letters = letters.to_ascii_lowercase();
            WORDS.iter().any(|word| letters.contains(word))
        };
        if failures.is_empty() {
            says_so(message)
        } else {
            failures.iter().all(|(_, why)| says_so(why))
        }
    }

    /// Whether the endpoint itself is missing: an older one may be there.
    pub fn is_missing_endpoint(&self) -> bool {
        matches!(self, Self::NotImplemented(_))
    }

    /// The same, or that the node does not have what is always there where the endpoint is: some answer a request that they do
    /// not know like one for a thing that is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::NotImplemented(_) | Self::NotFound(_))
    }

    /// Whether another form of the same question has no better prospects.
    pub fn is_of_every_form(&self) -> bool {
        matches!(self, Self::Timeout | Self::Unreachable(_) | Self::Credentials(_))
    }

    /// Whether the node gave no answer at all, so that what it said before is still the last that it said.
    pub fn says_nothing(&self) -> bool {
        !matches!(
            self,
            Self::WrongNetwork(_) | Self::Malformed(_) | Self::TooLarge(_)
        )
    }

    /// Whether another form of the same question may have another answer: the node does not take this one, or fails with it.
    pub fn may_be_of_the_form(&self) -> bool {
        matches!(
            self,
            Self::Status { .. }
                | Self::NotImplemented(405 | 501)
                | Self::Limited(None)
                | Self::Malformed(_)
                | Self::TooLarge(_)
                | Self::Moved(_)
        )
    }

    /// Whether it is said of this form of the question: asked at once in another one, the node has lost no time.
    pub fn is_of_the_form(&self) -> bool {
        matches!(
            self,
            Self::Status {
                status: 400 | 406 | 415,
                ..
            } | Self::Malformed(_)
                | Self::TooLarge(_)
        )
    }

    /// Whether the node failed, rather than having an answer that somebody may not like: what it does not have, or a
    /// refusal of what was sent.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::NotFound(_) | Self::NotImplemented(_) | Self::Optimistic => false,
            Self::Status { status, .. } => *status >= 500,
            _ => true,
        }
    }
}

/// How an answer or a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`.
    Json,
    /// `application/octet-stream`.
    Ssz,
}

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ssz => "application/octet-stream",
        }
    }

    /// What a media type, in lower case, says; none if it says neither.
    fn said(media_type: &str) -> Option<Self> {
        if media_type.contains("octet-stream") {
            Some(Self::Ssz)
        } else {
            media_type.contains("json").then_some(Self::Json)
        }
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// For errors: what is asked, in a few words.
    pub what: &'static str,
    /// Behind the address.
    pub path: String,
    /// Query parameters.
    pub query: Vec<(&'static str, String)>,
    /// A body makes it a POST.
    pub body: Option<(Format, Vec<u8>)>,
    /// `Eth-Consensus-Version` of the body.
    pub version: Option<Fork>,
    /// Whether SSZ is preferred.
    pub ssz: bool,
    /// Which answers mean that the node does not have this endpoint, and is not to be asked for it again; none where it would be
    /// asked all the same.
    pub lacking: Option<fn(&ErrorKind) -> bool>,
    /// Whether it is not sent while the node wants to be asked nothing.
    pub can_wait: bool,
    /// Most bytes of the answer.
    pub limit: usize,
}

impl Request {
    /// A question.
    pub fn get(what: &'static str, path: impl Into<String>, limit: usize) -> Self {
        Self {
            what,
            path: path.into(),
            query: Vec::new(),
            body: None,
            version: None,
            ssz: false,
            lacking: None,
            can_wait: false,
            limit,
        }
    }

    /// A submission.
    pub fn post(
        what: &'static str,
        path: impl Into<String>,
        body: &impl serde::Serialize,
        limit: usize,
    ) -> Self {
        // Plain structures of text and numbers into memory: there is nothing that could fail.
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self::get(what, path, limit).with_body(Format::Json, body)
    }

    /// With a query parameter.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.query.push((key, value.to_string()));
        self
    }

    /// With a body.
    #[must_use]
    pub fn with_body(mut self, format: Format, body: Vec<u8>) -> Self {
        self.body = Some((format, body));
        self
    }

    /// With the fork that the body belongs to.
    #[must_use]
    pub fn with_version(mut self, fork: Fork) -> Self {
        self.version = Some(fork);
        self
    }

    /// Of an endpoint that not every node has: one that answers so three times in a row lacks it, and is not asked for it again
    /// until [that is forgotten](Node::forget_lacking). Only for what duties do not need, or what has an older form; never where
    /// something passes because nobody can say that it is wrong.
    #[must_use]
    pub fn unless(mut self, lacking: fn(&ErrorKind) -> bool) -> Self {
        self.lacking = Some(lacking);
        self
    }

    /// For what no duty of this slot waits for: it is not sent while the node wants to be asked nothing. What a duty waits
    /// for is asked all the same: it is little, and hosted nodes that limit one kind of question answer the others.
    #[must_use]
    pub fn can_wait(mut self) -> Self {
        self.can_wait = true;
        self
    }

    /// The endpoint: method and path without what differs from one request to the next.
    fn endpoint(&self) -> String {
        let varies = |part: &&str| part.starts_with("0x") || part.bytes().all(|byte| byte.is_ascii_digit());
        let parts = self.path.split('/').filter(|part| !part.is_empty());
        let parts: Vec<&str> = parts.map(|part| if varies(&part) { "*" } else { part }).collect();
        let method = if self.body.is_some() { "POST" } else { "GET" };
        format!("{method} {}", parts.join("/"))
    }

    /// Prefers SSZ.
    #[must_use]
    pub fn prefer_ssz(mut self) -> Self {
        self.ssz = true;
        self
    }

    /// Takes no SSZ.
    #[must_use]
    pub fn json_only(mut self) -> Self {
        self.ssz = false;
        self
    }
}

/// An answer with a status of success.
#[derive(Debug, Clone)]
pub struct Answer {
    /// 200, or 202 for what was broadcast but not imported.
    pub status: u16,
    /// How the body is written, if the answer says so: no more than a hint.
    pub said: Option<Format>,
    /// `Eth-Consensus-Version`, at most 32 characters; not every node sends it.
    pub version: Option<String>,
    /// `Eth-Execution-Payload-Blinded`, at most 32 characters; not every node sends it.
    pub blinded: Option<String>,
    /// The body, within the request's limit.
    pub body: Vec<u8>,
}

/// The Beacon API's error body.
#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default, deserialize_with = "json::or_default")]
    message: String,
    #[serde(default, deserialize_with = "json::or_default")]
    failures: Vec<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    // A number in the specification, text in some nodes.
    #[serde(default, deserialize_with = "json::or_default")]
    index: serde_json::Value,
    #[serde(default, deserialize_with = "json::or_default")]
    message: String,
}

impl Answer {
    /// Whether the body is to be JSON, whether or not it can be read: for words about what cannot.
    pub fn is_meant_as_json(&self) -> bool {
        let begins = || {
            is_text(&self.body) && self.body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
        };
        self.said.map_or_else(begins, |said| said == Format::Json)
    }
}

/// One beacon node.
#[derive(Debug, Clone)]
pub struct Node {
    address: Address,
    client: Client,
    /// Endpoints that it seems to lack: how often in a row it said so, and how. No more of them than there are requests that may be
    /// remembered.
    lacks: Arc<Mutex<BTreeMap<String, (u32, ErrorKind)>>>,
    /// Until when it wants to be asked nothing, and for how many seconds it said so.
    rests: Arc<Mutex<Option<(Instant, u64)>>>,
}

impl Node {
    /// Prepares a client; nothing is sent.
    ///
    /// # Errors
    /// [`AddressError::Client`] when TLS cannot be set up.
    pub fn new(address: Address) -> Result<Self, AddressError> {
        let mut builder = Client::builder()
            .user_agent(concat!("conclave/", env!("CARGO_PKG_VERSION")))
            // A beacon node does not redirect; whoever does must not get the credentials.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .default_headers(address.headers.clone());
        if address.url.scheme() == "http" {
            // Else a machine without certificates could not even do what needs none: small containers have none.
            builder = builder.tls_certs_only([]);
        }
        let client = builder
            .build()
            .map_err(|error| AddressError::Client(cause(&error)))?;
        Ok(Self {
            address,
            client,
            lacks: Arc::default(),
            rests: Arc::default(),
        })
    }

    /// Forgets which endpoints it lacks: to be called when it was away or is another version.
    pub fn forget_lacking(&self) {
        self.lacks.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Has it asked once more for each endpoint that it lacks: to be called when an epoch begins. What is asked once in an epoch is
    /// counted over several.
    pub fn retry_lacking(&self) {
        let mut lacks = self.lacks.lock().unwrap_or_else(PoisonError::into_inner);
        for (times, _) in lacks.values_mut() {
            *times = (*times).min(LACKS_AFTER - 1);
        }
    }

    /// How it said that it lacks an endpoint, if it did so often enough.
    fn lacks(&self, endpoint: &str) -> Option<ErrorKind> {
        let lacks = self.lacks.lock().unwrap_or_else(PoisonError::into_inner);
        let (times, kind) = lacks.get(endpoint)?;
        (*times >= LACKS_AFTER).then(|| kind.clone())
    }

    /// Counts how often in a row it said that it lacks an endpoint; `None` is any other answer, and none.
    fn note_lacking(&self, endpoint: String, lacking: Option<&ErrorKind>) {
        let mut lacks = self.lacks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(kind) = lacking else {
            lacks.remove(&endpoint);
            return;
        };
        let times = lacks
            .get(&endpoint)
            .map_or(0, |(times, _)| *times)
            .saturating_add(1);
        if times == LACKS_AFTER {
            tracing::debug!("{}: {endpoint}: not asked again for now: {kind}", self.name());
        }
        lacks.insert(endpoint, (times, kind.clone()));
    }

    /// That it wants to be asked nothing now, in the same words all the time.
    fn rests(&self) -> Option<ErrorKind> {
        let (until, seconds) = (*self.rests.lock().unwrap_or_else(PoisonError::into_inner))?;
        (Instant::now() < until).then_some(ErrorKind::Limited(Some(seconds)))
    }

    /// Tells it apart from other nodes of the same host and port, whose paths are not shown.
    #[must_use]
    pub fn numbered(mut self, number: usize) -> Self {
        self.address.shown = format!("{} ({number})", self.address.shown);
        self
    }

    /// The node's name in messages: its address without credentials.
    pub fn name(&self) -> &str {
        &self.address.shown
    }

    /// An error of this node.
    pub fn error(&self, request: &'static str, kind: ErrorKind) -> NodeError {
        NodeError {
            node: self.name().to_owned(),
            request,
            kind,
        }
    }

    /// Sends a request and reads the whole answer before the deadline.
    ///
    /// # Errors
    /// [`NodeError`] for everything but a status of success, also one from earlier in the epoch if the endpoint [is
    /// missing](Request::unless).
    pub async fn send(&self, request: &Request, deadline: Instant) -> Result<Answer, NodeError> {
        let lacking = request.lacking.map(|lacking| (lacking, request.endpoint()));
        if let Some((_, endpoint)) = &lacking
            && let Some(kind) = self.lacks(endpoint)
        {
            return Err(self.error(request.what, kind));
        }
        if request.can_wait
            && let Some(kind) = self.rests()
        {
            return Err(self.error(request.what, kind));
        }
        let answer = timeout_at(deadline, self.exchange(request))
            .await
            .unwrap_or(Err(ErrorKind::Timeout));
        if let Some((lacking, endpoint)) = lacking {
            self.note_lacking(endpoint, answer.as_ref().err().filter(|kind| lacking(kind)));
        }
        answer.map_err(|kind| self.error(request.what, kind))
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, ErrorKind> {
        let url = self.address.join(&request.path, &request.query);
        let method = if request.body.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        let accept = if request.ssz {
            "application/octet-stream;q=1.0,application/json;q=0.9"
        } else {
            "application/json"
        };
        let mut call = self.client.request(method, url).header(ACCEPT, accept);
        if let Some(fork) = request.version {
            call = call.header("Eth-Consensus-Version", fork.name());
        }
        if let Some((format, body)) = &request.body {
            call = call.header(CONTENT_TYPE, format.media_type()).body(body.clone());
        }
        let response = call.send().await.map_err(|error| transport(&error))?;
        let status = response.status();
        let headers = response.headers();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let kind = text("content-type").unwrap_or_default().to_ascii_lowercase();
        let short = |name: &str| text(name).map(|text| text.trim().chars().take(32).collect());
        let version = short("eth-consensus-version");
        let blinded = short("eth-execution-payload-blinded");
        if !status.is_success() {
            return Err(self.refused(response).await);
        }
        if let Some(why) = compressed(&response) {
            return Err(ErrorKind::Malformed(why));
        }
        let mut body = read(response, request.limit).await?;
        // Bytes of SSZ may begin like a byte order mark, or like a page.
        if Format::said(&kind) != Some(Format::Ssz) && is_text(&body) {
            if let Some(text) = body.strip_prefix(BYTE_ORDER_MARK) {
                body = text.to_vec();
            }
            if is_web_page(&body) {
                return Err(ErrorKind::Malformed(WEB_PAGE.to_owned()));
            }
        }
        Ok(Answer {
            status: status.as_u16(),
            said: Format::said(&kind),
            version,
            blinded,
            body,
        })
    }

    /// What an answer with a status that is no success means.
    async fn refused(&self, response: reqwest::Response) -> ErrorKind {
        let status = response.status();
        if status.is_redirection() {
            let location = response.headers().get("location");
            return self.moved(location.and_then(|value| value.to_str().ok()));
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            let said = response.headers().get("retry-after");
            let wait = said.and_then(|value| retry_after(value.to_str().ok()?, SystemTime::now()));
            let seconds = wait.map(|wait| wait.as_secs()).filter(|seconds| *seconds > 0);
            if let Some(seconds) = seconds {
                let until = Instant::now() + Duration::from_secs(seconds);
                *self.rests.lock().unwrap_or_else(PoisonError::into_inner) = Some((until, seconds));
            }
            return ErrorKind::Limited(seconds);
        }
        // An error's body only explains: what is cut off or broken does not matter.
        let body = match compressed(&response) {
            Some(why) => why.into_bytes(),
            None => read(response, MAX_ERROR_BYTES).await.unwrap_or_default(),
        };
        refusal(status, &body)
    }

    /// Where a redirect points; path and query may hold keys.
    fn moved(&self, location: Option<&str>) -> ErrorKind {
        let url = location.and_then(|location| self.address.url.join(location).ok());
        let origin = |url: &Url| {
            let host = url.host_str().unwrap_or_default();
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{host}{port}", url.scheme())
        };
        ErrorKind::Moved(match url {
            None => "it does not say where".to_owned(),
            Some(url) if origin(&url) == origin(&self.address.url) => "another path there".to_owned(),
            Some(url) => line(&origin(&url)),
        })
    }

    /// Opens a stream of server-sent events; the deadline is for its beginning.
    ///
    /// # Errors
    /// [`NodeError`] when it does not open.
    pub async fn stream(&self, request: &Request, deadline: Instant) -> Result<reqwest::Response, NodeError> {
        if let Some(kind) = self.rests() {
            return Err(self.error(request.what, kind));
        }
        let url = self.address.join(&request.path, &request.query);
        let call = self.client.get(url).header(ACCEPT, "text/event-stream");
        let opened = async {
            let response = call.send().await.map_err(|error| transport(&error))?;
            if !response.status().is_success() {
                return Err(self.refused(response).await);
            }
            let kind = response.headers().get(CONTENT_TYPE);
            let is_page =
                kind.is_some_and(|kind| kind.as_bytes().to_ascii_lowercase().starts_with(b"text/html"));
            match compressed(&response) {
                Some(why) => Err(ErrorKind::Malformed(why)),
                None if is_page => Err(ErrorKind::Malformed(WEB_PAGE.to_owned())),
                None => Ok(response),
            }
        };
        match timeout_at(deadline, opened).await {
            Ok(result) => result.map_err(|kind| self.error(request.what, kind)),
            Err(_) => Err(self.error(request.what, ErrorKind::Timeout)),
        }
    }
}

/// That an answer is compressed, which nobody asked for, and how.
fn compressed(response: &reqwest::Response) -> Option<String> {
    let how = response.headers().get(CONTENT_ENCODING)?.as_bytes();
    let how = line(&String::from_utf8_lossy(how));
    (!how.eq_ignore_ascii_case("identity"))
        .then(|| format!("it is compressed ({how}), which was not asked for"))
}

/// Reads a body piece by piece and stops where it is longer than it may be.
async fn read(mut response: reqwest::Response, limit: usize) -> Result<Vec<u8>, ErrorKind> {
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(ErrorKind::TooLarge(limit));
    }
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| transport(&error))? {
        if body.len() + piece.len() > limit {
            return Err(ErrorKind::TooLarge(limit));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// What a status that is no success means.
fn refusal(status: StatusCode, body: &[u8]) -> ErrorKind {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let parsed: Option<ErrorBody> = serde_json::from_slice(body).ok();
    let spoken = parsed.as_ref().is_some_and(|body| !body.message.is_empty());
    let message = match &parsed {
        Some(body) if spoken => line(&body.message),
        _ if is_web_page(body) => WEB_PAGE.to_owned(),
        _ => line(&String::from_utf8_lossy(
            body.get(..MAX_MESSAGE * 4).unwrap_or(body),
        )),
    };
    match status.as_u16() {
        code @ (401 | 403) => ErrorKind::Credentials(code),
        404 if missing_route(spoken, &message) => ErrorKind::NotImplemented(404),
        404 => ErrorKind::NotFound(message),
        code @ (405 | 501) => ErrorKind::NotImplemented(code),
        503 if message != WEB_PAGE => ErrorKind::Syncing(message),
        status => ErrorKind::Status {
            status,
            message,
            failures: parsed
                .map(|body| body.failures)
                .unwrap_or_default()
                .into_iter()
                .take(MAX_FAILURES)
                .map(|failure| (number(&failure.index), line(&failure.message)))
                .collect(),
        },
    }
}

/// How long `Retry-After` asks to wait, at most [`MAX_RETRY_AFTER`]: seconds, or a date. Source: RFC 9110, section 10.2.3.
fn retry_after(said: &str, now: SystemTime) -> Option<Duration> {
    let said = said.trim();
    let wait = if !said.is_empty() && said.bytes().all(|byte| byte.is_ascii_digit()) {
        // What is too large for a number is longer than what counts.
        said.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        let until = httpdate::parse_http_date(said).ok()?;
        until.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// Whether bytes may be a text, of whatever kind. All that is asked for in SSZ begins with a slot or an offset, little-endian, of
/// which the upper bytes are zero, and no text has a zero byte.
fn is_text(body: &[u8]) -> bool {
    !body.iter().take(64).any(|byte| *byte == 0)
}

/// Whether something for a browser came, where JSON was to come: a tag, a comment, or a declaration.
fn is_web_page(body: &[u8]) -> bool {
    match body.trim_ascii_start() {
        [b'<', next, ..] => is_text(body) && (next.is_ascii_alphabetic() || matches!(next, b'!' | b'?')),
        _ => false,
    }
}

/// Whether a 404 is about the route and not about the thing: nodes differ, so a bare one and the usual words count.
fn missing_route(spoken: bool, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    !spoken || message.contains("route") || message.contains("endpoint") || message == "not found"
}

fn number(value: &serde_json::Value) -> u64 {
    value
        .as_u64()
        .or_else(|| value.as_str()?.parse().ok())
        .unwrap_or(u64::MAX)
}

/// What went wrong below HTTP, without the URL: it may hold a key.
fn transport(error: &reqwest::Error) -> ErrorKind {
    // Who takes no connection for so long is not slow.
    if error.is_timeout() && !error.is_connect() {
        return ErrorKind::Timeout;
    }
    ErrorKind::Unreachable(cause(error))
}

/// What is behind the error, in plain words; its own words would show the URL.
fn cause(error: &reqwest::Error) -> String {
    let unknown = || "the request failed".to_owned();
    std::error::Error::source(error).map_or_else(unknown, of_connection)
}

/// The beginning of somebody else's text, on one line.
pub(super) fn line(text: &str) -> String {
    conclave_eth::text::line(text, MAX_MESSAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_sent_and_not_shown() {
        let address = Address::new(
            "https://ada:s%40cret@example.org:8443/key/abc?apikey=xyz#x",
            Some("# for the proxy\nX-Token:  t0ken\n\n"),
        )
        .unwrap();
        assert_eq!(address.to_string(), "https://example.org:8443/...");
        assert_eq!(format!("{address:?}"), "Address(https://example.org:8443/...)");
        assert_eq!(
            address.join("/eth/v1/x", &[("a", "1 2".into())]).as_str(),
            "https://example.org:8443/key/abc/eth/v1/x?apikey=xyz&a=1+2"
        );
        let basic = format!("Basic {}", data_encoding::BASE64.encode(b"ada:s@cret"));
        assert_eq!(address.headers[AUTHORIZATION], basic);
        assert_eq!(address.headers["x-token"], "t0ken");
        let node = Node::new(address).unwrap();
        let shown = format!("{node:?} {}", node.error("x", ErrorKind::Timeout));
        for secret in ["cret", "t0ken", "xyz", "abc", basic.as_str()] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn a_redirect_is_told_with_where_it_points_but_no_key() {
        let node = Node::new(Address::new("http://a.example:5052/key/abc?k=1", None).unwrap()).unwrap();
        for (location, said) in [
            (
                Some("https://a.example/key/abc/eth/v1/node/syncing?k=1"),
                "(https://a.example)",
            ),
            (Some("http://u:p@b.example:81/key/abc/x"), "(http://b.example:81)"),
            (Some("/key/abc/elsewhere"), "(another path there)"),
            (Some("http://["), "(it does not say where)"),
            (None, "(it does not say where)"),
        ] {
            let kind = node.moved(location);
            let text = kind.to_string();
            assert!(text.ends_with(said) && !text.contains("abc"), "{text}");
            assert!(kind.advice().contains("--beacon-node"));
        }
    }

    #[test]
    fn how_long_to_wait_is_read_as_seconds_or_as_a_date_and_is_bounded() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (said, expected) in [
            ("12", Some(12)),
            (" 0 ", Some(0)),
            ("61", Some(60)),
            ("99999999999999999999999", Some(60)),
            ("Sun, 06 Nov 1994 08:49:50 GMT", Some(13)),
            ("Sun, 06 Nov 1994 08:49:36 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(60)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            let wait = retry_after(said, now).map(|wait| wait.as_secs());
            assert_eq!(wait, expected, "{said}");
        }
    }

    #[test]
    fn headers_that_say_how_a_request_is_sent_are_refused() {
        let address = |file: &str| Address::new("http://localhost:5052", Some(file));
        for name in [
            "Content-Length",
            "transfer-encoding",
            "Host",
            "CONNECTION",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Upgrade",
            "Expect",
            "Proxy-Connection",
            "Content-Type",
            "Content-Encoding",
            "Accept",
            "Accept-Encoding",
            "Eth-Consensus-Version",
            "Range",
            "If-None-Match",
        ] {
            let error = address(&format!("X-Token: a\n{name}: 5")).unwrap_err();
            assert_eq!(error, AddressError::Reserved(2, name.to_ascii_lowercase()));
            assert_eq!(error.to_string().lines().count(), 3);
        }
        for name in [
            "Authorization",
            "X-Api-Key",
            "Cookie",
            "User-Agent",
            "CF-Access-Client-Id",
            "Proxy-Authorization",
        ] {
            assert!(address(&format!("{name}: 5")).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_part_of_the_api_in_an_address_is_told_and_another_path_is_shown_to_be_there() {
        let shown = |url: &str| Address::new(url, None).map(|address| address.to_string());
        for (url, part) in [
            ("http://n:5052/eth/v1", "/eth/v1"),
            ("http://n:5052/eth/v1/", "/eth/v1"),
            ("http://n:5052/eth/v2/beacon", "/eth/v2"),
            ("http://n:5052/ETH/V1/node/health", "/ETH/V1"),
        ] {
            let error = shown(url).unwrap_err();
            assert_eq!(
                error,
                AddressError::ApiPath(part.into(), "http://n:5052".into()),
                "{url}"
            );
        }
        let error = shown("https://n/s3cret/eth/v1").unwrap_err();
        assert!(error.to_string().contains("Leave out /eth/v1") && !error.to_string().contains("s3cret"));
        assert_eq!(shown("http://n:5052/").unwrap(), "http://n:5052");
        assert_eq!(shown("http://n:5052/ethereum").unwrap(), "http://n:5052/...");
        assert_eq!(
            shown("http://n:5052/eth/s3cret?k=v").unwrap(),
            "http://n:5052/..."
        );
    }

    #[test]
    fn one_server_under_two_addresses_is_one() {
        let is_same = |one: &str, other: &str| {
            let address = |url| Address::new(url, None).unwrap();
            address(one).is_same(&address(other))
        };
        for other in [
            "http://127.0.0.1:5052/",
            "http://127.0.0.1:5052//",
            "http://LOCALHOST:5052",
            "http://[::1]:5052",
            "http://ada:x@localhost:5052/#a",
        ] {
            assert!(is_same("http://127.0.0.1:5052", other), "{other}");
        }
        assert!(is_same("https://n.example", "https://N.example.:443/"));
        for other in [
            "http://127.0.0.1:5053",
            "http://127.0.0.2:5052",
            "http://n:5052",
            "http://127.0.0.1:5052/a",
            "http://127.0.0.1:5052?k",
        ] {
            assert!(!is_same("http://127.0.0.1:5052", other), "{other}");
        }
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for url in [
            "",
            "localhost:5052",
            "ftp://x",
            "http://",
            "file:///etc/passwd",
            "https://a.example,https://b.example",
            "https://a.example,b.example",
        ] {
            assert_eq!(Address::new(url, None).unwrap_err(), AddressError::Url, "{url}");
        }
        for file in ["no colon", "A b: c", "X: \u{7f}"] {
            assert_eq!(
                Address::new("http://x", Some(file)).unwrap_err(),
                AddressError::Header(1)
            );
        }
        let long = "x".repeat(MAX_HEADER_FILE_BYTES + 1);
        assert_eq!(
            Address::new("http://x", Some(&long)).unwrap_err(),
            AddressError::TooLong
        );
    }

    #[test]
    fn statuses_mean_what_the_specification_says() {
        let json = br#"{"code":404,"message":"Block not found: 7"}"#;
        let status = |code, body: &[u8]| refusal(StatusCode::from_u16(code).unwrap(), body);
        assert!(matches!(status(404, json), ErrorKind::NotFound(_)));
        for body in [
            &b""[..],
            b"404 page not found",
            br#"{"message":"Route GET /x not found"}"#,
        ] {
            assert!(status(404, body).is_missing_endpoint());
        }
        assert!(status(405, b"").is_missing_endpoint());
        assert!(status(501, json).is_missing_endpoint());
        assert!(matches!(status(503, b"{"), ErrorKind::Syncing(_)));
        assert!(matches!(status(401, b""), ErrorKind::Credentials(401)));
        let body = br#"{"code":400,"message":"some","failures":[{"index":1,"message":"old"},{"index":"2"}]}"#;
        assert_eq!(
            status(400, body),
            ErrorKind::Status {
                status: 400,
                message: "some".into(),
                failures: vec![(1, "old".into()), (2, String::new())],
            }
        );
        // As some write it who have nothing to say.
        let body = br#"{"code":"400","message":null,"failures":null,"stacktraces":[]}"#;
        let said = |body: &[u8]| match status(400, body) {
            ErrorKind::Status { failures, .. } => failures,
            other => panic!("{other:?}"),
        };
        assert_eq!(said(body), []);
        let body = br#"{"message":"some","failures":[{"index":null,"message":null}]}"#;
        assert_eq!(said(body), [(u64::MAX, String::new())]);
        let marked = [BYTE_ORDER_MARK, br#"{"code":404,"message":"Block not found"}"#].concat();
        assert_eq!(
            status(404, &marked),
            ErrorKind::NotFound("Block not found".to_owned())
        );
        for code in [500, 502, 503] {
            let page = status(code, b"\n<html><body>Bad Gateway</body></html>");
            let said = format!("{page}. {}", page.advice());
            assert!(
                said.contains("web page") && said.contains(&code.to_string()) && !said.contains('<'),
                "{said}"
            );
            assert!(said.contains("stands before the beacon node"), "{said}");
            assert!(page.is_trouble() && !page.is_missing());
        }
        let text = status(500, "\u{1b}[31m<html>\n".repeat(100).as_bytes()).to_string();
        assert!(
            text.chars().count() < 400 && !text.contains(char::is_control),
            "{text}"
        );
    }
}
