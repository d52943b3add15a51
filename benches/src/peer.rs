//! One participant's work in commonware's joint Feldman DKG, and its threshold signatures. Public keys in G1, as here.

use std::num::NonZeroU32;

use commonware_codec::{Copying, Decode as _, DecodeExt as _, Encode as _};
use commonware_cryptography::Signer as _;
use commonware_cryptography::bls12381::dkg::feldman_desmedt::{
    Dealer, DealerPrivMsg, DealerPubMsg, Info, Logs, Output, Player, PlayerAck, Reveal, SignedDealerLog,
};
use commonware_cryptography::bls12381::primitives::group::{G2_MESSAGE, Share};
use commonware_cryptography::bls12381::primitives::ops::{self, threshold};
use commonware_cryptography::bls12381::primitives::sharing::Mode;
use commonware_cryptography::bls12381::primitives::variant::{MinPk, PartialSignature, Variant};
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use commonware_math::algebra::Random as _;
use commonware_parallel::Sequential;
use commonware_utils::ordered::Set;
use commonware_utils::{N3f1, TryCollect as _};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

type Round = Info<MinPk, PublicKey>;

/// A finished DKG from which one participant's part can be taken again and again.
pub struct Peer {
    info: Round,
    most: NonZeroU32,
    keys: Vec<PrivateKey>,
    /// By dealer: its public message, and its private message to the measured participant.
    deals: Vec<(Vec<u8>, Vec<u8>)>,
    /// By player: its acknowledgement of the measured participant's deal.
    acks: Vec<Vec<u8>>,
    logs: Vec<Vec<u8>>,
    outputs: Vec<(Output<MinPk, PublicKey>, Share)>,
}

fn rng(participant: usize) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1000 + participant as u64)
}

impl Peer {
    /// Runs a whole DKG of n participants; the threshold is n - (n - 1) / 3.
    pub fn new(n: usize) -> Self {
        let mut keys: Vec<PrivateKey> = (0..n)
            .map(|i| PrivateKey::random(ChaCha20Rng::seed_from_u64(i as u64)))
            .collect();
        keys.sort_by_key(PrivateKey::public_key);
        let set: Set<PublicKey> = keys
            .iter()
            .map(PrivateKey::public_key)
            .try_collect()
            .expect("keys differ");
        let info = Round::new::<N3f1>(
            b"bench",
            0,
            None,
            Mode::NonZeroCounter,
            Reveal::V1,
            set.clone(),
            set,
        )
        .expect("a valid round");
        let mut players: Vec<_> = keys
            .iter()
            .map(|key| Player::new(info.clone(), key.clone()).expect("a player"))
            .collect();
        let (mut deals, mut acks, mut logs) = (Vec::new(), Vec::new(), Vec::new());
        for (d, key) in keys.iter().enumerate() {
            let (mut dealer, public, private) =
                Dealer::start::<N3f1>(rng(d), info.clone(), key.clone(), None).expect("a dealer");
            for (p, (name, message)) in private.into_iter().enumerate() {
                if p == 0 {
                    deals.push((public.encode().to_vec(), message.encode().to_vec()));
                }
                let ack = players[p]
                    .dealer_message::<N3f1>(key.public_key(), public.clone(), message)
                    .expect("a right deal")
                    .expect("a new one");
                if d == 0 {
                    acks.push(ack.encode().to_vec());
                }
                dealer
                    .receive_player_ack(name, ack)
                    .expect("a right acknowledgement");
            }
            logs.push(dealer.finalize::<N3f1>().encode().to_vec());
        }
        let most = NonZeroU32::new(u32::try_from(n).expect("n is small")).expect("n is not 0");
        let mut peer = Self {
            info,
            most,
            keys,
            deals,
            acks,
            logs,
            outputs: Vec::new(),
        };
        peer.outputs = players
            .into_iter()
            .map(|player| {
                player
                    .finalize::<N3f1>(&mut rng(0), peer.all_logs(), &Sequential)
                    .expect("the round ends")
            })
            .collect();
        peer
    }

