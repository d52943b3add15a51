//! One agreement of one operator.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use arc_malachitebft_core_driver::{Driver, Input, Output};
use arc_malachitebft_core_types::{
    ExtendedCommitCertificate, ExtendedCommitSignature, PolkaCertificate, PolkaSignature, Round,
    SignedMessage, ThresholdParam, ThresholdParams, Timeout, TimeoutKind, Validity,
};

use conclave_crypto::hash::Hash;
use conclave_eth::duty::Duty;

use super::{
    context::{Agreed, Cast, Ctx, Id, Members, Once, Operator, Proposed, choice, nil_or},
    messages::{Body, Certificate, LAST_ROUND, Message, Proposal, Status, Step, Vote},
    quorum::{Quorum, Signatures},
    records::{Held, Records, Room, Verdict, operator_bit},
    timing::{Wait, status_ms, wait_ms},
};

/// Proposals with values up to this many bytes accompany certificates unasked; longer ones are asked for.
const PUSHED_VALUE: usize = 16 * 1024;

/// After so many messages that no honest node sends, a peer is no longer listened to.
const FORGERIES: u8 = 8;

/// How often a proposal is sent again to one peer, each time it asks; a new connection starts anew.
const RESENDS: u8 = 4;

/// What a node does in an agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Votes, and leads when it is its turn.
    Votes,
    /// Says nothing of its own: it started after the slot did and may have voted before. It follows, passes
    /// certificates on and learns the decision.
    Observes,
}

/// What was agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The round whose precommits decided.
    pub round: u8,
    /// The value's id.
    pub value_id: Hash,
    /// The value.
    pub value: Arc<[u8]>,
    /// Precommits of t operators.
    pub certificate: Certificate,
}

/// What an operator did that no honest one does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misbehaviour {
    /// It voted for two things in one step of a round. Both votes are signed by its node key. Of the own operator: its
    /// key is used elsewhere too.
    TwoVotes(Vote, Vote),
    /// It proposed two things in one round; both proposals are signed by its node key.
    TwoProposals(Proposal, Proposal),
    /// It sent what no honest node sends on: a wrong signature, a proposal by somebody who does not lead, a value
    /// that is too long. Named is the sender, not whom the message names. Reported once.
    Forgery {
        /// The sender.
        sender: u16,
    },
}

impl Misbehaviour {
    /// The operator whose deed it is.
    pub fn operator(&self) -> u16 {
        match self {
            Self::TwoVotes(vote, _) => vote.operator,
            Self::TwoProposals(proposal, _) => proposal.operator,
            Self::Forgery { sender } => *sender,
        }
    }
}

/// What an agreement wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send to all operators that are connected.
    Broadcast(Message),
    /// Send to one operator.
    Send {
        /// To whom.
        to: u16,
        /// What.
        message: Message,
    },
    /// Judge a proposal and answer by [`Instance::verdict`], now or whenever the beacon node can tell. Asked once for
    /// each; those that wait for an answer are [`Instance::held`].
    AskVerdict(Proposal),
    /// This operator leads the round and no value has a polka yet (such a one is proposed again without asking): answer
    /// by [`Instance::propose`].
    AskValue {
        /// The round.
        round: u8,
    },
    /// Agreed. Nothing follows but answers to others who are behind.
    Decided(Decision),
    /// t operators decided on what this one's verdict called impossible. It stays undecided.
    Refused {
        /// The round of the decision.
        round: u8,
        /// The value's id.
        value_id: Hash,
    },
    /// To be told to people.
    Misbehaviour(Misbehaviour),
}

/// A wait that runs.
#[derive(Debug, Clone, Copy)]
struct Timer {
    round: u8,
    wait: Wait,
    from_ms: u64,
}

