//! Beacon nodes for tests: small HTTP servers that answer as a healthy node, but for what a test says.
#![allow(clippy::missing_panics_doc, reason = "a test that cannot begin fails")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::Request as HttpRequest,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};

use crate::{
    chain::spec::{Chain, Genesis, Pinned, Spec},
    http::{Address, Node},
    nodes::Nodes,
};
use conclave_eth::chain::types::BeaconBlockHeader;

/// What a node says of a chain with the minimal preset.
pub const MINIMAL_SPEC: &str = include_str!("../vectors/spec-minimal.json");
pub(crate) const MAINNET_SPEC: &str = include_str!("../vectors/spec-mainnet.json");

/// A chain with the minimal preset, Electra from the start and Fulu from epoch 2.
pub fn chain(preset: &str) -> Chain {
    let text = if preset == "mainnet" {
        MAINNET_SPEC
    } else {
        MINIMAL_SPEC
    };
    let genesis = Genesis {
        time: 1_700_000_000,
        validators_root: [7; 32],
        fork_version: [0x10, 0, 0, 0x38],
    };
    Chain::new(Spec::from_json(text.as_bytes()).unwrap(), genesis).unwrap()
}

/// In the first epoch of the chain of these tests.
pub(crate) const NOW_MS: u64 = 1_700_000_001_000;
/// What arrived at a server.
pub struct Call {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    /// What came with it.
    pub body: Bytes,
}

impl Call {
    /// Without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    /// Such as `GET`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Of a header by its name in lower case; empty without one.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

pub(crate) type Handler = Arc<dyn Fn(Call) -> BoxFuture<'static, Response> + Send + Sync>;

/// A server; it ends with this.
pub struct Server {
    pub(crate) url: String,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn serve_on(listener: TcpListener, handler: Handler) -> Server {
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(move |request: HttpRequest| {
        let handler = handler.clone();
        async move {
            let (parts, body) = request.into_parts();
            let headers = parts
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect();
            let call = Call {
                method: parts.method.to_string(),
                target: parts.uri.to_string(),
                headers,
                body: axum::body::to_bytes(body, 1 << 24).await.unwrap(),
            };
            handler(call).await
        }
    });
    let task = tokio::spawn(async move {
        axum::serve(listener, app).await.unwrap();
    });
    Server { url, task }
}

/// A server that answers what `answer` does, and else as a healthy node of the chain with this genesis.
pub async fn serve<F>(genesis_byte: u8, answer: F) -> Server
where
    F: Fn(Call) -> BoxFuture<'static, Option<Response>> + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    serve_on(listener, node(genesis_byte, answer))
}

pub(crate) fn node<F>(genesis_byte: u8, answer: F) -> Handler
where
    F: Fn(Call) -> BoxFuture<'static, Option<Response>> + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    Arc::new(move |call: Call| {
        let answer = answer.clone();
        let path = call.path().to_owned();
        async move {
            if let Some(response) = answer(call).await {
                return response;
            }
            match path.as_str() {
                "/eth/v1/config/spec" => MINIMAL_SPEC.into_response(),
                "/eth/v1/beacon/genesis" => data(&json!({
                    "genesis_time": "1700000000",
                    "genesis_validators_root": format!("0x{}", hex::encode([genesis_byte; 32])),
                    "genesis_fork_version": "0x10000038",
                })),
                "/eth/v1/node/version" => data(&json!({ "version": "Test/v1" })),
                "/eth/v1/node/syncing" => syncing(false, 0, false),
                _ => error(404, "no such route"),
            }
        }
        .boxed()
    })
}

/// A healthy node for everything in `paths`, with the answers given there.
pub async fn healthy(paths: &[(&'static str, Value)]) -> Server {
    let paths: BTreeMap<_, _> = paths.iter().cloned().collect();
    serve(7, move |call| {
        let answer = paths
            .get(call.path())
            .map(|body| body.to_string().into_response());
        async move { answer }.boxed()
    })
    .await
}

/// An answer in the envelope of the Beacon API.
pub fn data(value: &Value) -> Response {
    json!({ "data": value }).to_string().into_response()
}

pub(crate) fn syncing(is_syncing: bool, distance: u64, offline: bool) -> Response {
    data(&json!({
        "head_slot": "9", "sync_distance": distance.to_string(), "is_syncing": is_syncing,
        "is_optimistic": false, "el_offline": offline,
    }))
}

pub(crate) fn error(code: u16, message: &str) -> Response {
    let body = json!({ "code": code, "message": message }).to_string();
    (StatusCode::from_u16(code).unwrap(), body).into_response()
}

pub(crate) fn client(url: &str) -> Node {
    Node::new(Address::new(url, None).unwrap()).unwrap()
}

/// Long enough for any test to get there on a busy machine.
pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A client of these servers, each of which was checked once.
pub async fn connect(servers: &[&Server]) -> Nodes {
    let nodes = Nodes::new(
        servers.iter().map(|server| client(&server.url)).collect(),
        Pinned::default(),
    );
    nodes.check(NOW_MS, soon()).await;
    nodes
}

/// The header of a block of a slot, and its root; `fork` makes it another one.
pub fn header(slot: u64, fork: u8) -> ([u8; 32], Value) {
    let header = BeaconBlockHeader {
        slot,
        proposer_index: 1,
        parent_root: [fork; 32],
        state_root: [2; 32],
        body_root: [3; 32],
    };
    let text = |bytes: [u8; 32]| format!("0x{}", hex::encode(bytes));
    let message = json!({
        "slot": slot.to_string(), "proposer_index": "1", "parent_root": text([fork; 32]),
        "state_root": text([2; 32]), "body_root": text([3; 32]),
    });
    let header = header.root();
    let signature = format!("0x{}", "00".repeat(96));
    let shown = json!({
        "execution_optimistic": false,
        "data": {
            "root": text(header), "canonical": true,
            "header": { "message": message, "signature": signature },
        },
    });
    (header, shown)
}
