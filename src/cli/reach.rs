//! How this node is reached, and reaches the others: what was said now, what was said at an earlier start, what is so if
//! nobody said anything.
//!
//! What is said now must be right, is judged before anything is written, and is kept for later starts. What was kept may not
//! fit any more, on another machine or in another network: then it is told, and the node starts without it.

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use conclave_ceremony::addresses::{self, Own};
use conclave_ceremony::conductor::network_problem;
use conclave_ceremony::folder::DataFolder;
use conclave_ceremony::problem::{Kind, Problem};
use conclave_crypto::node::NodePublicKey;
use conclave_net::node::{can_dial, check_peers, check_ports, is_for_everybody, peer_id};

use super::args::Reach;
use super::output::{Output, printable};

/// Where a node listens unless told otherwise.
const DEFAULT_PORT: u16 = 9510;

/// Why an address is not to be announced.
const OF_ANOTHER: &str = "what comes after /p2p/ is the id of somebody else";

/// What a node starts with.
#[derive(Debug)]
pub(super) struct Ways {
    /// Where to listen.
    pub(super) listen: Vec<Multiaddr>,
    /// What to tell the others beside that.
    pub(super) announce: Vec<Multiaddr>,
    /// For later starts.
    own: Own,
    warnings: Vec<String>,
}

impl Ways {
    /// Tells what was kept and does not fit.
    pub(super) fn warn(&self, output: &Output) {
        for warning in &self.warnings {
            output.warn(warning);
        }
    }

    /// Keeps what was said for later starts.
    ///
    /// # Errors
    /// Anything the disk says.
    pub(super) fn keep(&self, folder: &DataFolder) -> Result<(), Problem> {
        Ok(self.own.save(folder)?)
    }
}

/// Judges what was said for a group with these operators, and what was kept.
///
/// # Errors
/// Names the flag that is wrong, and why.
pub(super) fn judge(
    folder: &DataFolder,
    reach: &Reach,
    operators: &[NodePublicKey],
    me: Option<&NodePublicKey>,
) -> Result<Ways, Problem> {
    let me = me.and_then(peer_id);
    let mut ways = judge_or(folder, reach, operators, me, default_addresses)?;
    if let Some(address) = reach.announce().find(|address| is_of_another(address, me)) {
        return Err(Problem::new(
            Kind::Usage,
            format!("--announce {address} does not name you"),
            format!("{OF_ANOTHER}, and whoever called there would not find you"),
            "leave out /p2p/ and what follows: your own id is added by itself",
        ));
    }
    let mine = |address: &&Multiaddr| me.is_some() && id_in(address) == me;
    ways.warnings.extend(reach.peers().filter(mine).map(|address| {
        format!("--peer {address} is you yourself: the others need it, and this machine does not call there")
    }));
    Ok(ways)
}

/// The peer identity that an address ends with.
fn id_in(address: &Multiaddr) -> Option<PeerId> {
    address.iter().last().and_then(|part| match part {
        Protocol::P2p(id) => Some(id),
        _ => None,
    })
}

fn is_of_another(address: &Multiaddr, me: Option<PeerId>) -> bool {
    me.is_some() && id_in(address).is_some_and(|id| Some(id) != me)
}