/// One operator's side of one agreement. Pure: events in by method calls, [`Effect`]s out; the same calls give the
/// same effects. Times are milliseconds since the Unix epoch and never run backwards in here.
pub struct Instance<S> {
    quorum: Arc<Quorum<S>>,
    duty: Duty,
    value_limit: usize,
    /// Role and due time, once started.
    started: Option<(Role, u64)>,
    now_ms: u64,
    driver: Driver<Ctx>,
    /// What the driver is to be fed, in order. Before the start it only collects.
    inputs: VecDeque<Input<Ctx>>,
    /// The round that the driver was last told to start.
    round: u8,
    records: Records,
    timers: Vec<Timer>,
    status_at_ms: u64,
    /// Bitmap of operators that are connected.
    connected: u64,
    /// When a peer's status may be answered again.
    answer_from_ms: BTreeMap<u16, u64>,
    /// How often a proposal was sent again to a peer.
    resent: BTreeMap<(u16, u8, Hash), u8>,
    forgeries: BTreeMap<u16, u8>,
    /// Which deeds were reported: operator, round, and the step or none for a proposal.
    reported: BTreeSet<(u16, u8, Option<Step>)>,
    /// The round for which a value was asked and not given yet.
    asked: Option<u8>,
    /// The last round that this operator led without a value.
    passed: Option<u8>,
    refused: bool,
    decision: Option<Decision>,
    effects: Vec<Effect>,
}

impl<S: Signatures> Instance<S> {
    /// An agreement that has not started: it collects what others say. `value_limit` is the length in bytes that a value
    /// may have.
    pub fn new(quorum: Arc<Quorum<S>>, duty: Duty, value_limit: usize) -> Self {
        let (n, t) = (u64::from(quorum.size), u64::from(quorum.threshold));
        let thresholds = ThresholdParams {
            // More than t - 1 of n: t operators.
            quorum: ThresholdParam::new(t - 1, n),
            // More than n - t of n: at least one of them is honest while at most n - t lie.
            honest: ThresholdParam::new(n - t, n),
        };
        let members = Members::new(quorum.size);
        let driver = Driver::new(Ctx, Once, members, Operator(quorum.own), thresholds);
        Self {
            quorum,
            duty,
            value_limit,
            started: None,
            now_ms: 0,
            driver,
            inputs: VecDeque::new(),
            round: 0,
            records: Records::default(),
            timers: Vec::new(),
            status_at_ms: 0,
            connected: 0,
            answer_from_ms: BTreeMap::new(),
            resent: BTreeMap::new(),
            forgeries: BTreeMap::new(),
            reported: BTreeSet::new(),
            asked: None,
            passed: None,
            refused: false,
            decision: None,
            effects: Vec::new(),
        }
    }

    /// Starts. `due_ms` is when the duty is due: waiting for a proposal counts from then at the earliest. Tell before
    /// who is connected. A second start does nothing.
    pub fn start(&mut self, now_ms: u64, due_ms: u64, role: Role) -> Vec<Effect> {
        self.clock(now_ms);
        if self.started.is_none() {
            self.started = Some((role, due_ms));
            self.status_at_ms = self.now_ms.max(due_ms).saturating_add(self.status_ms());
            let leader = Operator(self.quorum.leader(self.duty, 0));
            self.inputs.push_front(Input::NewRound(Once, Round::ZERO, leader));
            self.run();
            if self.now_ms > due_ms && self.decision.is_none() {
                let status = self.message(Body::Status(self.records.status(self.round)));
                self.effects.push(Effect::Broadcast(status));
            }
        }
        self.done()
    }

    /// The value to propose in a round for which [`Effect::AskValue`] asked. Ignored when it comes too late, was not
    /// asked for, or is too long.
    pub fn propose(&mut self, now_ms: u64, round: u8, value: Arc<[u8]>) -> Vec<Effect> {
        self.clock(now_ms);
        if self.asked == Some(round) && value.len() <= self.value_limit {
            self.asked = None;
            let round = Round::new(round.into());
            self.inputs
                .push_back(Input::ProposeValue(round, Agreed::new(value)));
            self.run();
        }
        self.done()
    }

    /// There is no value to propose in a round for which [`Effect::AskValue`] asked. The operator votes for nothing at once,
    /// by which the others see that they need not wait for it: see `Instance::passes`.
    pub fn pass(&mut self, now_ms: u64, round: u8) -> Vec<Effect> {
        if self.asked == Some(round) && self.may_pass(round) {
            self.asked = None;
            self.passed = Some(round);
        }
        self.tick(now_ms)
    }

