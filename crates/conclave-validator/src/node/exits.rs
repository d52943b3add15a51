//! Voluntary exits of a running node: its own operator's consent, what others sent, and the way to the beacon nodes.
//!
//! All of it happens on a thread of its own, one thing after the other, off the way of duties.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime,
    sync::{mpsc::UnboundedSender, oneshot},
};

use crate::observed::{ExitStage, ExitStands};
use crate::{
    control::{Answer, Refusal, Wish},
    exits::{
        Domain, Inbox, Ledger, Mail, PartialError, PartialExit, Shelf, Standing, Taken, kept_name, key_text,
        signed_file, signed_name,
    },
    group::Group,
    wire::Message,
};
use conclave_beacon::{answers::ValidatorStatus, chain::spec::Chain, nodes::Nodes};
use conclave_crypto::{bls::SecretKey, node::NodeKey};
use conclave_eth::exit::{SignedVoluntaryExit, VoluntaryExit};
use conclave_net::node::{Command, Handle};

use super::{News, clock::now_ms, protocol::Run};

/// So many things that were asked for here may wait to be done.
const QUEUE: usize = 1024;
/// So many partial exits are passed on when an operator connects.
const AT_ONCE: usize = 10_000;
/// How long a beacon node may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What there is to tell about exits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitNews {
    /// Another operator consents to an exit.
    Asked {
        /// Who.
        operator: u16,
        /// The validator's public key in hexadecimal.
        public_key: String,
        /// What.
        message: VoluntaryExit,
        /// Everybody who consents to it.
        consents: Vec<u16>,
        /// Whether this operator has consented to it.
        own: bool,
    },
    /// This operator has consented.
    Consented {
        /// The validator's public key in hexadecimal.
        public_key: String,
        /// What to.
        message: VoluntaryExit,
        /// Everybody who consents to it.
        consents: Vec<u16>,
    },
    /// An operator sent what cannot be right.
    Wrong {
        /// Who.
        operator: u16,
        /// What is wrong, for people.
        why: String,
    },
    /// The group has signed.
    Signed {
        /// The validator's public key in hexadecimal.
        public_key: String,
        /// What.
        message: VoluntaryExit,
        /// Whose parts were used.
        operators: Vec<u16>,
        /// The name of its file.
        file: String,
    },
    /// A beacon node took the signed exit.
    Submitted {
        /// The validator's public key in hexadecimal.
        public_key: String,
    },
    /// No beacon node took it; it is tried again every epoch.
    NotTaken {
        /// The validator's public key in hexadecimal.
        public_key: String,
        /// Why, for people.
        why: String,
    },
    /// The chain lets the validator go.
    Leaving {
        /// The validator's public key in hexadecimal.
        public_key: String,
        /// First epoch without duties.
        epoch: u64,
    },
    /// Something could not be kept on the disk.
    NotKept {
        /// Why, for people.
        why: String,
    },
}

/// Something to do that was asked for here. What others send waits in an [`Inbox`].
enum Job {
    /// There is mail.
    Mail,
    /// What is wished for a validator.
    Wishes {
        validator: u32,
        reply: oneshot::Sender<Vec<Wish>>,
    },
    /// The operator consents.
    Consent {
        validator: u32,
        message: VoluntaryExit,
        reply: oneshot::Sender<Result<Answer, Refusal>>,
    },
    /// The operator gives somebody's part.
    Part {
        partial: PartialExit,
        reply: oneshot::Sender<Result<Answer, Refusal>>,
    },
    /// What became of a submission.
    Submitted {
        validator: u32,
        taken: Result<(), String>,
    },
    /// The chain lets the validator go, or has.
    Leaving { validator: u32, epoch: u64 },
    /// Look whether this is the end.
    Stop,
}

/// What the office works with.
pub(super) struct Tools {
    pub(super) group: Arc<Group>,
    pub(super) chain: Arc<Chain>,
    pub(super) nodes: Nodes,
    pub(super) me: u16,
    pub(super) key: NodeKey,
    pub(super) shares: Arc<Vec<SecretKey>>,
    pub(super) shelf: Box<dyn Shelf>,
    pub(super) network: Handle<Run>,
    pub(super) runtime: runtime::Handle,
    pub(super) news: UnboundedSender<News>,
    /// Nothing is signed.
    pub(super) dry_run: bool,
}