/// The same, with where to listen if nobody said anything.
fn judge_or(
    folder: &DataFolder,
    reach: &Reach,
    operators: &[NodePublicKey],
    me: Option<PeerId>,
    default: impl FnOnce() -> Vec<Multiaddr>,
) -> Result<Ways, Problem> {
    let peers: Vec<Multiaddr> = reach.peers().cloned().collect();
    check_peers(&peers, operators).map_err(|error| network_problem(&error))?;
    let listen: Vec<Multiaddr> = reach.listen().cloned().collect();
    let announce: Vec<Multiaddr> = reach.announce().cloned().collect();
    let (own, unread) = own_addresses(folder, &listen, &announce);
    let (was_listen_said, was_announce_said) = (!listen.is_empty(), !announce.is_empty());
    let mut warnings: Vec<String> = unread
        .iter()
        .map(|line| {
            format!(
                "the line `{}` in {} cannot be read and is left out: say where to listen, and what to announce, with --listen and --announce",
                printable(line),
                addresses::own_path(folder).display()
            )
        })
        .collect();
    let kept = |what: &str, address: &Multiaddr, why: String, flag: &str| {
        format!(
            "{what} {address}, which an earlier start kept in {}, does not fit here: {why}. It is left out. To withdraw it, \
             say what is right now with {flag}, or delete that file",
            addresses::own_path(folder).display()
        )
    };

    let mut listen = own.listen.clone();
    if !was_listen_said {
        listen.retain(|address| match check_ports(std::slice::from_ref(address)) {
            Ok(()) => true,
            Err(error) => {
                warnings.push(kept("To listen on", address, error.to_string(), "--listen"));
                false
            }
        });
    }
    // What is announced belongs to what is listened on.
    let moved = listen.is_empty() && !own.listen.is_empty();
    let mut announce = own.announce.clone();
    if !was_announce_said {
        announce.retain(|address| {
            let why = if moved {
                "it belongs to where you listened then"
            } else if !can_dial(address) {
                "nobody can be reached there"
            } else if is_of_another(address, me) {
                OF_ANOTHER
            } else {
                return true;
            };
            warnings.push(kept("To announce", address, why.to_owned(), "--announce"));
            false
        });
    }
    for address in announce
        .iter()
        .filter(|address| can_dial(address) && !is_for_everybody(address))
    {
        warnings.push(format!(
            "{address} is told only to operators who are connected through the same private network or machine: elsewhere it means something \
             else, or nothing. If others are to reach you, give a name that everybody can look up, or the public address of your router, with \
             --announce"
        ));
    }
    if listen.is_empty() {
        listen = default();
    }
    check_ports(&listen).map_err(|error| network_problem(&error))?;
    Ok(Ways {
        listen,
        announce,
        own,
        warnings,
    })
}

/// What somebody said, now or at an earlier start. An announced address belongs to what was listened on when it was given.
fn own_addresses(folder: &DataFolder, listen: &[Multiaddr], announce: &[Multiaddr]) -> (Own, Vec<String>) {
    let (mut own, unread) = Own::load(folder);
    if !listen.is_empty() && listen != own.listen {
        listen.clone_into(&mut own.listen);
        own.announce.clear();
    }
    if !announce.is_empty() {
        announce.clone_into(&mut own.announce);
    }
    (own, unread)
}