    /// A message from a peer, decoded. Its signatures are checked here.
    pub fn receive(&mut self, now_ms: u64, from: u16, message: Message) -> Vec<Effect> {
        self.clock(now_ms);
        let peer = self.quorum.has(from) && from != self.quorum.own;
        let heard = self.forgeries.get(&from).is_none_or(|count| *count < FORGERIES);
        if peer && heard && message.duty == self.duty {
            match message.body {
                Body::Status(status) => self.on_status(from, &status),
                _ if self.decision.is_some() => {}
                Body::Proposal(proposal) => self.on_proposal(from, proposal),
                Body::Vote(vote) => self.on_vote(from, &vote),
                Body::Certificate(certificate) => self.on_certificate(from, &certificate),
            }
            self.run();
        }
        self.done()
    }

    /// The verdict on the proposals of a value in a round. [`Verdict::Valid`] holds for later rounds too,
    /// [`Verdict::Invalid`] for all. A verdict that was given stays.
    pub fn verdict(&mut self, now_ms: u64, round: u8, id: &Hash, verdict: Verdict) -> Vec<Effect> {
        self.clock(now_ms);
        let mut judged = Vec::new();
        for held in self.records.all_proposals_mut() {
            let concerned = held.id == *id
                && held.verdict.is_none()
                && (verdict == Verdict::Invalid || held.proposal.round >= round);
            if concerned {
                held.verdict = Some(verdict);
                judged.push(held.clone());
            }
        }
        for held in &judged {
            self.feed_proposal(held);
        }
        self.run();
        self.done()
    }

    /// An operator was connected or lost. A connected one is told what this node lacks; what it lacks itself it will
    /// say.
    pub fn connection(&mut self, now_ms: u64, peer: u16, connected: bool) -> Vec<Effect> {
        self.clock(now_ms);
        if self.quorum.has(peer) && peer != self.quorum.own {
            let bit = operator_bit(peer);
            self.connected &= !bit;
            if connected {
                self.connected |= bit;
                self.answer_from_ms.remove(&peer);
                self.resent.retain(|(to, _, _), _| *to != peer);
                if self.started.is_some() && self.decision.is_none() {
                    self.send_status(peer);
                }
            }
        }
        self.done()
    }

    /// Lets time pass. To be called at [`Instance::next_wakeup`], and harmless at any time.
    pub fn tick(&mut self, now_ms: u64) -> Vec<Effect> {
        self.clock(now_ms);
        // A timer runs out once, a round has three, and rounds end.
        while let Some(place) = self.elapsed() {
            let timer = self.timers.swap_remove(place);
            let kind = match timer.wait {
                Wait::Propose => TimeoutKind::Propose,
                Wait::Prevote => TimeoutKind::Prevote,
                Wait::Precommit => TimeoutKind::Precommit,
            };
            let timeout = Timeout::new(Round::new(timer.round.into()), kind);
            self.inputs.push_back(Input::TimeoutElapsed(timeout));
            self.run();
        }
        let undecided = self.started.is_some() && self.decision.is_none();
        if undecided && self.now_ms >= self.status_at_ms {
            self.status_at_ms = self.now_ms.saturating_add(self.status_ms());
            let status = self.message(Body::Status(self.records.status(self.round)));
            self.effects.push(Effect::Broadcast(status));
        }
        self.done()
    }

    /// When [`Instance::tick`] wants to be called next; `None` when nothing is waited for.
    pub fn next_wakeup(&self) -> Option<u64> {
        if self.started.is_none() || self.decision.is_some() {
            return None;
        }
        let timers = self.timers.iter().map(|timer| self.expiry(timer));
        timers.chain([self.status_at_ms]).min()
    }

    /// Which agreement.
    pub fn duty(&self) -> Duty {
        self.duty
    }

    /// Whether it was started.
    pub fn is_started(&self) -> bool {
        self.started.is_some()
    }

    /// What was agreed on.
    pub fn decision(&self) -> Option<&Decision> {
        self.decision.as_ref()
    }

    /// The round, from 0.
    pub fn round(&self) -> u8 {
        self.round
    }

    /// The round's leader.
    pub fn leader(&self) -> u16 {
        self.quorum.leader(self.duty, self.round)
    }

    /// The round for which [`Effect::AskValue`] asked, until there is a value.
    pub fn asked(&self) -> Option<u8> {
        self.asked.filter(|_| self.decision.is_none())
    }

