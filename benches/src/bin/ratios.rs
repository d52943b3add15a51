//! Prints how long our operations take as parts of what commonware's and blst's take, from one run.
//!
//! Each measurement of ours is followed by one of theirs, and the ratio is that of the medians: a machine that is busy or
//! slow for a while is so for both. Times are CPU times of one thread.
//!
//! `ratios [ROUNDS]`: the number of interleaved pairs of each measurement, 41 by default.

use std::time::Duration;

use conclave_crypto::bls::{PublicKey, SecretKey, Signature};
use conclave_crypto::hash::{WeightStream, sha256};
use conclave_crypto::threshold::recover_signature;
use conclave_benches::ours::Ours;
use conclave_benches::peer::Peer;
use conclave_benches::{SIZES, clock, lagrange, plain, subsets};

/// Medians (and minima) of the times of each piece of work, interleaved.
fn interleave<const N: usize>(rounds: usize, mut work: [&mut dyn FnMut(); N]) -> [Times; N] {
    let mut times = [const { Vec::new() }; N];
    for round in 0..=rounds {
        for (work, times) in work.iter_mut().zip(&mut times) {
            let (time, ()) = clock::time(&mut **work);
            // The first round fills tables and caches.
            if round > 0 {
                times.push(time);
            }
        }
    }
    times.map(Times::new)
}

#[derive(Clone, Copy)]
struct Times {
    median: Duration,
    least: Duration,
}

impl Times {
    fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self {
            median: times[times.len() / 2],
            least: times[0],
        }
    }

    fn over(self, count: usize) -> Self {
        let count = u32::try_from(count).expect("a small count");
        Self {
            median: self.median / count,
            least: self.least / count,
        }
    }
}

fn ms(times: Times) -> String {
    format!(
        "{:.3} ({:.3})",
        times.median.as_secs_f64() * 1e3,
        times.least.as_secs_f64() * 1e3
    )
}

fn us(times: Times) -> String {
    format!(
        "{:.0} ({:.0})",
        times.median.as_secs_f64() * 1e6,
        times.least.as_secs_f64() * 1e6
    )
}

fn ratio(ours: Times, theirs: Times) -> String {
    format!(
        "{:.2} ({:.2})",
        ours.median.as_secs_f64() / theirs.median.as_secs_f64(),
        ours.least.as_secs_f64() / theirs.least.as_secs_f64()
    )
}

fn row(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}

fn head(cells: &[&str]) {
    row(&cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>());
    row(&cells.iter().map(|_| "---".to_owned()).collect::<Vec<_>>());
}

fn whole_dkg(rounds: usize) {
    println!(
        "\nWhole DKG, CPU per operator and key, ms: median (least). Commonware with wire decoding and n public shares.\n"
    );
    head(&[
        "n, t, V",
        "DKG",
        "sealing",
        "entry signatures",
        "everything",
        "commonware",
        "DKG / commonware",
        "DKG + sealing + signatures / commonware",
        "everything / commonware",
    ]);
    for validators in [1, 100] {
        let rounds = if validators == 1 {
            rounds
        } else {
            rounds.div_ceil(6)
        };
        for (n, t) in SIZES {
            let ours = Ours::new(n, t, validators);
            let peer = Peer::new(n);
            let messages = ours.messages();
            let [bare, sealing, signatures, everything, theirs] = interleave(
                rounds,
                [
                    &mut || assert_eq!(ours.bare(&messages).len(), validators),
                    &mut || assert!(ours.sealing() > 0),
                    &mut || assert!(ours.signatures() > 0),
                    &mut || assert_eq!(ours.everything().shares.len(), validators),
                    &mut || assert_eq!(peer.dkg(true).0.players().len(), n),
                ],
            );
            let [bare, sealing, signatures, everything] =
                [bare, sealing, signatures, everything].map(|times| times.over(validators));
            let sum = Times {
                median: bare.median + sealing.median + signatures.median,
                least: bare.least + sealing.least + signatures.least,
            };
            row(&[
                format!("{n}, {t}, {validators}"),
                ms(bare),
                ms(sealing),
                ms(signatures),
                ms(everything),
                ms(theirs),
                ratio(bare, theirs),
                ratio(sum, theirs),
                ratio(everything, theirs),
            ]);
        }
    }
}

