use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::overview::tests::{overview, told};

/// Serves a picture, and counts how often it is looked at.
fn serving(healthy: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    serving_with(|view| view.healthy = healthy)
}

/// Serves a picture of which something is otherwise.
fn serving_with(change: impl FnOnce(&mut View)) -> (SocketAddr, Arc<AtomicUsize>) {
    let (mut view, totals) = {
        let overview = told(overview());
        (overview.view(0, 10), overview.totals().clone())
    };
    change(&mut view);
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = looks.clone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let look = move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        (view.clone(), totals.clone())
    };
    serve(listener, Arc::new(look)).unwrap();
    (address, looks)
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    // The connection ends by itself.
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"),
    )
}

#[test]
fn each_question_is_answered() {
    let (address, looks) = serving(true);
    assert!(get(address, "/").contains("<title>conclave</title>"));
    assert_eq!(looks.load(Ordering::Relaxed), 0);
    let status = get(address, "/status");
    let body = status.split("\r\n\r\n").nth(1).unwrap();
    let view: View = serde_json::from_str(body).unwrap();
    assert_eq!(view.operators.len(), 4);
    let health = get(address, "/health");
    assert!(
        health.starts_with("HTTP/1.1 200") && health.contains(r#""healthy":true"#),
        "{health}"
    );
    let metrics = get(address, "/metrics");
    assert!(
        metrics.contains("application/openmetrics-text") && metrics.contains("\nconclave_healthy 1.0\n"),
        "{metrics}"
    );
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    // One after the other within a moment, so few looks were enough.
    assert!(looks.load(Ordering::Relaxed) <= 3);
    assert!(get(address, "/other").starts_with("HTTP/1.1 404"));
    let (address, _) = serving(false);
    assert!(get(address, "/health").starts_with("HTTP/1.1 503"));
}

/// The code and the body.
fn body<T: serde::de::DeserializeOwned>(address: SocketAddr, path: &str) -> (u16, T) {
    let answer = get(address, path);
    let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    (code, serde_json::from_str(body).unwrap())
}

#[test]
fn who_merely_waits_is_healthy_and_who_hangs_does_not_live() {
    let (address, _) = serving_with(|view| {
        view.state = Does::Waiting;
        view.why = "attestations are signed from epoch 3 on".to_owned();
        view.signs_from_epoch = Some(3);
        view.signs_from_ms = Some(77);
        view.quiet_for(Duration::from_millis(900));
    });
    let (code, health) = body::<Health>(address, "/health");
    assert_eq!((code, health.healthy, health.state), (200, true, Does::Waiting));
    assert_eq!(
        (health.signs_from_epoch, health.signs_from_ms),
        (Some(3), Some(77))
    );
    assert!(
        health.why.contains("from epoch 3 on") && health.reasons.is_empty(),
        "{health:?}"
    );
    let (code, liveness) = body::<Liveness>(address, "/health/live");
    assert_eq!((code, liveness.live, liveness.last_round_ms), (200, true, 900));

    // Nothing that is wrong elsewhere is a reason to restart it.
    let (address, _) = serving_with(|view| {
        view.healthy = false;
        view.reasons = vec!["2 of 4 operators are here, and 3 must be".to_owned()];
    });
    let (code, health) = body::<Health>(address, "/health");
    assert_eq!((code, health.reasons.len()), (503, 1));
    assert_eq!(body::<Liveness>(address, "/health/live").0, 200);

    let (address, _) = serving_with(|view| view.quiet_for(Duration::from_secs(60)));
    let (code, liveness) = body::<Liveness>(address, "/health/live");
    assert_eq!((code, liveness.live), (503, false));
    let (code, health) = body::<Health>(address, "/health");
    assert_eq!((code, health.reasons.len()), (503, 1));
}

#[test]
fn nothing_can_be_changed_or_read_from_elsewhere() {
    let (address, _) = serving(true);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = ask(
            address,
            &format!("{method} /status HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n"),
        );
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    }
    let answer = ask(
        address,
        "GET /status HTTP/1.1\r\nHost: evil.example.com:3620\r\n\r\n",
    );
    assert!(
        answer.starts_with("HTTP/1.1 421") && !answer.contains("operators"),
        "{answer}"
    );
    let answer = get(address, "/status").to_ascii_lowercase();
    for header in [
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "cross-origin-resource-policy: same-origin",
    ] {
        assert!(answer.contains(header), "{answer}");
    }
    assert!(!answer.contains("access-control-allow"), "{answer}");
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_may_not_get_it() {
    let (address, _) = serving(true);
    let answer = get(address, "/");
    let policy = answer
        .lines()
        .find(|line| line.starts_with("content-security-policy:"))
        .unwrap();
    assert!(
        policy.contains("default-src 'none'") && policy.matches("'sha256-").count() == 2,
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(
        (PAGE.matches("<script>").count(), PAGE.matches("<style>").count()),
        (1, 1)
    );
    for foreign in [
        "http:",
        "https:",
        "//cdn",
        "src=",
        "@import",
        "url(",
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        " style=",
    ] {
        assert!(!PAGE.contains(foreign), "{foreign}");
    }
}

#[test]
fn who_holds_connections_keeps_others_out_only_for_moments() {
    let (address, _) = serving(true);
    let silent: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    // More than are let in; they are hung up on, and the next one is answered.
    assert!(get(address, "/health").starts_with("HTTP/1.1 200"));
    drop(silent);
}

#[test]
fn names_cannot_break_the_metrics() {
    let mut overview = told(overview());
    overview.rename(2, "b\"ob\\\nconclave_evil 1");
    let seen = Arc::new((overview.view(0, 10), overview.totals().clone()));
    let text = Metrics(seen).text().unwrap();
    assert!(
        !text.lines().any(|line| line.starts_with("conclave_evil")),
        "{text}"
    );
    for line in text.lines() {
        assert!(line.starts_with("conclave_") || line.starts_with("# "), "{line}");
    }
    for metric in [
        "conclave_operator_connected{operator=\"alice\",index=\"1\"} 1.0",
        "conclave_operator_duties_total{operator=\"dave\",index=\"4\",result=\"missing\"} 1",
        "conclave_state{state=\"signing\"}",
        "conclave_agreement_seconds_bucket{le=\"+Inf\",kind=\"head\"} 1",
        "conclave_beacon_node_ready{node=\"http://localhost:5052\"} 1",
        "conclave_beacon_node_state{node=\"http://localhost:5052\",state=\"ready\"} 1",
        "conclave_beacon_node_info{node=\"http://localhost:5052\",version=\"Imitation/1\"} 1",
        "conclave_beacon_node_head_slot{node=\"http://localhost:5052\"} 8",
        "conclave_beacon_node_latency_seconds{node=\"http://localhost:5052\"} 0.003",
        "conclave_operator_connected{operator=\"dave\",index=\"4\"} 0",
        "conclave_operator_direct{operator=\"carol\",index=\"3\"} 1",
        "conclave_operator_participation_ratio{operator=\"carol\",index=\"3\"} 1",
    ] {
        assert!(text.contains(metric), "{metric} is not in {text}");
    }
}

#[test]
fn the_documents_name_exactly_what_there_is() {
    let mut overview = told(overview());
    let fork = conclave_validator::node::News::UnknownFork {
        name: "eip9999".to_owned(),
        epoch: 20_000,
    };
    overview.tell(&fork, 0);
    let text = Metrics(Arc::new((overview.view(0, 10), overview.totals().clone())))
        .text()
        .unwrap();
    let words = |text: &str| -> BTreeSet<String> {
        let word = |c: char| !(c.is_ascii_lowercase() || c == '_');
        let words = text.split(word).filter(|word| word.starts_with("conclave_"));
        // A histogram has several names.
        let ends = ["_bucket", "_count", "_sum"];
        let one = |word: &str| {
            ends.iter()
                .find_map(|end| word.strip_suffix(end))
                .unwrap_or(word)
                .to_owned()
        };
        words.map(one).collect()
    };
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let there: BTreeSet<String> = types
        .map(|line| match line.split_once(' ').unwrap() {
            (name, "counter") => format!("{name}_total"),
            (name, _) => name.to_owned(),
        })
        .collect();
    let documented = words(include_str!("../../vectors/monitoring.md"));
    assert_eq!(documented, there);
    let shown = words(include_str!("../../vectors/grafana.json"));
    assert!(shown.is_subset(&there), "{:?}", shown.difference(&there));
    assert!(shown.len() > 10);
}