    /// Proposals that wait for a verdict.
    pub fn held(&self) -> impl Iterator<Item = &Proposal> {
        let waiting = |held: &&Held| held.verdict.is_none() && self.decision.is_none();
        let all = self.records.all_proposals().filter(waiting);
        all.map(|held| &held.proposal)
    }

    /// Operators of whom a vote arrived, the own one included: who takes part.
    pub fn voters(&self) -> BTreeSet<u16> {
        self.records.first_votes().map(|vote| vote.operator).collect()
    }

    /// Whether more than n - t operators voted for a value in rounds before this one: at most n - t lie, so one of them at
    /// least is honest and found it plausible.
    pub fn is_backed(&self, round: u8, id: &Hash) -> bool {
        let lying = self.quorum.size.saturating_sub(self.quorum.threshold);
        let rounds = 0..round.min(LAST_ROUND);
        let voters: BTreeSet<u16> = rounds
            .flat_map(|round| self.records.votes_for(round, Step::Prevote, id))
            .map(|vote| vote.operator)
            .collect();
        voters.len() > usize::from(lying)
    }

    fn on_proposal(&mut self, from: u16, proposal: Proposal) {
        let round = proposal.round;
        if round > LAST_ROUND
            || proposal.polka.is_some_and(|polka| polka >= round)
            || proposal.operator != self.quorum.leader(self.duty, round)
            || proposal.value.len() > self.value_limit
        {
            return self.forgery(from);
        }
        // The value of a round far ahead would only cost memory. Should we get there, we ask for it.
        let near = round <= self.round.saturating_add(1);
        if !near || !self.records.wants_proposals(round) {
            return;
        }
        let id = proposal.value_id();
        let room = self.records.proposal_room(&proposal, &id);
        if room == Room::No {
            return;
        }
        if !self.quorum.verify_proposal(self.duty, &proposal) {
            return self.forgery(from);
        }
        if room == Room::Conflict
            && self.reported.insert((proposal.operator, round, None))
            && let Some(first) = self.records.proposals(round).first()
        {
            let deed = Misbehaviour::TwoProposals(first.proposal.clone(), proposal.clone());
            self.effects.push(Effect::Misbehaviour(deed));
        }
        self.add_proposal(proposal, id, None);
    }

    /// Keeps a verified proposal, and feeds it when there is a verdict.
    fn add_proposal(&mut self, proposal: Proposal, id: Hash, verdict: Option<Verdict>) {
        let verdict = verdict.or_else(|| self.records.known_verdict(proposal.round, &id));
        let held = Held {
            proposal,
            id,
            verdict,
        };
        self.records.add_proposal(held.clone());
        let decided: Vec<u8> = self
            .records
            .certificates(Step::Precommit)
            .filter(|certificate| certificate.value_id == id)
            .map(|certificate| certificate.round)
            .collect();
        if verdict.is_some() {
            self.feed_proposal(&held);
        }
        for round in &decided {
            self.settle(*round, &id);
        }
        if verdict.is_none() && decided.is_empty() {
            self.effects.push(Effect::AskVerdict(held.proposal));
        }
    }

    fn feed_proposal(&mut self, held: &Held) {
        let validity = match held.verdict {
            Some(Verdict::Valid) => Validity::Valid,
            Some(Verdict::Invalid) => Validity::Invalid,
            None => return,
        };
        let proposed = Proposed {
            round: Round::new(held.proposal.round.into()),
            polka: held
                .proposal
                .polka
                .map_or(Round::Nil, |round| Round::new(round.into())),
            value: Agreed {
                id: held.id,
                bytes: held.proposal.value.clone(),
            },
            author: Operator(held.proposal.operator),
        };
        let signed = SignedMessage::new(proposed, ());
        self.inputs.push_back(Input::Proposal(signed, validity));
    }

    fn on_vote(&mut self, from: u16, vote: &Vote) {
        if vote.round > LAST_ROUND || !self.quorum.has(vote.operator) {
            return self.forgery(from);
        }
        if self.records.vote_room(vote) == Room::No {
            return;
        }
        if !self.quorum.verify_vote(self.duty, vote) {
            return self.forgery(from);
        }
        self.add_vote(vote);
    }