/// On all interfaces, IPv4 and IPv6, TCP and (where it is built in) QUIC.
fn default_addresses() -> Vec<Multiaddr> {
    let mut texts = vec![
        format!("/ip4/0.0.0.0/tcp/{DEFAULT_PORT}"),
        format!("/ip6/::/tcp/{DEFAULT_PORT}"),
    ];
    if cfg!(feature = "quic") {
        texts.push(format!("/ip4/0.0.0.0/udp/{DEFAULT_PORT}/quic-v1"));
        texts.push(format!("/ip6/::/udp/{DEFAULT_PORT}/quic-v1"));
    }
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::given::Several;
    use super::*;
    use conclave_ceremony::files::Disk;
    use conclave_crypto::node::NodeKey;
    use conclave_net::node::{can_listen, peer_id};

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn reach(peers: &[&str], listen: &[&str], announce: &[&str]) -> Reach {
        Reach {
            peers: vec![Several(addresses(peers))],
            listen: vec![Several(addresses(listen))],
            announce: vec![Several(addresses(announce))],
        }
    }

    fn folder() -> (tempfile::TempDir, DataFolder) {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open_or_create(&Disk::new(), place.path()).unwrap();
        (place, folder)
    }

    #[test]
    fn an_address_with_somebody_elses_id_is_announced_by_no_later_start_either() {
        let (_place, folder) = folder();
        let keys: Vec<NodePublicKey> = [1, 2]
            .map(|seed| NodeKey::from_bytes(&[seed; 32]).unwrap().public())
            .into();
        let [me, other] = [0, 1].map(|i| peer_id(&keys[i]).unwrap());
        let kept = addresses(&[
            "/ip4/203.0.113.7/tcp/9510",
            &format!("/ip4/203.0.113.8/tcp/9510/p2p/{other}"),
            &format!("/ip4/203.0.113.9/tcp/9510/p2p/{me}"),
        ]);
        let listen = ["/ip4/127.0.0.1/tcp/0"];
        let own = Own {
            listen: addresses(&listen),
            announce: kept.clone(),
        };
        own.save(&folder).unwrap();
        let ways = judge(&folder, &reach(&[], &[], &[]), &keys, Some(&keys[0]));
        let ways = ways.unwrap();
        assert_eq!(ways.announce, [kept[0].clone(), kept[2].clone()]);
        let told = ways.warnings.join("\n");
        assert!(
            told.contains(&kept[1].to_string())
                && told.contains("somebody else")
                && told.contains("own-addresses"),
            "{told}"
        );
        // Said now, it is refused.
        let said = reach(&[], &listen, &[&kept[1].to_string()]);
        judge(&folder, &said, &keys, Some(&keys[0])).unwrap_err();
    }

    #[test]
    fn where_to_listen_is_remembered_until_it_is_said_anew() {
        let (_place, folder) = folder();
        assert_eq!(own_addresses(&folder, &[], &[]), (Own::default(), vec![]));

        let (port, router) = (
            addresses(&["/ip4/127.0.0.1/tcp/0"]),
            addresses(&["/ip4/9.9.9.9/tcp/9600"]),
        );
        let said = judge(
            &folder,
            &reach(&[], &["/ip4/127.0.0.1/tcp/0"], &["/ip4/9.9.9.9/tcp/9600"]),
            &[],
            None,
        )
        .unwrap();
        assert_eq!((&said.listen, &said.announce), (&port, &router));
        said.keep(&folder).unwrap();
        let again = judge(&folder, &reach(&[], &[], &[]), &[], None).unwrap();
        assert_eq!(
            (&again.listen, &again.announce, again.warnings.len()),
            (&port, &router, 0)
        );
        let same = judge(&folder, &reach(&[], &["/ip4/127.0.0.1/tcp/0"], &[]), &[], None).unwrap();
        assert_eq!((&same.listen, &same.announce), (&port, &router));

        // The router forwards another port now, or none.
        let moved = judge(&folder, &reach(&[], &["/ip6/::/tcp/0"], &[]), &[], None).unwrap();
        assert_eq!(
            (moved.listen, moved.announce),
            (addresses(&["/ip6/::/tcp/0"]), Vec::new())
        );
    }

    #[test]
    fn whose_id_an_address_ends_with_is_looked_at() {
        let (_place, folder) = folder();
        let keys = [1, 2].map(|byte| NodeKey::from_bytes(&[byte; 32]).unwrap().public());
        let at = |key| format!("/ip4/203.0.113.7/tcp/9510/p2p/{}", peer_id(key).unwrap());
        let (mine, others) = (at(&keys[0]), at(&keys[1]));
        let free = "/ip4/127.0.0.1/tcp/0";
        let judged = |peers: &[&str], announce: &[&str]| {
            judge(&folder, &reach(peers, &[free], announce), &keys, Some(&keys[0]))
        };
        let problem = judged(&[], &[&others]).unwrap_err();
        assert!(
            problem.kind == Kind::Usage && problem.what.contains("--announce"),
            "{problem:?}"
        );
        assert!(judged(&[], &[&mine]).is_ok());
        // One list of everybody for everybody is fine, and says whom it does not concern.
        let ways = judged(&[&mine, &others], &[]).unwrap();
        assert_eq!(ways.warnings.len(), 1, "{:?}", ways.warnings);
        assert!(ways.warnings[0].contains(&mine) && ways.warnings[0].contains("you yourself"));
    }

    #[test]
    fn what_was_kept_and_does_not_fit_is_named_and_does_not_stop_a_start() {
        let (_place, folder) = folder();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let kept = Own {
            listen: addresses(&[
                "/ip4/192.0.2.7/tcp/9510",
                &format!("/ip4/127.0.0.1/tcp/{port}"),
                "/ip4/127.0.0.1/tcp/0",
            ]),
            announce: addresses(&["/ip4/203.0.113.7", "/ip4/203.0.113.7/tcp/9510"]),
        };
        kept.save(&folder).unwrap();
        let ways = judge(&folder, &reach(&[], &[], &[]), &[], None).unwrap();
        assert_eq!(ways.listen, addresses(&["/ip4/127.0.0.1/tcp/0"]));
        assert_eq!(ways.announce, addresses(&["/ip4/203.0.113.7/tcp/9510"]));
        let expected = [
            ("192.0.2.7", "--listen"),
            (&port.to_string(), "--listen"),
            ("/ip4/203.0.113.7,", "--announce"),
        ];
        assert_eq!(ways.warnings.len(), 3, "{:?}", ways.warnings);
        for (warning, (address, flag)) in ways.warnings.iter().zip(expected) {
            for part in [address, flag, "own-addresses"] {
                assert!(warning.contains(part), "{part}: {warning}");
            }
        }
        // It may fit again tomorrow.
        ways.keep(&folder).unwrap();
        assert_eq!(Own::load(&folder), (kept, vec![]));

        // Another machine altogether: neither the address nor what its router had.
        let kept = Own {
            listen: addresses(&["/ip4/192.0.2.7/tcp/9510"]),
            announce: addresses(&["/ip4/203.0.113.7/tcp/9510"]),
        };
        kept.save(&folder).unwrap();
        // Whether the usual port is free here is not what this is about.
        let usual = || addresses(&["/ip4/0.0.0.0/tcp/0"]);
        let ways = judge_or(&folder, &reach(&[], &[], &[]), &[], None, usual).unwrap();
        assert_eq!((ways.listen, ways.announce.len()), (usual(), 0));
        assert_eq!(ways.warnings.len(), 2, "{:?}", ways.warnings);
        let flags = ["--listen", "--announce"];
        for (warning, flag) in ways.warnings.iter().zip(flags) {
            assert!(warning.contains(flag), "{warning}");
        }
        assert!(default_addresses().len() >= 2 && default_addresses().iter().all(can_listen));
    }

    #[test]
    fn an_address_that_is_not_told_to_everybody_is_said_to_be_so_at_every_start() {
        let (_place, folder) = folder();
        let listen = "/ip4/127.0.0.1/tcp/0";
        for (address, is_local) in [
            ("/dns4/nas.local/tcp/9510", true),
            ("/dns/alice/tcp/9510", true),
            ("/dns4/alice.fritz.box/tcp/9510", true),
            ("/ip4/192.168.1.7/tcp/9510", true),
            ("/ip4/127.0.0.1/tcp/9510", true),
            ("/dns4/alice.example.org/tcp/9510", false),
            ("/ip4/203.0.113.7/tcp/9510", false),
        ] {
            let ways = judge(&folder, &reach(&[], &[listen], &[address]), &[], None).unwrap();
            let told = ways.warnings.iter().filter(|text| text.contains(address)).count();
            assert_eq!(told, usize::from(is_local), "{address}: {:?}", ways.warnings);
            ways.keep(&folder).unwrap();
            let again = judge(&folder, &reach(&[], &[], &[]), &[], None).unwrap();
            assert_eq!(again.warnings, ways.warnings);
        }
    }

    #[test]
    fn what_is_said_now_is_judged_before_it_is_kept() {
        let (_place, folder) = folder();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port());
        let key = |seed| NodeKey::from_bytes(&[seed; 32]).unwrap().public();
        let member = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", peer_id(&key(1)).unwrap());
        let stranger = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", peer_id(&key(2)).unwrap());
        let anybody = "/ip4/127.0.0.1/tcp/1";
        let free = "/ip4/127.0.0.1/tcp/0";
        for (given, flag) in [
            (reach(&[], &["/ip4/192.0.2.7/tcp/0"], &[]), "--listen"),
            (reach(&[], &[&taken], &[]), "--listen"),
            (reach(&[&stranger], &[free], &[]), "--peer"),
        ] {
            let problem = judge(&folder, &given, &[key(1)], None).unwrap_err();
            assert!(problem.what_to_do.contains(flag), "{problem:?}");
        }
        assert!(
            judge(
                &folder,
                &reach(&[&member, anybody], &[free], &[]),
                &[key(1)],
                None
            )
            .is_ok()
        );
        assert!(!addresses::own_path(&folder).exists());
    }
}
