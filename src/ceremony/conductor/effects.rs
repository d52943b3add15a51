//! What the operator asks for, carried out in order; the slow parts in the background.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::ceremony::folder::DataFolder;
use crate::ceremony::problem::Problem;
use crate::ceremony::product::ClusterProduct;
use crate::ceremony::progress::Event;
use crate::ceremony::staging::{self, KeyDeriver};
use crate::ceremony::view::item;
use crate::ceremony::{attempt, publication, records};
use crate::dkg::entry::Id;
use crate::dkg::evidence::Evidence;
use crate::dkg::operator::{Effect, Finished, Mark, OwnShares};
use crate::dkg::secrets::Seed;
use crate::ethereum::network::Network;

use super::{Conductor, Done, Outcome, view};

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
                Effect::Persist(id, entry) => {
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
                Effect::Publish(finished) => {
                    self.flush(&mut records, &mut admitted)?;
                    self.publish(*finished);
                }
                Effect::Lost(k) => self.notice(format!(
                    "attempt {k} was joined with secrets that this folder does not have: it is an old copy, or the folder was lost. \
                     Nothing more is sent in that attempt; the group needs another one"
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
            self.show_fault(evidence);
        }
        if !found.is_empty() {
            let outputs = self.sync.verdicts_changed(&view(&self.operator));
            self.outputs(outputs, &mut Vec::new())?;
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
            self.outputs(outputs, &mut Vec::new())?;
        }
        Ok(())
    }

    pub(super) fn show_fault(&mut self, evidence: &Evidence) {
        let finding = evidence.finding;
        let name = (finding.operator != 0).then(|| self.name(finding.operator));
        let who = name.as_ref().map_or("Nobody is to blame".to_owned(), |name| {
            format!("operator {} ({name})", finding.operator)
        });
        (self.person.show)(Event::Fault {
            operator: (finding.operator != 0).then_some(finding.operator),
            name,
            kind: format!("{:?}", finding.kind),
            message: format!("attempt {}: {who}: {}", evidence.attempt, finding.kind),
            evidence: None,
        });
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
            let result = deriver
                .finish()
                .and_then(|prepared| staging::stage(&folder, own.attempt, &own.shares, &prepared));
            let _ = jobs.send(Done::Stored(own.attempt, result));
        });
        Ok(())
    }

    pub(super) fn publish(&mut self, finished: Finished) {
        let product = ClusterProduct::new(&self.definition, &self.network);
        let (folder, network, jobs) = (self.folder.clone(), self.network.clone(), self.jobs.clone());
        self.result = Some(Outcome {
            lock_hash: finished.lock_hash,
            validators: finished.keys.validators().iter().map(|v| v.group).collect(),
            unconfirmed: Vec::new(),
        });
        self.running += 1;
        std::thread::spawn(move || {
            let k = finished.attempt;
            let result = publish(&folder, &product, &network, &finished);
            let _ = jobs.send(Done::Published(k, result));
        });
    }

    pub(super) fn background(&mut self) -> Result<(), Problem> {
        while let Ok(done) = self.done.try_recv() {
            self.running = self.running.saturating_sub(1);
            let effects = match done {
                Done::Stored(k, result) => {
                    result?;
                    self.operator.keys_stored(k)
                }
                Done::Published(k, result) => {
                    result?;
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

/// Builds the lock, verifies it as any reader would, and only then puts anything in its final place.
fn publish(
    folder: &DataFolder,
    product: &ClusterProduct,
    network: &Network,
    finished: &Finished,
) -> Result<(), Problem> {
    let bug = |why: String| {
        Problem::other(
            "the lock does not verify, and nothing was published",
            why,
            "this is a bug: please report it; your shares are safe in ceremony/, delete nothing",
        )
    };
    let lock = product.lock(finished).map_err(|error| bug(error.to_string()))?;
    let report = lock.verify(Some(network));
    if !report.passed() {
        return Err(bug(report
            .failures()
            .map(|check| check.name.clone())
            .collect::<Vec<_>>()
            .join(", ")));
    }
    let deposits = product
        .deposit_files(&lock)
        .map_err(|error| bug(error.to_string()))?;
    let validators = u32::try_from(finished.keys.validators().len()).unwrap_or(u32::MAX);
    publication::begin(folder, finished.attempt, validators, &deposits, &lock.to_json())?;
    publication::finish(folder, finished.attempt)
}