    /// Keeps a verified vote, feeds it, and makes a certificate of it and others.
    fn add_vote(&mut self, vote: &Vote) {
        let first = self.records.vote_room(vote) == Room::First;
        self.keep_vote(vote.clone());
        if let Some(id) = vote.choice {
            self.certify(vote.round, vote.step, id);
        }
        // The driver counts an operator's first vote only, and logs every other one.
        if first {
            let cast = Cast {
                round: Round::new(vote.round.into()),
                step: vote.step.into(),
                choice: nil_or(vote.choice),
                author: Operator(vote.operator),
            };
            self.inputs.push_back(Input::Vote(SignedMessage::new(cast, ())));
        }
    }

    /// Keeps a verified vote if there is place, and reports a second one.
    fn keep_vote(&mut self, vote: Vote) {
        match self.records.vote_room(&vote) {
            Room::No => return,
            Room::First => {}
            Room::Conflict => {
                let deed = (vote.operator, vote.round, Some(vote.step));
                let votes = self.records.votes_of(vote.round, vote.step, vote.operator);
                if let (Some(first), true) = (votes.first(), self.reported.insert(deed)) {
                    let deed = Misbehaviour::TwoVotes(first.clone(), vote.clone());
                    self.effects.push(Effect::Misbehaviour(deed));
                }
            }
        }
        self.records.add_vote(vote);
    }

    /// Makes a certificate when t operators voted for a value, second votes of those who lie included: it may be what
    /// others have acted on.
    fn certify(&mut self, round: u8, step: Step, id: Hash) {
        if self.records.certificate_room(round, step, &id) == Room::No {
            return;
        }
        let signatures: Vec<_> = self
            .records
            .votes_for(round, step, &id)
            .map(|vote| (vote.operator, vote.signature))
            .collect();
        if signatures.len() >= usize::from(self.quorum.threshold) {
            self.add_certificate(&Certificate {
                round,
                step,
                value_id: id,
                signatures,
            });
        }
    }

    fn on_certificate(&mut self, from: u16, certificate: &Certificate) {
        let (round, step, id) = (certificate.round, certificate.step, certificate.value_id);
        if round > LAST_ROUND || certificate.signatures.len() > usize::from(self.quorum.size) {
            return self.forgery(from);
        }
        if self.records.certificate_room(round, step, &id) != Room::No {
            let known = |vote: &Vote| self.records.has_vote(vote);
            if !self.quorum.verify_certificate(self.duty, certificate, known) {
                return self.forgery(from);
            }
            for vote in certificate.votes() {
                self.keep_vote(vote);
            }
            self.add_certificate(certificate);
        }
        let known = self.records.certificate(round, step, &id).is_some();
        if known && self.records.proposal(round, &id).is_none() && self.started.is_some() {
            self.send_status(from);
        }
    }

    /// Keeps a verified certificate, tells everybody, and feeds it.
    fn add_certificate(&mut self, certificate: &Certificate) {
        let (round, step, id) = (certificate.round, certificate.step, certificate.value_id);
        self.records.add_certificate(certificate.clone());
        let message = self.message(Body::Certificate(certificate.clone()));
        self.effects.push(Effect::Broadcast(message));
        if let Some(held) = self.records.proposal(round, &id) {
            let proposal = held.proposal.clone();
            if proposal.value.len() <= PUSHED_VALUE {
                for peer in 1..=self.quorum.size {
                    let lacks = self.connected & operator_bit(peer) != 0
                        && peer != proposal.operator
                        && !self.records.voted_for(peer, &id);
                    if lacks {
                        self.resend_proposal(peer, &proposal, id);
                    }
                }
            }
        }
        match step {
            Step::Prevote => {
                let signature = |(operator, _): &(u16, _)| PolkaSignature::new(Operator(*operator), ());
                self.inputs.push_back(Input::PolkaCertificate(PolkaCertificate {
                    height: Once,
                    round: Round::new(round.into()),
                    value_id: Id(id),
                    polka_signatures: certificate.signatures.iter().map(signature).collect(),
                }));
            }
            Step::Precommit => {
                let signature =
                    |(operator, _): &(u16, _)| ExtendedCommitSignature::new(Operator(*operator), (), None);
                let input = Input::CommitCertificate(ExtendedCommitCertificate {
                    height: Once,
                    round: Round::new(round.into()),
                    value_id: Id(id),
                    commit_signatures: certificate.signatures.iter().map(signature).collect(),
                });
                self.inputs.push_back(input);
                self.settle(round, &id);
            }
        }
    }

