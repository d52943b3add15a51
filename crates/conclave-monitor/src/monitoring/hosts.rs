//! By which names this is asked for.
//!
//! A page in somebody's browser can give its own name this machine's address (DNS rebinding) and then read what is answered
//! here. Its name is one that everybody can buy. So only addresses are answered, and names that nobody can buy.

use std::net::IpAddr;

/// Ends of names that exist only in somebody's own network (RFC 6761, 6762, 8375, ICANN's reservation of `.internal`, and
/// what routers and Kubernetes use).
const LOCAL: [&str; 5] = [".localhost", ".local", ".internal", ".home.arpa", ".lan"];
/// Longer is no host.
const MAX: usize = 300;

/// Whether the content of a `Host` header is an address or a name that nobody can buy. If the socket is `open` to other
/// machines, these may use the names of their own network; else only this machine's.
pub(super) fn is_ours(host: &[u8], open: bool) -> bool {
    let Some(host) = std::str::from_utf8(host).ok().filter(|host| host.len() <= MAX) else {
        return false;
    };
    let name = without_port(host);
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    if bare.unwrap_or(name).parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    if name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let short = !name.is_empty() && !name.contains('.');
    open && name.chars().all(sound) && (short || LOCAL.iter().any(|end| name.ends_with(end)))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The colons of an IPv6 address are within brackets, or it has no port.
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) && !unbracketed(name) => name,
        _ => host,
    }
}

fn unbracketed(name: &str) -> bool {
    name.contains(':') && !name.ends_with(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_local_names_are_answered() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:3620",
            "[::1]:3620",
            "[::1]",
            "::1",
            "192.168.1.7:80",
            "localhost:3620",
            "LOCALHOST",
        ] {
            assert!(is_ours(host.as_bytes(), false), "{host}");
            assert!(is_ours(host.as_bytes(), true), "{host}");
        }
        for host in [
            "validator:3620",
            "node-1",
            "conclave.stake.svc.cluster.local:3620",
            "box.lan",
            "a.internal.",
        ] {
            assert!(!is_ours(host.as_bytes(), false), "{host}");
            assert!(is_ours(host.as_bytes(), true), "{host}");
        }
    }

    #[test]
    fn names_that_can_be_bought_are_not() {
        for host in [
            "evil.example.com:3620",
            "127.0.0.1.nip.io",
            "localhost.evil.com",
            "evillocalhost.com",
            "",
            ":3620",
            "a b",
            "127.0.0.1@evil.com",
            "[::1].evil.com",
            "evil.com:lan",
        ] {
            assert!(!is_ours(host.as_bytes(), false), "{host}");
            assert!(!is_ours(host.as_bytes(), true), "{host}");
        }
        assert!(!is_ours(b"\xff", true));
        assert!(!is_ours(&[b'a'; 10_000], true));
    }
}
