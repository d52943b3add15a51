//! What the operator asks for, carried out in order; the slow parts in the background.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use crate::files::{PUBLIC, is_there};
use crate::folder::DataFolder;
use crate::problem::{Kind, Problem};
use crate::product::{self, ClusterProduct};
use crate::progress::Event;
use crate::publication::{self, Distrust};
use crate::randomness::weight_seed;
use crate::staging::{self, KeyDeriver, Proven};
use crate::view::item;
use crate::{attempt, backups, records};
use conclave_cluster::lock::Lock;
use conclave_cluster::wallets::Wallets;
use conclave_dkg::entry::{Id, Step};
use conclave_dkg::evidence::Evidence;
use conclave_dkg::operator::{Effect, Finished, Mark, OwnShares};
use conclave_dkg::outputs::GroupKeys;
use conclave_dkg::secrets::Seed;
use conclave_eth::keystore::Kdf;
use conclave_eth::network::Network;
use conclave_slashing::Cluster;

use super::{Conductor, Done, EVIDENCE, Handed, Outcome, view};

impl Conductor<'_> {
    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), Problem> {
        let mut queue: VecDeque<Effect> = effects.into();
        let mut records: Vec<Vec<u8>> = Vec::new();
        let mut admitted: Vec<Id> = Vec::new();
        let mut found: Vec<Arc<Evidence>> = Vec::new();
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::NeedSeed(k) => {
                    let seed = self.folder.attempts().create_seed(k)?;
                    queue.extend(self.operator.seed(k, &Seed::new(&seed)));
                }
                Effect::Mark(k, mark) => self.folder.attempts().mark(k, mark_file(mark))?,
                Effect::PersistNote(note) => records.push(records::of_note(&note)),
                Effect::Persist(id, entry) => {
                    self.joins |= entry.step == Step::Join;
                    records.push(records::of_entry(&entry));
                    admitted.push(id);
                }
                Effect::PersistEvidence(evidence) => {
                    records.push(records::of_evidence(&evidence));
                    found.push(evidence);
                }
                Effect::StoreKeys(own) => {
                    self.flush(&mut records, &mut admitted)?;
                    self.store_keys(*own)?;
                }
                Effect::OpenKeys(k) => self.open_keys(k),
                Effect::SeekKeys(k) => self.seek_keys(k),
                Effect::RecordStored(k, outputs) => staging::record_stored(&self.folder, k, &outputs)?,
                Effect::Publish(finished) => {
                    self.flush(&mut records, &mut admitted)?;
                    self.publish(*finished);
                }
                Effect::Lost(k) => self.notice(format!(
                    "attempt {k} was joined with secrets that this folder does not have, nor does it have keystores with the shares that you \
                     confirmed, if you did: it is an old copy, or a new folder in the place of another one. Nothing more is sent in that attempt \
                     from here. If you still have the folder that was used, or a newer copy of it, leave (Ctrl-C) and go on with that"
                )),
                Effect::SeedGone(k) => self.notice(format!(
                    "the secrets with which attempt {k} was joined are not in this folder, but the shares that you confirmed are: \
                     the attempt goes on with them"
                )),
                Effect::DestroySeeds => {
                    self.flush(&mut records, &mut admitted)?;
                    for k in self.folder.attempts().numbers()? {
                        self.folder.attempts().destroy_seed(k)?;
                    }
                }
            }
        }
        self.flush(&mut records, &mut admitted)?;
        for evidence in &found {
            self.show_fault(evidence)?;
        }
        if !found.is_empty() {
            let outputs = self.sync.verdicts_changed(&view(&self.operator));
            self.outputs(outputs)?;
        }
        Ok(())
    }

    /// Makes records durable with one fsync, then shows the entries to peers.
    pub(super) fn flush(
        &mut self,
        records: &mut Vec<Vec<u8>>,
        admitted: &mut Vec<Id>,
    ) -> Result<(), Problem> {
        self.journal.append(records)?;
        records.clear();
        for id in admitted.drain(..) {
            let Some(item) = item(self.operator.board(), &id) else {
                continue;
            };
            let outputs = self.sync.admitted(item, &view(&self.operator));
            self.outputs(outputs)?;
        }
        Ok(())
    }

    /// Keeps a proof as a file that can be handed on, and tells the person.
    pub(super) fn show_fault(&mut self, evidence: &Evidence) -> Result<(), Problem> {
        let finding = evidence.finding;
        let name = (finding.operator != 0).then(|| self.name(finding.operator));
        let who = name.as_ref().map_or("Nobody is to blame".to_owned(), |name| {
            format!("operator {} ({name})", finding.operator)
        });
        let path = self.keep_evidence(evidence)?;
        (self.person.show)(Event::Fault {
            operator: (finding.operator != 0).then_some(finding.operator),
            name,
            kind: format!("{:?}", finding.kind),
            message: format!("attempt {}: {who}: {}", evidence.attempt, finding.kind),
            evidence: Some(path.display().to_string()),
        });
        Ok(())
    }

    fn keep_evidence(&self, evidence: &Evidence) -> Result<PathBuf, Problem> {
        let folder = self.folder.ceremony().join(EVIDENCE);
        self.folder.disk().create_folder(&folder)?;
        let kind = format!("{:?}", evidence.finding.kind).to_lowercase();
        let path = folder.join(format!(
            "attempt-{}-operator-{}-{kind}",
            evidence.attempt, evidence.finding.operator
        ));
        let bytes = evidence.to_file(&self.terms, &product::net(&self.network));
        // One proof of a finding is enough; the first one stays.
        match self.folder.disk().write_new(&path, &bytes, PUBLIC) {
            Err(error) if !error.is_exists() => Err(error.into()),
            _ => Ok(path),
        }
    }

    /// A lock that was handed over as a file finishes the ceremony of whoever voted for its keys.
    pub(super) fn finish_with(&mut self, lock: Option<Handed>) -> Result<(), Problem> {
        let Some(Handed { lock, bytes, is_here }) =
            lock.filter(|_| self.operator.published_attempt().is_none())
        else {
            return Ok(());
        };
        let path = self.folder.lock();
        let bad = |why: String| {
            if is_here {
                return Problem::folder_state(
                    format!(
                        "{} was not made here, and cannot finish your ceremony",
                        path.display()
                    ),
                    why,
                    "move that file out of the folder, and run the same command again; ask another operator for its cluster-lock.json, which may be \
                     put in that place",
                );
            }
            Problem::bad_input(
                "this lock cannot finish your ceremony",
                why,
                "ask another operator for its cluster-lock.json, and nothing is lost: run the command without --lock to go on",
            )
        };
        if lock.definition().definition_hash() != *self.terms.definition_hash() {
            return Err(bad("it is the lock of another definition".to_owned()));
        }
        let report = lock.verify_with(Some(&self.network), &weight_seed()?, &Wallets::unchecked());
        if !report.passed() {
            let failed: Vec<String> = report.failures().map(|check| check.name.clone()).collect();
            return Err(bad(format!("it does not verify: {}", failed.join(", "))));
        }
        let keys = product::keys_of(&lock).ok_or_else(|| bad("its public keys cannot be read".to_owned()))?;
        if self.operator.can_publish(&keys).is_none() {
            self.find_keys(&keys)?;
        }
        let Some(k) = self.operator.can_publish(&keys) else {
            return Err(Problem::folder_state(
                "your share is not in this folder",
                "the lock is the one of your ceremony, and this folder holds no share of its keys: it is an old copy, or has lost its files",
                "run the same command in the folder that you held that ceremony with: name it with --data-dir. If it is lost, import your backup into \
                 a new folder (conclave --data-dir NEW-FOLDER import FILE); without a backup your share is lost: tell the others",
            ));
        };
        let product = ClusterProduct::new(&self.definition, &self.network);
        // Whoever has said that its files are in place had a database, and lost it. Else there was none while the keystores have never had their
        // names, which is looked at there; and it keeps its mark, as the folder may be an old copy.
        let index = self.operator.index();
        let cluster = (!self.has_confirmed(k))
            .then(|| Cluster::of_lock(&lock, index))
            .transpose()
            .map_err(|error| bad(error.to_string()))?;
        let source = self.source(k, &keys);
        let published = publish_lock(&self.folder, &product, (&lock, &bytes, index), source, cluster)?;
        self.tell_what_was_mended(k, published.mended.as_ref());
        if published.cluster.is_some() {
            self.notice(format!(
                "your files are made with another operator's lock. Nobody has said whether this folder is an old copy: {}",
                publication::WAITS
            ));
        }
        self.result = self.read_result()?;
        let effects = self.operator.published(k);
        self.carry_out(effects)
    }

    /// Keystores whose record is lost say themselves what they hold. Where there are none, or not all, as when they were being made again and that
    /// was interrupted, the secrets of the ceremony make them once more.
    fn find_keys(&mut self, keys: &GroupKeys) -> Result<(), Problem> {
        let validators = u32::try_from(self.terms.validators()).unwrap_or(u32::MAX);
        for k in self.operator.may_hold(keys) {
            let problem = match staging::find_staged(&self.folder, k, validators) {
                Ok(Some(opened)) if self.operator.keys_fit(k, &opened.shares, keys) => {
                    self.proven = Some(opened.proven);
                    return staging::record_stored(&self.folder, k, keys.hash());
                }
                Ok(Some(_)) => continue,
                Ok(None) => None,
                Err(problem) if problem.kind == Kind::FolderState => Some(problem),
                Err(problem) => return Err(problem),
            };
            let own = if staging::has_names(&self.folder, validators)? {
                None
            } else {
                self.operator.shares_again(k, keys)
            };
            match (own, problem) {
                (Some(own), problem) => {
                    self.proven = Some(staging::stage_again(
                        &self.folder,
                        k,
                        keys.hash(),
                        &own.shares,
                        self.kdf,
                    )?);
                    self.tell_what_was_mended(k, problem.as_ref());
                    // No more than that they are there: what is published next is the lock that was handed over.
                    self.operator.keys_fit(k, &own.shares, keys);
                    return Ok(());
                }
                (None, Some(problem)) => return Err(problem),
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// Results that were in place before, and were lost, are published again at once.
    pub(super) fn publish_again(&mut self) -> Result<(), Problem> {
        let effects = self.operator.publish_again();
        self.carry_out(effects)
    }

    pub(super) fn store_keys(&mut self, own: OwnShares) -> Result<(), Problem> {
        let count = u32::try_from(own.shares.len()).unwrap_or(u32::MAX);
        let deriver = match self.deriver.take() {
            Some(deriver) => deriver,
            None => KeyDeriver::start(count, self.kdf)?,
        };
        let (folder, jobs) = (self.folder.clone(), self.jobs.clone());
        self.running += 1;
        std::thread::spawn(move || {
            let outputs = *own.keys.hash();
            let result = deriver
                .finish()
                .and_then(|prepared| staging::stage(&folder, own.attempt, &outputs, &own.shares, &prepared));
            let _ = jobs.send(Done::Stored(own.attempt, outputs, result));
        });
        Ok(())
    }

    /// Reads the shares back from the keystores of an attempt whose seed is gone.
    fn open_keys(&mut self, k: u32) {
        let validators = u32::try_from(self.terms.validators()).unwrap_or(u32::MAX);
        let (folder, jobs) = (self.folder.clone(), self.jobs.clone());
        self.running += 1;
        std::thread::spawn(move || {
            let result = staging::open_staged(&folder, k, validators);
            let _ = jobs.send(Done::Opened(k, result));
        });
    }

    /// Reads the shares from keystores of which no record tells.
    fn seek_keys(&mut self, k: u32) {
        let validators = u32::try_from(self.terms.validators()).unwrap_or(u32::MAX);
        let (folder, jobs) = (self.folder.clone(), self.jobs.clone());
        self.running += 1;
        std::thread::spawn(move || {
            let result = staging::find_staged(&folder, k, validators);
            let _ = jobs.send(Done::Found(k, result));
        });
    }

    pub(super) fn publish(&mut self, finished: Finished) {
        let product = ClusterProduct::new(&self.definition, &self.network);
        let (folder, network, jobs) = (self.folder.clone(), self.network.clone(), self.jobs.clone());
        self.result = Some(Outcome {
            lock_hash: finished.lock_hash,
            validators: finished.keys.validators().iter().map(|v| v.group).collect(),
            unconfirmed: Vec::new(),
            is_new: false,
        });
        self.running += 1;
        // An own confirmation that this folder had to be given by others says that the ceremony was finished here before:
        // the folder is an old copy, and there has been a database.
        let index = self.operator.index();
        let has_database = !self.has_confirmed(finished.attempt);
        let source = self.source(finished.attempt, &finished.keys);
        std::thread::spawn(move || {
            let k = finished.attempt;
            let result = publish(
                &folder,
                &product,
                &network,
                &finished,
                (index, has_database),
                source,
            );
            let _ = jobs.send(Done::Published(k, result));
        });
    }

    /// What the keystores of attempt `k` are known from. Those that this process did not write itself may have been damaged since: where it can,
    /// it makes them again.
    fn source(&mut self, k: u32, keys: &GroupKeys) -> Source {
        let proven = self.proven.clone().filter(|proven| proven.attempt() == k);
        let again = if proven.is_none() {
            self.operator.shares_again(k, keys)
        } else {
            None
        };
        Source {
            attempt: k,
            proven,
            again,
            kdf: self.kdf,
        }
    }

    fn tell_what_was_mended(&mut self, k: u32, mended: Option<&Problem>) {
        if let Some(problem) = mended {
            self.notice(format!(
                "{} ({}). Your keystores of attempt {k} were made again from the secrets of the ceremony; what was there is kept beside them. Check the \
                 disk: something on it was changed or damaged",
                problem.what, problem.why
            ));
        }
    }

    /// Whether it was told before that the own files are in place.
    fn has_confirmed(&self, k: u32) -> bool {
        let (board, index) = (self.operator.board(), self.operator.index());
        board.sessions(k).any(|sid| board.is_done(&sid, index))
    }

    /// This start has joined the attempt, began the publication and has seen its end: the database is the whole memory of the shares, unless the
    /// folder had to be told by others what it said itself. Where an earlier start has joined, the folder may be a copy of that moment, and
    /// nobody else need know that another one finished and was used: those it compares with may have lost their journals, or lie.
    fn settle(&mut self, k: u32, cluster: Option<Cluster>) {
        let Some(cluster) = cluster else {
            self.distrust_if_old(k);
            return;
        };
        let knows_all = self.operator.has_said(k, Step::Join) && self.operator.adopted().next().is_none();
        if !knows_all || self.has_confirmed(k) {
            if !self.distrust_if_old(k) && self.alone != Some(k) {
                self.notice(format!(
                    "conclave was started again after you had joined, so it cannot know whether this folder is an old copy: {}",
                    publication::WAITS
                ));
            }
            return;
        }
        match publication::settle(&self.folder, cluster) {
            Ok(()) => {
                if let Some(result) = &mut self.result {
                    result.is_new = true;
                }
            }
            Err(problem) => self.notice(format!(
                "the slashing protection database keeps the mark of an unfinished ceremony ({problem}): {}",
                publication::WAITS
            )),
        }
    }

    /// Others know what this folder said and does not know itself. From the own Sign on, or anything at all where this start has said
    /// everything since its Join, it shows that the folder is an old copy: the database that was published into it remembers nothing of what
    /// the shares signed elsewhere. Gives whether that was found and told.
    pub(super) fn distrust_if_old(&mut self, k: u32) -> bool {
        let is_new = self.result.as_ref().is_some_and(|result| result.is_new);
        let went_on =
            self.operator.went_on_elsewhere(k) || self.operator.adopted().next().is_some() && is_new;
        if !went_on {
            return false;
        }
        let (mark, advice) = match publication::distrust(&self.folder, self.operator.index(), is_new) {
            Ok(Distrust::Known) => return true,
            Ok(Distrust::Needless) => return false,
            Ok(Distrust::Marked) => (
                "it is marked as a restored folder".to_owned(),
                "If the other folder is gone for good, conclave run asks for your word here, and goes on as with a restored backup",
            ),
            Ok(Distrust::InDatabase) => (
                "its slashing protection is marked as that of a restored folder".to_owned(),
                "If the other folder is gone for good, conclave run goes on here as with a restored backup",
            ),
            Err(problem) => (
                format!(
                    "it could not be marked as a restored folder ({}: {})",
                    problem.what, problem.why
                ),
                "Start nothing here before slashing-protection.redb is moved out of this folder: that file remembers nothing",
            ),
        };
        if let Some(result) = &mut self.result {
            result.is_new = false;
        }
        // Whether its journal was lost or damaged once, no later start can know.
        self.notice(format!(
            "the others have entries of yours that this folder does not have. Either it is an old copy, and the ceremony went on in another folder, whose \
             shares may have signed since; or only its journal was lost or damaged; {mark}. If there is such a folder, go on there, put this one away, \
             and never start both. {advice}"
        ));
        true
    }

    pub(super) fn background(&mut self) -> Result<(), Problem> {
        while let Ok(done) = self.done.try_recv() {
            self.running = self.running.saturating_sub(1);
            let effects = match done {
                Done::Stored(k, outputs, result) => {
                    self.proven = Some(result?);
                    self.operator.keys_stored(k, &outputs)
                }
                Done::Opened(k, result) => {
                    let opened = result?;
                    self.proven = Some(opened.proven);
                    self.operator.keys_opened(k, opened.shares)
                }
                Done::Found(k, result) => {
                    let shares = result?.map(|opened| {
                        self.proven = Some(opened.proven);
                        opened.shares
                    });
                    self.operator.keys_found(k, shares)
                }
                Done::Published(k, result) => {
                    let published = result?;
                    self.tell_what_was_mended(k, published.mended.as_ref());
                    self.settle(k, published.cluster);
                    self.operator.published(k)
                }
            };
            self.carry_out(effects)?;
        }
        Ok(())
    }
}

fn mark_file(mark: Mark) -> attempt::Mark {
    match mark {
        Mark::Voted => attempt::Mark::Voted,
        Mark::Signed => attempt::Mark::Signed,
        Mark::Dead => attempt::Mark::Dead,
    }
}

/// What a publication takes the keystores of an attempt from.
struct Source {
    attempt: u32,
    /// This process has written them, or has opened them before.
    proven: Option<Proven>,
    /// The shares, where they can still be made without the keystores.
    again: Option<OwnShares>,
    kdf: Kdf,
}

/// What a publication has done.
pub(super) struct Published {
    /// Whose empty database is in the folder now, if nothing of all this was there before.
    cluster: Option<Cluster>,
    /// What was wrong with the keystores, which were made again.
    mended: Option<Problem>,
}

/// Builds the lock, verifies it as any reader would, and only then puts anything in its final place, for the operator of this number: with
/// an empty slashing protection database if it is to have one, and there was none.
fn publish(
    folder: &DataFolder,
    product: &ClusterProduct,
    network: &Network,
    finished: &Finished,
    (index, has_database): (u16, bool),
    source: Source,
) -> Result<Published, Problem> {
    let bug = |why: String| {
        Problem::other(
            "the lock does not verify, and nothing was published",
            why,
            "this is a bug: please report it; your shares are safe in ceremony/, delete nothing",
        )
    };
    let lock = product.lock(finished).map_err(|error| bug(error.to_string()))?;
    let report = lock.verify_with(Some(network), &weight_seed()?, &Wallets::unchecked());
    if !report.passed() {
        return Err(bug(report
            .failures()
            .map(|check| check.name.clone())
            .collect::<Vec<_>>()
            .join(", ")));
    }
    let cluster = has_database
        .then(|| Cluster::of_lock(&lock, index))
        .transpose()
        .map_err(|error| bug(error.to_string()))?;
    publish_lock(folder, product, (&lock, &lock.to_json(), index), source, cluster)
}

/// Puts a verified lock, in these bytes, and all that belongs to it in its final place, for the operator of this number.
fn publish_lock(
    folder: &DataFolder,
    product: &ClusterProduct,
    (lock, bytes, index): (&Lock, &[u8], u16),
    source: Source,
    cluster: Option<Cluster>,
) -> Result<Published, Problem> {
    let k = source.attempt;
    let (proven, mended) = prove(folder, lock, index, source)?;
    let deposits = product.deposit_files(lock, &weight_seed()?).map_err(|error| {
        Problem::other(
            "the deposit data does not verify, and nothing was published",
            error,
            "this is a bug: please report it; your shares are safe in ceremony/, delete nothing",
        )
    })?;
    let database = cluster
        .as_ref()
        .map(|cluster| {
            conclave_slashing::new_database(cluster, Some(conclave_slashing::Mark::LatePublication))
        })
        .transpose()
        .map_err(|error| Problem::from_lines(Kind::Other, error))?;
    let is_first = publication::begin(folder, &proven, &deposits, database.as_deref(), bytes)?;
    publication::finish(folder, k)?;
    Ok(Published {
        cluster: cluster.filter(|_| is_first),
        mended,
    })
}

/// The keystores with this operator's shares of a lock. Those that an earlier start wrote are opened, as they, or their passwords, may have
/// been damaged or exchanged since: after the publication nothing is left of what they could be made from again. With what was wrong, if they
/// were made again.
fn prove(
    folder: &DataFolder,
    lock: &Lock,
    index: u16,
    source: Source,
) -> Result<(Proven, Option<Problem>), Problem> {
    let (k, validators) = (
        source.attempt,
        u32::try_from(lock.validators().len()).unwrap_or(u32::MAX),
    );
    if let Some(proven) = source.proven.filter(|proven| proven.are_shares_of(lock, index)) {
        return Ok((proven, None));
    }
    let problem = match staging::open_staged(folder, k, validators) {
        Ok(opened) if opened.proven.are_shares_of(lock, index) => return Ok((opened.proven, None)),
        Ok(_) => {
            let staged = publication::staged_keys(folder, k);
            let place = if is_there(&staged)? { staged } else { folder.keys() };
            Problem::folder_state(
                format!("the keystores in {} are not your shares", place.display()),
                "they are of another operator or of another ceremony",
                backups::RESTORE,
            )
        }
        Err(problem) => problem,
    };
    match source.again {
        // What cannot be read may be whole; and what has a final name was published, and used, before.
        Some(own) if problem.kind == Kind::FolderState && !staging::has_names(folder, validators)? => {
            let outputs = *own.keys.hash();
            let proven = staging::stage_again(folder, k, &outputs, &own.shares, source.kdf)?;
            if proven.are_shares_of(lock, index) {
                Ok((proven, Some(problem)))
            } else {
                Err(problem)
            }
        }
        _ => Err(problem),
    }
}