    /// t operators have decided on a value: whoever holds its proposal need not ask whether it is plausible, as one of
    /// the t at least is honest and found it so.
    fn settle(&mut self, round: u8, id: &Hash) {
        let mut judged = Vec::new();
        let mut impossible = false;
        let (mut here, mut elsewhere) = (false, None);
        for held in self.records.all_proposals_mut().filter(|held| held.id == *id) {
            impossible |= held.verdict == Some(Verdict::Invalid);
            if held.proposal.round != round {
                elsewhere = Some(held.proposal.value.clone());
                continue;
            }
            here = true;
            if held.verdict.is_none() {
                held.verdict = Some(Verdict::Valid);
                judged.push(held.clone());
            }
        }
        if impossible {
            if !self.refused {
                self.refused = true;
                let value_id = *id;
                self.effects.push(Effect::Refused { round, value_id });
            }
            return;
        }
        for held in &judged {
            self.feed_proposal(held);
        }
        // Known from a proposal of another round only. The driver then takes the value and the certificate as they are.
        if let (false, Some(bytes)) = (here, elsewhere) {
            self.inputs.push_back(Input::SyncDecision(Proposed {
                round: Round::new(round.into()),
                polka: Round::Nil,
                value: Agreed { id: *id, bytes },
                author: Operator(self.quorum.leader(self.duty, round)),
            }));
        }
    }

    /// A peer says what it has: it gets what it lacks, in an order in which it can use it.
    fn on_status(&mut self, from: u16, status: &Status) {
        if self.answer_from_ms.get(&from).is_some_and(|at| self.now_ms < *at) {
            return;
        }
        let pause = self.status_ms() / 2;
        self.answer_from_ms
            .insert(from, self.now_ms.saturating_add(pause));
        let theirs = |round: u8| status.rounds.iter().find(|theirs| theirs.round == round);
        let has_proposal =
            |round, id: &Hash| theirs(round).is_some_and(|theirs| theirs.proposals.contains(id));

        let decided = self.records.certificates(Step::Precommit).next().cloned();
        let decision_only = decided.is_some();
        let certificates: Vec<Certificate> = match decided {
            Some(certificate) => vec![certificate],
            None => self
                .records
                .certificates(Step::Prevote)
                .filter(|certificate| !theirs(certificate.round).is_some_and(|theirs| theirs.polka))
                .cloned()
                .collect(),
        };
        let certified = |held: &Held| {
            certificates.iter().any(|certificate| {
                certificate.value_id == held.id && certificate.round == held.proposal.round
            })
        };
        let wanted = |held: &&Held| {
            let round = held.proposal.round;
            let useful = certified(held) || (round >= status.round && !decision_only);
            useful && !has_proposal(round, &held.id)
        };
        let mut proposals: Vec<Held> = self.records.all_proposals().filter(wanted).cloned().collect();
        if let (Some(certificate), true) = (certificates.first(), decision_only && proposals.is_empty()) {
            // The value may have been proposed in another round than the one that decided.
            let round = certificate.round;
            if !has_proposal(round, &certificate.value_id) {
                let mut same = self.records.all_proposals();
                proposals.extend(same.find(|held| held.id == certificate.value_id).cloned());
            }
        }
        let missing = |vote: &&Vote| {
            let bits = theirs(vote.round).map_or(0, |theirs| match vote.step {
                Step::Prevote => theirs.prevotes,
                Step::Precommit => theirs.precommits,
            });
            !decision_only && vote.round >= status.round && bits & operator_bit(vote.operator) == 0
        };
        let votes: Vec<Vote> = self.records.first_votes().filter(missing).cloned().collect();
        for certificate in certificates {
            self.send(from, Body::Certificate(certificate));
        }
        // Votes may take the peer to the round whose proposal it then accepts.
        for vote in votes {
            self.send(from, Body::Vote(vote));
        }
        for held in proposals {
            self.resend_proposal(from, &held.proposal, held.id);
        }
    }

