//! The picture of a running node over HTTP: a page for people, `/status` for programs, `/metrics` for Prometheus, `/health`
//! for whoever looks after it, `/health/live` for what may restart it.
//!
//! Nothing can be changed here and nothing secret is told: only GET is answered, and what is shown is what the operators,
//! the chain and everybody who looks at it know anyway. It has a thread of its own, which no duty waits for; whoever asks
//! more often than [`FRESH`] sees what the one before saw. Each connection is for one question and does not last.
//!
//! | Module | What it is |
//! |---|---|
//! | [`mod@metrics`] | the same for Prometheus |
//! | `hosts` | by which names this is asked for |
//! | `connections` | few at a time, and not for long |

pub mod metrics;

mod connections;
mod hosts;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{RawQuery, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::overview::{
    totals::Totals,
    view::{State as Does, View},
};

use connections::Few;
use metrics::Metrics;

/// The page, whole.
const PAGE: &str = include_str!("page.html");
/// Whoever asks within so long sees the same.
pub const FRESH: Duration = Duration::from_millis(200);
/// Unless all are asked for, so many validators are shown one by one.
pub const MOST_VALIDATORS: usize = 200;

/// Looks at the node, with at most so many validators one by one.
pub type Look = Arc<dyn Fn(usize) -> (View, Totals) + Send + Sync>;

/// What `/health` says: whether the node can do its part, or will by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether it can, or will.
    pub healthy: bool,
    /// What it does.
    pub state: Does,
    /// Why it does not sign; empty if it does.
    pub why: String,
    /// While it waits: the first epoch whose attestations it signs.
    pub signs_from_epoch: Option<u64>,
    /// When that begins, in milliseconds since the Unix epoch.
    pub signs_from_ms: Option<u64>,
    /// What is wrong, so that somebody must look; empty if it is healthy.
    pub reasons: Vec<String>,
}

/// What `/health/live` says: whether the process's own work goes on, whatever it can do for its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Liveness {
    /// Whether it goes on.
    pub live: bool,
    /// What it does.
    pub state: Does,
    /// How long ago its loop went round last, in milliseconds.
    pub last_round_ms: u64,
}

type Seen = Arc<(View, Totals)>;

/// What all requests share.
struct Shared {
    look: Look,
    /// Whether others than this machine can ask.
    open: bool,
    /// With some of the validators, and with all.
    seen: Mutex<[Option<(Instant, Seen)>; 2]>,
    policy: HeaderValue,
}

impl Shared {
    fn look(&self, all: bool) -> Seen {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let [few, whole] = &mut *seen;
        let (place, most) = if all {
            (whole, usize::MAX)
        } else {
            (few, MOST_VALIDATORS)
        };
        if let Some((at, seen)) = place
            && at.elapsed() < FRESH
        {
            return seen.clone();
        }
        let fresh = Arc::new((self.look)(most));
        *place = Some((Instant::now(), fresh.clone()));
        fresh
    }
}

/// Answers at a socket that was bound before, until the process ends.
///
/// # Errors
/// If the system gives no thread.
pub fn serve(listener: TcpListener, look: Look) -> io::Result<()> {
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    std::thread::Builder::new()
        .name("monitoring".to_owned())
        .spawn(move || {
            let served =
                runtime.block_on(async { axum::serve(Few::new(listener), router(look, address)).await });
            if let Err(error) = served {
                tracing::warn!("monitoring has stopped: {error}");
            }
        })?;
    Ok(())
}

fn router(look: Look, address: SocketAddr) -> Router {
    let shared = Arc::new(Shared {
        look,
        open: !address.ip().is_loopback(),
        seen: Mutex::new([None, None]),
        policy: policy(),
    });
    Router::new()
        .route("/", get(page))
        .route("/status", get(status))
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(shared.clone(), guarded))
        .with_state(shared)
}

/// Refuses names that a web page elsewhere could have given to this address, and tells browsers what they must not do.
async fn guarded(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST);
    let mut response = if host.is_none_or(|host| hosts::is_ours(host.as_bytes(), shared.open)) {
        next.run(request).await
    } else {
        let text = "This address is not answered under that name. Use an IP address, localhost or a name without a dot.\n";
        (StatusCode::MISDIRECTED_REQUEST, text).into_response()
    };
    let headers = response.headers_mut();
    let fixed = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONNECTION, "close"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(header::CONTENT_SECURITY_POLICY, shared.policy.clone());
    response
}

/// Only the page's own script and style, which asks only here.
fn policy() -> HeaderValue {
    let hash = |tag: &str| {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let start = PAGE.find(&open).map_or(0, |at| at + open.len());
        let end = PAGE.find(&close).unwrap_or(start);
        BASE64.encode(&Sha256::digest(PAGE.get(start..end).unwrap_or_default()))
    };
    let text = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    );
    // Base64 and ASCII: always a header.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
}

async fn page() -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response()
}

async fn status(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let all = query.is_some_and(|query| query.split('&').any(|part| part == "validators=all"));
    Json(&shared.look(all).0).into_response()
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    let seen = shared.look(false);
    let view = &seen.0;
    let health = Health {
        healthy: view.healthy,
        state: view.state,
        why: view.why.clone(),
        signs_from_epoch: view.signs_from_epoch,
        signs_from_ms: view.signs_from_ms,
        reasons: view.reasons.clone(),
    };
    (code(view.healthy), Json(health)).into_response()
}

async fn live(State(shared): State<Arc<Shared>>) -> Response {
    let seen = shared.look(false);
    let view = &seen.0;
    let liveness = Liveness {
        live: view.live,
        state: view.state,
        last_round_ms: view.last_round_ms,
    };
    (code(view.live), Json(liveness)).into_response()
}

fn code(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let seen = shared.look(false);
    match Metrics(seen).text() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests;