    fn all_logs(&self) -> Logs<MinPk, PublicKey, N3f1> {
        let mut logs = Logs::new(self.info.clone());
        for bytes in &self.logs {
            let signed = SignedDealerLog::decode_cfg(Copying(bytes), &self.most).expect("a log");
            let (dealer, log) = signed.check(&self.info).expect("a right log");
            logs.record(dealer, log);
        }
        logs
    }

    /// The whole DKG of the first participant from wire bytes: deal, receive and acknowledge all deals, check the
    /// acknowledgements, check all logs, finalize; with `public_shares` also everybody's public share.
    pub fn dkg(&self, public_shares: bool) -> (Output<MinPk, PublicKey>, Share) {
        let me = &self.keys[0];
        let (mut dealer, public, private) =
            Dealer::start::<N3f1>(rng(0), self.info.clone(), me.clone(), None).expect("a dealer");
        let mut sent = public.encode().len();
        sent += private
            .iter()
            .map(|(_, message)| message.encode().len())
            .sum::<usize>();
        let mut player = Player::new(self.info.clone(), me.clone()).expect("a player");
        for (key, (public, private)) in self.keys.iter().zip(&self.deals) {
            let public = DealerPubMsg::decode_cfg(Copying(public), &self.most).expect("a deal");
            let private = DealerPrivMsg::decode(Copying(private)).expect("a share");
            let ack = player
                .dealer_message::<N3f1>(key.public_key(), public, private)
                .expect("a right deal")
                .expect("a new one");
            sent += ack.encode().len();
        }
        for (key, ack) in self.keys.iter().zip(&self.acks) {
            let ack = PlayerAck::decode(Copying(ack)).expect("an acknowledgement");
            dealer
                .receive_player_ack(key.public_key(), ack)
                .expect("a right acknowledgement");
        }
        sent += dealer.finalize::<N3f1>().encode().len();
        assert!(sent > 0);
        let (output, share) = player
            .finalize::<N3f1>(&mut rng(0), self.all_logs(), &Sequential)
            .expect("the round ends");
        if public_shares {
            output.public().precompute_partial_publics();
        }
        (output, share)
    }

    /// The shares of all participants as big-endian bytes, in order.
    pub fn shares(&self) -> Vec<[u8; 32]> {
        self.outputs
            .iter()
            .map(|(_, share)| share.private.encode().as_ref().try_into().expect("32 bytes"))
            .collect()
    }

    /// Everybody's partial signature of a message, as Ethereum has them.
    pub fn partials(&self, message: &[u8]) -> Vec<PartialSignature<MinPk>> {
        self.outputs
            .iter()
            .map(|(_, share)| PartialSignature {
                index: share.index,
                value: ops::sign::<MinPk>(&share.private, G2_MESSAGE, message),
            })
            .collect()
    }

    /// The group's signature from t partial ones, encoded.
    pub fn recover(&self, partials: &[PartialSignature<MinPk>]) -> [u8; 96] {
        threshold::recover::<MinPk, _>(self.outputs[0].0.public(), partials, &Sequential)
            .expect("enough partial signatures")
            .encode()
            .as_ref()
            .try_into()
            .expect("96 bytes")
    }

    /// Decodes and verifies the participant's partial signature of which `partial` tells the index.
    pub fn verify_bytes(&self, bytes: &[u8; 96], partial: &PartialSignature<MinPk>, message: &[u8]) -> bool {
        let value = <MinPk as Variant>::Signature::decode(Copying(bytes)).expect("a signature");
        let public = self.outputs[0]
            .0
            .public()
            .partial_public(partial.index)
            .expect("a participant");
        ops::verify::<MinPk>(&public, G2_MESSAGE, message, &value).is_ok()
    }
}