    fn resend_proposal(&mut self, to: u16, proposal: &Proposal, id: Hash) {
        let count = self.resent.entry((to, proposal.round, id)).or_default();
        if *count < RESENDS {
            *count += 1;
            self.send(to, Body::Proposal(proposal.clone()));
        }
    }

    fn send_status(&mut self, to: u16) {
        self.send(to, Body::Status(self.records.status(self.round)));
    }

    fn send(&mut self, to: u16, body: Body) {
        let message = self.message(body);
        self.effects.push(Effect::Send { to, message });
    }

    fn message(&self, body: Body) -> Message {
        Message {
            duty: self.duty,
            body,
        }
    }

    fn forgery(&mut self, sender: u16) {
        let count = self.forgeries.entry(sender).or_default();
        *count = count.saturating_add(1);
        if *count == 1 {
            let deed = Misbehaviour::Forgery { sender };
            self.effects.push(Effect::Misbehaviour(deed));
        }
    }

    /// Feeds the driver what waits, and what follows from it, until nothing is left. Before the start things just wait:
    /// the driver knows nothing before its first round.
    fn run(&mut self) {
        if self.started.is_none() {
            return;
        }
        while let Some(input) = self.inputs.pop_front() {
            match self.driver.process(input) {
                Ok(outputs) => outputs.into_iter().for_each(|output| self.obey(output)),
                // What the driver refuses it has not taken in: an operator, a height or a certificate that it does not
                // know. None of it gets this far.
                Err(error) => tracing::error!(%error, duty = ?self.duty, "the agreement refused an input"),
            }
            if self.decision.is_some() {
                self.inputs.clear();
                self.timers.clear();
                self.effects
                    .retain(|effect| !matches!(effect, Effect::AskValue { .. } | Effect::AskVerdict(_)));
            }
        }
    }

    fn obey(&mut self, output: Output<Ctx>) {
        let votes = matches!(self.started, Some((Role::Votes, _)));
        match output {
            Output::NewRound(_, round) => self.enter(round),
            Output::ScheduleTimeout(timeout) => self.schedule(timeout),
            Output::GetValue(_, round, _) if votes => {
                if let Some(round) = round_number(round) {
                    self.asked = Some(round);
                    self.effects.push(Effect::AskValue { round });
                }
            }
            Output::Propose(proposed) if votes => self.propose_signed(proposed),
            Output::Vote(cast) if votes => self.vote_signed(&cast),
            Output::GetValue(..) | Output::Propose(_) | Output::Vote(_) => {}
            Output::Decide(_, proposed) => self.decide(proposed),
        }
    }

    /// At once, before anything else is fed: the driver must not see a second new round while the first one waits. After
    /// the last round nothing more is tried; a certificate can still decide.
    fn enter(&mut self, round: Round) {
        let Some(number) = round_number(round).filter(|number| *number > self.round) else {
            return;
        };
        self.round = number;
        self.asked = None;
        self.timers.retain(|timer| timer.round >= number);
        let leader = Operator(self.quorum.leader(self.duty, number));
        self.inputs.push_front(Input::NewRound(Once, round, leader));
    }

    fn schedule(&mut self, timeout: Timeout) {
        let wait = match timeout.kind {
            TimeoutKind::Propose => Wait::Propose,
            TimeoutKind::Prevote => Wait::Prevote,
            TimeoutKind::Precommit => Wait::Precommit,
            TimeoutKind::Rebroadcast | TimeoutKind::FinalizeHeight(_) => return,
        };
        // What is not due yet is late with nobody: a clock that is ahead, or a liar, votes for nothing early, and whose block comes a
        // little later must not be given up for that.
        let from_ms = self.started.map_or(0, |(_, due_ms)| due_ms).max(self.now_ms);
        if let Some(round) = round_number(timeout.round) {
            self.timers.push(Timer { round, wait, from_ms });
        }
    }

    /// Signs, keeps, sends and feeds back the own proposal.
    fn propose_signed(&mut self, proposed: Proposed) {
        let Some(round) = round_number(proposed.round) else {
            return;
        };
        // Somebody else used the key already: another proposal would help nobody.
        if !self.records.proposals(round).is_empty() {
            return;
        }
        let polka = round_number(proposed.polka);
        let value = proposed.value.bytes;
        let proposal = self.quorum.sign_proposal(self.duty, round, polka, value);
        let message = self.message(Body::Proposal(proposal.clone()));
        self.effects.push(Effect::Broadcast(message));
        self.add_proposal(proposal, proposed.value.id, Some(Verdict::Valid));
    }