/// The way to the thread. Clones lead to the same.
#[derive(Clone)]
pub(super) struct Exits {
    jobs: SyncSender<Job>,
    mail: Arc<Mutex<Inbox>>,
    stop: Arc<AtomicBool>,
    group: Arc<Group>,
    nodes: Nodes,
}

impl Exits {
    /// Starts the thread, which first reads what was kept.
    pub(super) fn start(tools: Tools) -> Self {
        let (jobs, inbox) = sync_channel(QUEUE);
        let front = Self {
            jobs: jobs.clone(),
            mail: Arc::default(),
            stop: Arc::default(),
            group: tools.group.clone(),
            nodes: tools.nodes.clone(),
        };
        let domain = Domain {
            capella_fork_version: tools.chain.spec.capella_fork_version,
            genesis_validators_root: tools.chain.genesis.validators_root,
        };
        let office = Office {
            ledger: Ledger::new(tools.group.clone(), domain),
            domain,
            signed: BTreeMap::new(),
            jobs,
            mail: front.mail.clone(),
            tools,
        };
        let stop = front.stop.clone();
        thread::spawn(move || office.run(&inbox, &stop));
        front
    }

    /// Ends the thread after what it is doing. Nothing depends on that: each of its files is whole or not there.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        // It may wait for something to do.
        let _ = self.jobs.try_send(Job::Stop);
    }

    /// A peer sent this.
    pub(super) fn heard(&self, from: u16, partial: PartialExit) {
        self.post(|mail| mail.part(from, partial));
    }

    /// Messages can be exchanged with this operator.
    pub(super) fn connected(&self, operator: u16) {
        self.post(|mail| mail.connected(operator));
    }

    fn post(&self, put: impl FnOnce(&mut Inbox) -> bool) {
        let first = put(&mut self.mail.lock().unwrap_or_else(PoisonError::into_inner));
        if first {
            // Who has so much to do that this does not get in looks at the mail anyway.
            let _ = self.jobs.try_send(Job::Mail);
        }
    }

    /// Gives something to do. Who waits for an answer learns that nobody will answer if too much is waiting.
    fn give(&self, job: Job) {
        if self.jobs.try_send(job).is_err() {
            tracing::warn!("too many exits at once: one is left out");
        }
    }

    /// What is known of a validator that shall exit.
    pub(super) async fn look(&self, public_key: &str) -> Result<Answer, Refusal> {
        let (validator, status) = self.find(public_key).await?;
        let (reply, answer) = oneshot::channel();
        self.give(Job::Wishes { validator, reply });
        let wishes = answer.await.map_err(|_| busy())?;
        Ok(Answer::ExitLook {
            validator_index: status.index,
            status: status.status,
            wishes,
            threshold: self.group.threshold,
        })
    }

    /// The operator consents: the validator is looked up once more, and the share signs.
    pub(super) async fn consent(&self, public_key: &str, message: VoluntaryExit) -> Result<Answer, Refusal> {
        let (validator, status) = self.find(public_key).await?;
        if status.index != message.validator_index {
            return Err(Refusal::from_lines(Standing::OtherIndex {
                found: status.index,
                given: message.validator_index,
            }));
        }
        // Whoever asks may not know the chain's time.
        let time = self.nodes.chain().map(|chain| chain.time());
        Standing::check_meant(&message, time, now_ms()).map_err(Refusal::from_lines)?;
        let (reply, answer) = oneshot::channel();
        self.give(Job::Consent {
            validator,
            message,
            reply,
        });
        answer.await.map_err(|_| busy())?
    }

    /// The operator gives a part that came in a file.
    pub(super) async fn part(&self, part: &str) -> Result<Answer, Refusal> {
        let partial = hex::decode(part)
            .ok()
            .and_then(|bytes| PartialExit::decode(&bytes));
        let partial = partial.ok_or_else(|| {
            Refusal::new(
                "the part of an exit was not understood",
                "it is not what this version sends",
                "use the same version of conclave for run and for this command",
            )
        })?;
        let (reply, answer) = oneshot::channel();
        self.give(Job::Part { partial, reply });
        answer.await.map_err(|_| busy())?
    }

    /// A validator of the lock that is active on the chain.
    async fn find(&self, public_key: &str) -> Result<(u32, ValidatorStatus), Refusal> {
        let place = (0..)
            .zip(&self.group.validators)
            .find(|(place, _)| key_text(&self.group, *place).is_some_and(|key| key == public_key));
        let Some((place, validator)) = place else {
            return Err(Refusal::new(
                "the validator cannot exit",
                "the lock of this folder has no validator with this public key",
                "give a public key that cluster-lock.json names",
            ));
        };
        let key = validator.key.to_bytes();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let found = self.nodes.validators(&[key], deadline).await.map_err(|error| {
            Refusal::new(
                "the validator could not be looked up",
                error.to_string(),
                error.advice(),
            )
        })?;
        if let Some(dispute) = found.open(&key) {
            return Err(Refusal::from_lines(Standing::Disputed(dispute.to_string())));
        }
        let status = found.found.into_iter().next();
        let status = status.ok_or_else(|| Refusal::from_lines(Standing::Unknown))?;
        Standing::check(&status).map_err(Refusal::from_lines)?;
        Ok((place, status))
    }
}