fn recovery(rounds: usize) {
    println!(
        "\nRecovery of a signature from t partial ones, over all subsets of t, us; ratios are taken for each subset.\n"
    );
    head(&[
        "n, t",
        "subsets",
        "ours: median / worst",
        "commonware: median / worst",
        "plain blst, median",
        "ratio: median",
        "ratio: worst",
    ]);
    let message = sha256(&[b"message"]);
    for (n, t) in SIZES {
        let peer = Peer::new(n);
        let theirs = peer.partials(&message);
        let keys = peer.shares();
        let ours: Vec<Signature> = keys
            .iter()
            .map(|key| SecretKey::from_bytes(key).expect("a share").sign(&message))
            .collect();
        let blst: Vec<_> = keys
            .iter()
            .map(|key| plain::sign(&plain::secret_key(key), &message))
            .collect();
        let mut rows: Vec<[Times; 3]> = Vec::new();
        let subsets = subsets(n, t);
        for subset in &subsets {
            let some: Vec<(u64, Signature)> =
                subset.iter().map(|&i| (i as u64, ours[i - 1].clone())).collect();
            let others: Vec<_> = subset.iter().map(|&i| theirs[i - 1].clone()).collect();
            let points: Vec<_> = subset.iter().map(|&i| blst[i - 1]).collect();
            let weights = lagrange(subset);
            let expected = peer.recover(&others);
            rows.push(interleave(
                rounds.div_ceil(6),
                [
                    &mut || {
                        assert_eq!(
                            recover_signature(&some).expect("a signature").to_bytes(),
                            expected
                        );
                    },
                    &mut || assert_eq!(peer.recover(&others), expected),
                    &mut || assert_eq!(plain::recover(&points, &weights), expected),
                ],
            ));
        }
        let column = |i: usize| Times::new(rows.iter().map(|row| row[i].median).collect()).median;
        let worst = |i: usize| rows.iter().map(|row| row[i].median).max().unwrap_or_default();
        let micro = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e6);
        let mut ratios: Vec<f64> = rows
            .iter()
            .map(|row| row[0].median.as_secs_f64() / row[1].median.as_secs_f64())
            .collect();
        ratios.sort_by(f64::total_cmp);
        row(&[
            format!("{n}, {t}"),
            subsets.len().to_string(),
            format!("{} / {}", micro(column(0)), micro(worst(0))),
            format!("{} / {}", micro(column(1)), micro(worst(1))),
            micro(column(2)),
            format!("{:.2}", ratios[ratios.len() / 2]),
            format!("{:.2}", ratios[ratios.len() - 1]),
        ]);
    }
}

fn verification(rounds: usize) {
    println!(
        "\nVerification of a partial signature, us: median (least); with decoding and subgroup check of the signature.\n"
    );
    head(&[
        "how many",
        "ours",
        "commonware",
        "plain blst",
        "ours / commonware",
        "ours / blst",
    ]);
    let peer = Peer::new(4);
    let messages: Vec<[u8; 32]> = (0..100_u8).map(|i| sha256(&[&[i]])).collect();
    let key = SecretKey::from_bytes(&peer.shares()[0]).expect("a share");
    let public = key.public_key();
    let signatures: Vec<[u8; 96]> = messages
        .iter()
        .map(|message| key.sign(message).to_bytes())
        .collect();
    let theirs: Vec<_> = messages
        .iter()
        .map(|message| peer.partials(message).swap_remove(0))
        .collect();
    let blst_key = plain::secret_key(&peer.shares()[0]).sk_to_pk();
    let mut weights = WeightStream::new(&[7; 32]);
    let [single, other, blst] = interleave(
        rounds,
        [
            &mut || {
                let signature = Signature::from_bytes(&signatures[0]).expect("a signature");
                assert!(signature.verify(&public, &messages[0]));
            },
            &mut || assert!(peer.verify_bytes(&signatures[0], &theirs[0], &messages[0])),
            &mut || assert!(plain::verify_bytes(&signatures[0], &blst_key, &messages[0])),
        ],
    );
    row(&[
        "1".into(),
        us(single),
        us(other),
        us(blst),
        ratio(single, other),
        ratio(single, blst),
    ]);
    let [batch, other, blst] = interleave(
        rounds.div_ceil(6),
        [
            &mut || {
                let items: Vec<(PublicKey, [u8; 32], Signature)> = messages
                    .iter()
                    .zip(&signatures)
                    .map(|(message, bytes)| {
                        (
                            public,
                            *message,
                            Signature::from_bytes(bytes).expect("a signature"),
                        )
                    })
                    .collect();
                conclave_crypto::bls::verify_batch(&items, &mut weights).expect("all are right");
            },
            &mut || {
                for ((message, bytes), partial) in messages.iter().zip(&signatures).zip(&theirs) {
                    assert!(peer.verify_bytes(bytes, partial, message));
                }
            },
            &mut || {
                for (message, bytes) in messages.iter().zip(&signatures) {
                    assert!(plain::verify_bytes(bytes, &blst_key, message));
                }
            },
        ],
    )
    .map(|times| times.over(100));
    row(&[
        "each of 100 messages, ours in one batch".into(),
        us(batch),
        us(other),
        us(blst),
        ratio(batch, other),
        ratio(batch, blst),
    ]);
}

fn main() {
    let rounds = std::env::args()
        .nth(1)
        .map_or(41, |rounds| rounds.parse().expect("ROUNDS is a number"));
    let what = std::env::args().nth(2).unwrap_or_default();
    // Everything on one thread, commonware included: rayon's tasks then run in place.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .expect("a thread");
    pool.install(|| {
        for (name, part) in [
            ("dkg", whole_dkg as fn(usize)),
            ("recovery", recovery),
            ("verification", verification),
        ] {
            if what.is_empty() || what == name {
                part(rounds);
            }
        }
    });
}