    /// Signs, keeps, sends and feeds back the own vote.
    fn vote_signed(&mut self, cast: &Cast) {
        let Some(round) = round_number(cast.round) else {
            return;
        };
        let step = Step::from(cast.step);
        // Somebody else used the key already: then this operator has voted, and must not do so twice.
        if !self.records.votes_of(round, step, self.quorum.own).is_empty() {
            return;
        }
        let vote = self
            .quorum
            .sign_vote(self.duty, round, step, choice(&cast.choice));
        let message = self.message(Body::Vote(vote.clone()));
        self.effects.push(Effect::Broadcast(message));
        self.add_vote(&vote);
    }

    fn decide(&mut self, proposed: Proposed) {
        let Some(round) = round_number(proposed.round) else {
            return;
        };
        let id = proposed.value.id;
        // It is there: it was made before the driver saw the last of its votes.
        let certificate = self.records.certificate(round, Step::Precommit, &id);
        let Some(certificate) = certificate.cloned() else {
            tracing::error!(duty = ?self.duty, "the agreement decided without a certificate");
            return;
        };
        let decision = Decision {
            round,
            value_id: id,
            value: proposed.value.bytes,
            certificate,
        };
        self.decision = Some(decision.clone());
        self.effects.push(Effect::Decided(decision));
    }

    /// When a wait is over. Once t operators have precommitted to nothing, a round decides nothing any more, and waiting for
    /// the rest of its precommits would only make the duty late.
    fn expiry(&self, timer: &Timer) -> u64 {
        let threshold = usize::from(self.quorum.threshold);
        if timer.wait == Wait::Precommit && self.records.given_up(timer.round) >= threshold {
            return timer.from_ms;
        }
        if timer.wait == Wait::Propose && self.passes(timer.round) {
            return timer.from_ms;
        }
        let leader = self.quorum.leader(self.duty, timer.round);
        let connected = leader == self.quorum.own || self.connected & operator_bit(leader) != 0;
        let slot_ms = self.quorum.slot_ms;
        let wait = wait_ms(slot_ms, self.duty.kind, timer.round, timer.wait, connected);
        timer.from_ms.saturating_add(wait)
    }

    /// Whether a round's leader has nothing to propose: it proposed nothing, and has voted for nothing.
    fn passes(&self, round: u8) -> bool {
        let leader = self.quorum.leader(self.duty, round);
        let vote = self.records.votes_of(round, Step::Prevote, leader).first();
        let said = vote.is_some_and(|vote| vote.choice.is_none());
        let silent = self.records.proposals(round).is_empty();
        self.may_pass(round) && silent && (said || self.passed == Some(round))
    }

    /// As many rounds as operators may be off. Later ones take their time: if nobody has a value, asking for it again at
    /// once is of no use, and rounds are few.
    fn may_pass(&self, round: u8) -> bool {
        u16::from(round) < self.quorum.size.saturating_sub(self.quorum.threshold)
    }

    /// The place of the timer that ran out first.
    fn elapsed(&self) -> Option<usize> {
        let timers = self.timers.iter().enumerate();
        timers
            .map(|(place, timer)| (self.expiry(timer), timer.round, timer.wait, place))
            .filter(|(expiry, ..)| *expiry <= self.now_ms)
            .min()
            .map(|(.., place)| place)
    }

    fn status_ms(&self) -> u64 {
        status_ms(self.quorum.slot_ms)
    }

    fn clock(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    fn done(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// How many messages are kept and how many wait for the driver, and the bytes of all values.
    #[cfg(any(test, feature = "testing"))]
    pub fn size(&self) -> (usize, usize) {
        let (messages, bytes) = self.records.size();
        (
            messages + self.inputs.len() + self.timers.len() + self.resent.len(),
            bytes,
        )
    }
}

/// The driver's number of a round, unless it is none or beyond the last.
fn round_number(round: Round) -> Option<u8> {
    let number = u8::try_from(round.as_u32()?).ok()?;
    (number <= LAST_ROUND).then_some(number)
}