fn busy() -> Refusal {
    Refusal::new(
        "the running node does not answer",
        "it is stopping, or too much is waiting",
        "try again in a minute",
    )
}

/// A signed exit on its way.
struct Signed {
    exit: SignedVoluntaryExit,
    /// A beacon node took it, and people were told.
    submitted: bool,
    /// The chain lets the validator go, so nothing is left to be done: first epoch without duties.
    leaves: Option<u64>,
    /// It was there before this start.
    old: bool,
    /// Why it was not taken, as people were told.
    refused: Option<String>,
}

impl Signed {
    fn stage(&self) -> ExitStage {
        match (self.leaves, &self.refused) {
            (Some(epoch), _) => ExitStage::Leaves(epoch),
            (None, _) if self.submitted => ExitStage::Submitted,
            (None, Some(why)) => ExitStage::NotTaken(why.clone()),
            (None, None) => ExitStage::Signed,
        }
    }
}

/// The thread's own.
struct Office {
    tools: Tools,
    domain: Domain,
    ledger: Ledger,
    signed: BTreeMap<u32, Signed>,
    /// To tell itself what became of what was begun.
    jobs: SyncSender<Job>,
    mail: Arc<Mutex<Inbox>>,
}

impl Office {
    fn run(mut self, inbox: &Receiver<Job>, stop: &AtomicBool) {
        self.load();
        let time = self.tools.chain.time();
        let every = Duration::from_millis(time.slot_ms.saturating_mul(time.slots_per_epoch));
        let mut next = Instant::now() + every;
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now >= next {
                next = now + every;
                for validator in self.signed.keys().copied().collect::<Vec<_>>() {
                    self.bring(validator);
                }
            }
            // What this operator wants comes before what others send, however much that is.
            match inbox.try_recv() {
                Ok(job) => {
                    self.work(job);
                    continue;
                }
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {}
            }
            let mail = self.mail.lock().unwrap_or_else(PoisonError::into_inner).take();
            match mail {
                Some(Mail::Part { from, partial }) => self.heard(from, &partial),
                Some(Mail::Connected(operator)) => self.pass_on(operator),
                // Whoever sends the next thing says so.
                None => match inbox.recv_timeout(next.saturating_duration_since(now)) {
                    Ok(job) => self.work(job),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                },
            }
        }
    }

    fn work(&mut self, job: Job) {
        match job {
            Job::Wishes { validator, reply } => {
                let wishes = self.ledger.wishes(validator).into_iter();
                let wishes = wishes.map(|(message, operators)| Wish {
                    epoch: message.epoch,
                    validator_index: message.validator_index,
                    operators: operators.into_iter().collect(),
                });
                // Who asked may have gone.
                let _ = reply.send(wishes.collect());
            }
            Job::Consent {
                validator,
                message,
                reply,
            } => {
                let answer = self.consent(validator, message);
                self.show(validator);
                let _ = reply.send(answer);
            }
            Job::Part { partial, reply } => {
                let answer = self.part(&partial);
                self.show(partial.validator);
                let _ = reply.send(answer);
            }
            Job::Submitted { validator, taken } => {
                self.submitted(validator, taken);
                self.show(validator);
            }
            Job::Leaving { validator, epoch } => {
                let told = self.signed.get_mut(&validator).is_some_and(|signed| {
                    let first = signed.leaves.is_none() && !signed.old;
                    signed.leaves = Some(epoch);
                    first
                });
                self.show(validator);
                if told {
                    let public_key = self.key(validator);
                    self.tell(ExitNews::Leaving { public_key, epoch });
                }
            }
            Job::Mail | Job::Stop => {}
        }
    }

    /// What was kept from the last time, and what people still have to think about.
    fn load(&mut self) {
        for bytes in self.tools.shelf.load() {
            // Signed exits lie there too; they are made again from their parts.
            if let Ok(partial) = PartialExit::from_json(&bytes, &self.tools.group) {
                // What was damaged on the disk is told again by whoever else knows it.
                let _ = self.ledger.restore(&partial);
            }
        }
        for validator in self.ledger.validators() {
            let is_signed = self.sign(validator, true);
            self.show(validator);
            if is_signed {
                continue;
            }
            let partials: Vec<_> = self
                .ledger
                .all()
                .filter(|p| p.validator == validator)
                .cloned()
                .collect();
            for partial in partials {
                self.tell_wish(&partial);
            }
        }
    }

    fn heard(&mut self, from: u16, partial: &PartialExit) {
        let before = self.ledger.get(partial.operator, partial.validator);
        let said_before = before.is_some_and(|before| before.message == partial.message);
        match self.ledger.take(partial, now_ms()) {
            Ok(Taken::New) => {
                self.keep(partial);
                self.broadcast(partial);
                // Where nothing is left to be agreed to, nobody is asked.
                self.sign(partial.validator, false);
                self.show(partial.validator);
                if !said_before {
                    self.tell_wish(partial);
                }
            }
            Ok(Taken::Known | Taken::TooMany) => {}
            // Its author signed that this is its share's signature, which it is not.
            Err(error @ PartialError::Share) => self.tell(ExitNews::Wrong {
                operator: partial.operator,
                why: format!("its part of an exit is wrong: {error}"),
            }),
            // Whoever passes on what it has not checked is not to be listened to.
            Err(error) => {
                let why = format!("it passed on a part of an exit that is wrong: {error}");
                let _ = self
                    .tools
                    .network
                    .blocking_give(Command::Misbehaved { operator: from, why });
            }
        }
    }

    fn consent(&mut self, validator: u32, message: VoluntaryExit) -> Result<Answer, Refusal> {
        if self.tools.dry_run {
            return Err(Refusal::new(
                "the running node signs nothing",
                "it was started with --dry-run",
                "start it without, and ask again",
            ));
        }
        let own = self.ledger.get(self.tools.me, validator);
        // The same consent is sent again, not made again.
        if own.is_none_or(|own| own.message != message) {
            let made_ms = now_ms().max(own.map_or(0, |own| own.made_ms.saturating_add(1)));
            self.make(validator, message, made_ms)?;
        } else if let Some(own) = own.cloned() {
            self.broadcast(&own);
        }
        let consents: Vec<u16> = self.ledger.consents(validator, &message).into_iter().collect();
        let public_key = self.key(validator);
        self.tell(ExitNews::Consented {
            public_key,
            message,
            consents: consents.clone(),
        });
        self.sign(validator, false);
        Ok(self.progress(validator, message))
    }

    /// Takes a part that came in a file, as if its operator had sent it: nothing is signed here.
    fn part(&mut self, partial: &PartialExit) -> Result<Answer, Refusal> {
        let (operator, validator) = (partial.operator, partial.validator);
        let before = self.ledger.get(operator, validator).cloned();
        let refuse = |error: PartialError| {
            Refusal::new(
                format!("the part of operator {operator} cannot be used"),
                error.to_string(),
                "ask that operator for a file that its conclave exit --partial-out wrote",
            )
        };
        // An older one than is known changes nothing, but whoever brings a wrong one wants to know.
        partial
            .check_author(&self.tools.group)
            .and_then(|()| partial.check_share(&self.tools.group, &self.domain))
            .map_err(refuse)?;
        if before
            .as_ref()
            .is_none_or(|before| before.made_ms < partial.made_ms)
        {
            self.ledger.restore(partial).map_err(refuse)?;
            self.keep(partial);
            self.sign(validator, false);
            if before.is_none_or(|before| before.message != partial.message) {
                self.tell_wish(partial);
            }
        }
        // Who did not get it while it was known here gets it now.
        if let Some(known) = self.ledger.get(operator, validator).cloned() {
            self.broadcast(&known);
        }
        Ok(self.progress(validator, partial.message))
    }

    /// How far an exit is.
    fn progress(&self, validator: u32, message: VoluntaryExit) -> Answer {
        let signed = self
            .signed
            .get(&validator)
            .filter(|signed| signed.exit.message == message)
            .and_then(|_| signed_name(&self.tools.group, validator, &message));
        Answer::Exit {
            operators: self.ledger.consents(validator, &message).into_iter().collect(),
            threshold: self.tools.group.threshold,
            signed,
        }
    }

    /// Signs, keeps, and only then sends the own part.
    fn make(&mut self, validator: u32, message: VoluntaryExit, made_ms: u64) -> Result<(), Refusal> {
        let fail =
            |why: String| Refusal::new("the exit was not signed", why, "look at the disk, then try again");
        let tools = &self.tools;
        let share = usize::try_from(validator)
            .ok()
            .and_then(|place| tools.shares.get(place))
            .ok_or_else(|| fail("there is no share of this validator".to_owned()))?;
        let partial = PartialExit::sign(
            (tools.me, &tools.key),
            (validator, share),
            &tools.group.lock_hash,
            &self.domain,
            message,
            made_ms,
        );
        let name = kept_name(&tools.group, &partial).unwrap_or_default();
        let kept = tools.shelf.keep(&name, &partial.to_json(&tools.group));
        kept.map_err(fail)?;
        match self.ledger.take(&partial, now_ms()) {
            Ok(Taken::New) => {}
            Ok(_) => return Err(fail("too many exits were signed in a short time".to_owned())),
            Err(error) => return Err(fail(error.to_string())),
        }
        self.broadcast(&partial);
        Ok(())
    }

    /// Makes the signed exit of a validator if enough operators consent. Whether there is one. An `old` one was there before
    /// this start: people know.
    fn sign(&mut self, validator: u32, old: bool) -> bool {
        let Some(made) = self.ledger.signed(validator) else {
            return self.signed.contains_key(&validator);
        };
        if self
            .signed
            .get(&validator)
            .is_some_and(|signed| signed.exit == made.exit)
        {
            return true;
        }
        let file = signed_name(&self.tools.group, validator, &made.exit.message).unwrap_or_default();
        if let Err(why) = self.tools.shelf.keep(&file, &signed_file(&made.exit)) {
            self.tell(ExitNews::NotKept { why });
        }
        if !old {
            let public_key = self.key(validator);
            self.tell(ExitNews::Signed {
                public_key,
                message: made.exit.message,
                operators: made.operators,
                file,
            });
        }
        self.signed.insert(
            validator,
            Signed {
                exit: made.exit,
                submitted: false,
                leaves: None,
                old,
                refused: None,
            },
        );
        self.bring(validator);
        true
    }

    /// Brings a signed exit to the beacon nodes, unless the chain lets the validator go already.
    fn bring(&self, validator: u32) {
        let Some(signed) = self
            .signed
            .get(&validator)
            .filter(|signed| signed.leaves.is_none())
        else {
            return;
        };
        let key = usize::try_from(validator)
            .ok()
            .and_then(|place| self.tools.group.validators.get(place));
        let Some(key) = key.map(|validator| validator.key.to_bytes()) else {
            return;
        };
        let (nodes, jobs, exit) = (self.tools.nodes.clone(), self.jobs.clone(), signed.exit);
        self.tools.runtime.spawn(async move {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            // Whoever cannot tell is given the exit all the same.
            let found = nodes.validators(&[key], deadline).await.ok();
            let found = found.and_then(|found| found.found.into_iter().next());
            let leaving = found.as_ref().and_then(|status| match Standing::check(status) {
                Err(Standing::Leaving { epoch, .. } | Standing::Gone { epoch, .. }) => Some(epoch),
                _ => None,
            });
            let job = if let Some(epoch) = leaving {
                Job::Leaving { validator, epoch }
            } else {
                let taken = nodes
                    .submit_exit(&exit, tokio::time::Instant::now() + PATIENCE)
                    .await;
                let taken = taken.map(|_| ()).map_err(|error| error.to_string());
                Job::Submitted { validator, taken }
            };
            // The thread may have ended, or has so much to do that the next epoch will do.
            let _ = jobs.try_send(job);
        });
    }

    fn submitted(&mut self, validator: u32, taken: Result<(), String>) {
        let public_key = self.key(validator);
        let Some(signed) = self.signed.get_mut(&validator) else {
            return;
        };
        let news = match taken {
            Ok(()) if !signed.submitted => {
                signed.submitted = true;
                ExitNews::Submitted { public_key }
            }
            Err(why) if signed.refused.as_ref() != Some(&why) => {
                signed.refused = Some(why.clone());
                ExitNews::NotTaken { public_key, why }
            }
            _ => return,
        };
        self.tell(news);
    }

    /// Says how far the exits of a validator are, for whoever looks.
    fn show(&self, validator: u32) {
        let wishes = self.ledger.wishes(validator).into_iter();
        let stands = |(message, consents): (VoluntaryExit, BTreeSet<u16>)| {
            let signed = self.signed.get(&validator);
            let signed = signed.filter(|signed| signed.exit.message == message);
            ExitStands {
                epoch: message.epoch,
                index: message.validator_index,
                consents: consents.into_iter().collect(),
                stage: signed.map_or(ExitStage::Waits, Signed::stage),
            }
        };
        let exits = wishes.map(stands).collect();
        // Nobody listens when the program ends.
        let _ = self.tools.news.send(News::ExitsStand { validator, exits });
    }

    fn tell_wish(&self, partial: &PartialExit) {
        let me = self.tools.me;
        let known = self.signed.get(&partial.validator);
        if partial.operator == me || known.is_some_and(|signed| signed.exit.message == partial.message) {
            return;
        }
        let consents = self.ledger.consents(partial.validator, &partial.message);
        self.tell(ExitNews::Asked {
            operator: partial.operator,
            public_key: self.key(partial.validator),
            message: partial.message,
            own: consents.contains(&me),
            consents: consents.into_iter().collect(),
        });
    }

    /// All that this node knows goes to whoever connects: it may have been away when it was said.
    fn pass_on(&self, operator: u16) {
        for partial in self.ledger.all().take(AT_ONCE) {
            let message = Message::Exit(partial.clone());
            // A node that has stopped tells so by the end of its events.
            let _ = self
                .tools
                .network
                .blocking_give(Command::Send { operator, message });
        }
    }

    fn broadcast(&self, partial: &PartialExit) {
        let message = Message::Exit(partial.clone());
        let _ = self.tools.network.blocking_give(Command::Broadcast(message));
    }

    fn keep(&self, partial: &PartialExit) {
        let name = kept_name(&self.tools.group, partial).unwrap_or_default();
        if let Err(why) = self.tools.shelf.keep(&name, &partial.to_json(&self.tools.group)) {
            self.tell(ExitNews::NotKept { why });
        }
    }

    fn key(&self, validator: u32) -> String {
        key_text(&self.tools.group, validator).unwrap_or_default()
    }

    fn tell(&self, news: ExitNews) {
        // Nobody listens when the program ends.
        let _ = self.tools.news.send(News::Exit(news));
    }
}
