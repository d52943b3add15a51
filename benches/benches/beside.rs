//! `cargo bench`: every operation by name and size, ours beside commonware's and plain blst's. One thread.
//!
//! | Name | What |
//! |---|---|
//! | `dkg/N-T/V/conclave` | Deal, check of all Deals, Reveal, check of all Reveals, own shares, n public shares |
//! | `sealing/N-T/V/conclave` | HPKE of one operator |
//! | `entry-signatures/N-T/V/conclave` | its four entries signed, and the others' four times n - 1 verified |
//! | `everything/N-T/V/conclave` | all of that by the real operator, from entries as bytes |
//! | `dkg/N-T/1/commonware` | its DKG with wire decoding and n public shares |
//! | `recover/N-T/...` | a signature from t partial ones, going through all subsets of t |
//! | `verify-partial/...` | a partial signature from bytes |
//!
//! V is the number of validators, and a time is that of all of them. For ratios see the program `ratios`.

use std::hint::black_box;
use std::time::Duration;

use conclave_crypto::bls::{SecretKey, Signature};
use conclave_crypto::hash::sha256;
use conclave_crypto::threshold::recover_signature;
use conclave_benches::ours::Ours;
use conclave_benches::peer::Peer;
use conclave_benches::{SIZES, lagrange, plain, subsets};
use criterion::{BenchmarkId, Criterion};

fn whole_dkg(c: &mut Criterion) {
    for (n, t) in SIZES {
        let peer = Peer::new(n);
        for validators in [1, 100] {
            let ours = Ours::new(n, t, validators);
            let messages = ours.messages();
            let size = format!("{n}-{t}/{validators}");
            let mut bench = |name: &str, work: &dyn Fn()| {
                let mut group = c.benchmark_group(name);
                group.bench_function(BenchmarkId::new(&size, "conclave"), |b| b.iter(work));
            };
            bench("dkg", &|| {
                black_box(ours.bare(&messages));
            });
            bench("sealing", &|| {
                black_box(ours.sealing());
            });
            bench("entry-signatures", &|| {
                black_box(ours.signatures());
            });
            bench("everything", &|| {
                black_box(ours.everything());
            });
        }
        let mut group = c.benchmark_group("dkg");
        group.bench_function(BenchmarkId::new(format!("{n}-{t}/1"), "commonware"), |b| {
            b.iter(|| peer.dkg(true));
        });
    }
}

fn recovery(c: &mut Criterion) {
    let message = sha256(&[b"message"]);
    for (n, t) in SIZES {
        let peer = Peer::new(n);
        let theirs = peer.partials(&message);
        let shares = peer.shares();
        let ours: Vec<Signature> = shares
            .iter()
            .map(|share| SecretKey::from_bytes(share).expect("a share").sign(&message))
            .collect();
        let blst: Vec<_> = shares
            .iter()
            .map(|share| plain::sign(&plain::secret_key(share), &message))
            .collect();
        let subsets = subsets(n, t);
        let pick = |subset: &Vec<usize>| -> Vec<(u64, Signature)> {
            subset.iter().map(|&i| (i as u64, ours[i - 1].clone())).collect()
        };
        let ours: Vec<_> = subsets.iter().map(pick).collect();
        let theirs: Vec<Vec<_>> = subsets
            .iter()
            .map(|subset| subset.iter().map(|&i| theirs[i - 1].clone()).collect())
            .collect();
        let blst: Vec<(Vec<_>, Vec<u8>)> = subsets
            .iter()
            .map(|subset| (subset.iter().map(|&i| blst[i - 1]).collect(), lagrange(subset)))
            .collect();
        let mut group = c.benchmark_group("recover");
        let size = format!("{n}-{t}");
        let mut all = ours.iter().cycle();
        group.bench_function(BenchmarkId::new(&size, "conclave"), |b| {
            b.iter(|| all.next().map(|some| recover_signature(some)));
        });
        let mut all = theirs.iter().cycle();
        group.bench_function(BenchmarkId::new(&size, "commonware"), |b| {
            b.iter(|| all.next().map(|some| peer.recover(some)));
        });
        let mut all = blst.iter().cycle();
        group.bench_function(BenchmarkId::new(&size, "blst"), |b| {
            b.iter(|| all.next().map(|(some, weights)| plain::recover(some, weights)));
        });
    }
}

fn verification(c: &mut Criterion) {
    let peer = Peer::new(4);
    let message = sha256(&[b"message"]);
    let key = SecretKey::from_bytes(&peer.shares()[0]).expect("a share");
    let public = key.public_key();
    let bytes = key.sign(&message).to_bytes();
    let partial = peer.partials(&message).swap_remove(0);
    let blst = plain::secret_key(&peer.shares()[0]).sk_to_pk();
    let mut group = c.benchmark_group("verify-partial");
    group.bench_function("conclave", |b| {
        b.iter(|| Signature::from_bytes(&bytes).is_ok_and(|signature| signature.verify(&public, &message)));
    });
    group.bench_function("commonware", |b| {
        b.iter(|| peer.verify_bytes(&bytes, &partial, &message));
    });
    group.bench_function("blst", |b| {
        b.iter(|| plain::verify_bytes(&bytes, &blst, &message));
    });
}

fn main() {
    // One thread, on which rayon's tasks stay.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .expect("a thread");
    pool.install(|| {
        let mut criterion = Criterion::default()
            .sample_size(20)
            .measurement_time(Duration::from_secs(3))
            .warm_up_time(Duration::from_secs(1))
            .configure_from_args();
        whole_dkg(&mut criterion);
        recovery(&mut criterion);
        verification(&mut criterion);
        criterion.final_summary();
    });
}
