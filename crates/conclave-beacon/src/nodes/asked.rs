//! What came of asking a node: everybody who is asked something is [`Asked`].

use std::{future::Future, time::Duration};

use tokio::time::Instant;

use super::{ErrorKind, FAIR, Node, NodeError, Nodes};

/// A request that fails so often, one time after the other, is told of.
const TROUBLE_AFTER: u32 = 3;
/// What was not asked again for so long is nothing to speak of any more; more than an epoch, for some duties are asked
/// for once in it.
const TROUBLE_FADES: Duration = Duration::from_secs(15 * 60);
/// A node that had this long, and was overtaken by one that was asked after it, is the slower one.
const OVERTAKEN_AFTER: Duration = Duration::from_millis(250);
/// For most so many checks a node is asked after the others for what it failed.
const MAX_BEHIND: u32 = 32;

/// A request that failed, one time after the other.
#[derive(Debug, Clone)]
pub(super) struct Failing {
    /// In how many times between two checks: what is asked often at a time fails often at a time.
    times: u32,
    /// The number of the check before it was counted last.
    check: u32,
    /// Since when.
    pub(super) since: Instant,
    last: Instant,
    /// The last one.
    pub(super) error: NodeError,
    /// Whether duties need the answer: what they do not need is nothing to speak of.
    needed: bool,
}

impl Failing {
    /// Nothing is counted yet, after so many checks.
    pub(super) fn new(check: u32, error: &NodeError, needed: bool) -> Self {
        let now = Instant::now();
        Self {
            times: 0,
            check: check.wrapping_sub(1),
            since: now,
            last: now,
            error: error.clone(),
            needed,
        }
    }

    /// It failed, after so many checks. Whether that is the first time.
    pub(super) fn count(&mut self, check: u32, error: &NodeError) -> bool {
        if self.check != check {
            self.times = self.times.saturating_add(1);
            self.check = check;
        }
        self.last = Instant::now();
        self.error = error.clone();
        self.times == 1
    }

    /// Whether it is to be told.
    pub(super) fn is_trouble(&self) -> bool {
        self.needed && self.times >= TROUBLE_AFTER && self.last.elapsed() < TROUBLE_FADES
    }

    /// Whether others are asked before it, after so many checks: until the next one if it failed once, and twice as many each further
    /// time. Then it is asked first again, or nobody would see that it is well.
    pub(super) fn is_behind(&self, checks: u32) -> bool {
        let shift = self.times.saturating_sub(1).min(MAX_BEHIND.ilog2());
        checks.wrapping_sub(self.check) < 1 << shift
    }
}

/// A node that is asked something. It is the only way to ask one of several, so nobody is dropped without a word: an answer, a failure,
/// having been overtaken by one that was asked later, and not being waited for any longer, each says something of the node. A
/// node that fails a request is asked for that after those that are as well, until the next check, and for twice as long each
/// further time; if it goes on, that is told. It is not down for that, and what it tells of its head counts as before.
pub(super) struct Asked<'a> {
    nodes: &'a Nodes,
    request: &'static str,
    place: usize,
    /// When it was asked.
    pub(super) at: Instant,
    fair: Duration,
    needed: bool,
    open: bool,
}

impl Nodes {
    /// One node is asked something. `fair` is how long it has at the least before it says something of it that it does not answer.
    pub(super) fn ask(&self, request: &'static str, place: usize, fair: Duration) -> Asked<'_> {
        if let Some(member) = self.shared().members.get_mut(place) {
            member.asked = member.asked.saturating_add(1);
        }
        Asked {
            nodes: self,
            request,
            place,
            at: Instant::now(),
            fair,
            needed: true,
            open: true,
        }
    }

    /// Asks one of several nodes: what it answers, and its place.
    pub(super) fn put<T, F, Fut>(
        &self,
        request: &'static str,
        (place, node): (usize, Node),
        ask: &F,
    ) -> impl Future<Output = (usize, Result<T, NodeError>)>
    where
        F: Fn(Node) -> Fut,
        Fut: Future<Output = Result<T, NodeError>>,
    {
        let asked = self.ask(request, place, FAIR);
        let answer = ask(node);
        async move { (place, asked.settled(answer).await) }
    }
}

impl Asked<'_> {
    /// For what no duty waits for.
    pub(super) fn not_needed(mut self) -> Self {
        self.needed = false;
        self
    }

    /// Waits for its answer, and notes what came of it.
    pub(super) async fn settled<T>(
        self,
        answer: impl Future<Output = Result<T, NodeError>>,
    ) -> Result<T, NodeError> {
        let answer = answer.await;
        self.settle(&answer);
        answer
    }

    /// It answered, failed, or did not answer before our deadline.
    pub(super) fn settle<T>(mut self, answer: &Result<T, NodeError>) {
        match answer {
            // See `drop`.
            Err(error) if error.kind == ErrorKind::Timeout => {}
            Err(error) => self.failed(error),
            Ok(_) => {
                self.open = false;
                if let Some(member) = self.nodes.shared().members.get_mut(self.place) {
                    member.answered(self.request);
                }
            }
        }
    }

    /// One that was asked after it gave a good answer before it; none if it had too little time for that to say something.
    pub(super) fn overtaken(mut self) -> Option<NodeError> {
        if self.at.elapsed() < OVERTAKEN_AFTER {
            return None;
        }
        let error = self.error(ErrorKind::Overtaken)?;
        self.failed(&error);
        Some(error)
    }

    fn error(&self, kind: ErrorKind) -> Option<NodeError> {
        let shared = self.nodes.shared();
        let member = shared.members.get(self.place)?;
        Some(member.node.error(self.request, kind))
    }

    fn failed(&mut self, error: &NodeError) {
        self.open = false;
        if let Some(member) = self.nodes.shared().members.get_mut(self.place) {
            member.failed(self.request, error, self.needed);
        }
    }
}

impl Drop for Asked<'_> {
    /// Nobody waits for it any longer.
    fn drop(&mut self) {
        if let Some(member) = self.nodes.shared().members.get_mut(self.place) {
            member.asked = member.asked.saturating_sub(1);
        }
        if self.open
            && self.at.elapsed() >= self.fair
            && let Some(error) = self.error(ErrorKind::Timeout)
        {
            self.failed(&error);
        }
    }
}
