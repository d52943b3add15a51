//! The picture for Prometheus, as OpenMetrics text. Every name begins with `conclave_`; docs/monitoring.md lists them.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text::encode},
    metrics::{MetricType, exemplar::Exemplar},
    registry::Registry,
};

use crate::overview::{
    totals::{BUCKETS_MS, Histogram, Totals},
    view::{Link, NodeView, OperatorView, State, View},
};
use conclave_eth::duty::{Kind, Purpose};

/// Of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// With more validators than this there are figures only for all of them together.
const MOST_VALIDATORS: usize = 100;

/// What is written.
#[derive(Debug)]
pub struct Metrics(pub Arc<(View, Totals)>);

/// Names and values.
type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Metrics {
    /// As text.
    ///
    /// # Errors
    /// None that is known.
    pub fn text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("conclave");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (view, totals) = &*self.0;
        let mut sheet = Sheet(encoder);
        own(&mut sheet, view, totals)?;
        operators(&mut sheet, view, totals)?;
        duties(&mut sheet, totals)?;
        validators(&mut sheet, view, totals)?;
        beacon_nodes(&mut sheet, view)
    }
}

/// Where figures are written, family by family.
struct Sheet<'a>(DescriptorEncoder<'a>);

impl Sheet<'_> {
    fn gauges<'r>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'r>, f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Gauge)?
            .encode_gauge(&value)
    }

    /// `_total` is added to the name.
    fn counters<'r>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'r>, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in rows {
            let none: Option<&Exemplar<Labels<'_>, u64>> = None;
            family.encode_family(&labels)?.encode_counter(&value, none)?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let none: Option<&Exemplar<Labels<'_>, u64>> = None;
        self.0
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter(&value, none)
    }

    /// In seconds.
    fn histograms<'r>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'r>, &'r Histogram)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, histogram) in rows {
            let in_buckets: u64 = histogram.buckets.iter().sum();
            let ends = BUCKETS_MS.iter().map(|ms| seconds(*ms)).chain([f64::INFINITY]);
            let times = histogram
                .buckets
                .iter()
                .copied()
                .chain([histogram.count - in_buckets]);
            let buckets: Vec<(f64, u64)> = ends.zip(times).collect();
            family.encode_family(&labels)?.encode_histogram::<Labels<'_>>(
                seconds(histogram.sum_ms),
                histogram.count,
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}

/// Figures have 53 bits, which is enough for all of these.
#[allow(
    clippy::cast_precision_loss,
    reason = "milliseconds, slots and Gwei that matter have far fewer than 53 bits"
)]
fn number(number: u64) -> f64 {
    number as f64
}

fn seconds(ms: u64) -> f64 {
    number(ms) / 1000.0
}

fn flag(set: bool) -> f64 {
    f64::from(u8::from(set))
}

fn own(sheet: &mut Sheet<'_>, view: &View, totals: &Totals) -> fmt::Result {
    let info = vec![
        ("software", view.software.as_str()),
        ("lock_hash", view.lock_hash.as_str()),
        ("network", view.network.as_deref().unwrap_or_default()),
    ];
    sheet.gauges("info", "What runs here, always 1", [(info, 1.0)])?;
    sheet.gauge(
        "start_time_seconds",
        "When the process started, Unix time",
        seconds(view.started_ms),
    )?;
    sheet.gauge(
        "healthy",
        "1 if this node can do its part or merely waits after a start, as /health says",
        flag(view.healthy),
    )?;
    let states = State::ALL.map(|state| (vec![("state", state.name())], flag(state == view.state)));
    sheet.gauges("state", "1 for what this node does now", states)?;
    sheet.gauge(
        "warnings",
        "How many things a person should look after",
        number(view.warnings.len() as u64),
    )?;
    sheet.gauge("slot", "The current slot", number(view.slot.unwrap_or(0)))?;
    sheet.gauge("epoch", "The current epoch", number(view.epoch.unwrap_or(0)))?;
    sheet.gauge(
        "operators",
        "Operators of the lock",
        number(view.operators.len() as u64),
    )?;
    sheet.gauge(
        "threshold",
        "How many operators must sign",
        number(view.threshold.into()),
    )?;
    sheet.gauge(
        "database_marked",
        "1 while the slashing protection is not the whole memory of this share",
        flag(view.database_mark.is_some()),
    )?;
    let forks = view
        .unknown_fork
        .iter()
        .map(|fork| (vec![("fork", fork.name.as_str())], number(fork.in_seconds)));
    sheet.gauges(
        "unknown_fork_in_seconds",
        "Time until a fork that this version does not know and will not sign for; absent if there is none",
        forks,
    )?;
    sheet.counter(
        "clock_jumps",
        "How often the clock jumped or the machine slept",
        totals.clock_jumps,
    )?;
    sheet.counter(
        "standstills",
        "How often this program or its machine stood still for more than a quarter of a slot",
        totals.standstills,
    )?;
    sheet.counter(
        "strangers",
        "Connections of others than the operators",
        totals.strangers,
    )
}

fn operators(sheet: &mut Sheet<'_>, view: &View, totals: &Totals) -> fmt::Result {
    let indices: Vec<String> = view
        .operators
        .iter()
        .map(|one| one.operator.to_string())
        .collect();
    let labels = |place: usize| -> Labels<'_> {
        let one = view.operators.get(place);
        vec![
            ("operator", one.map_or("", |one| one.name.as_str())),
            ("index", indices.get(place).map_or("", String::as_str)),
        ]
    };
    let each = || view.operators.iter().enumerate();
    let of_each = |value: fn(&OperatorView) -> Option<f64>| {
        each().filter_map(move |(place, one)| Some((labels(place), value(one)?)))
    };
    sheet.gauges(
        "operator_connected",
        "1 if messages can be exchanged with the operator",
        of_each(|one| Some(flag(one.link != Link::Away))),
    )?;
    sheet.gauges(
        "operator_direct",
        "1 if the operator is connected directly, not through another one",
        of_each(|one| Some(flag(matches!(one.link, Link::Direct | Link::Myself)))),
    )?;
    sheet.gauges(
        "operator_round_trip_seconds",
        "A round trip to the operator",
        of_each(|one| one.round_trip_ms.map(seconds)),
    )?;
    sheet.gauges(
        "operator_clock_offset_seconds",
        "The operator's clock less this node's",
        of_each(|one| {
            let offset = one.clock_offset_ms?;
            let size = seconds(offset.unsigned_abs());
            Some(if offset < 0 { -size } else { size })
        }),
    )?;
    let software = each()
        .filter(|(_, one)| !one.software.is_empty())
        .map(|(place, one)| {
            let mut labels = labels(place);
            labels.push(("software", one.software.as_str()));
            (labels, 1.0)
        });
    sheet.gauges("operator_info", "What the operator runs, always 1", software)?;
    sheet.gauges(
        "operator_participation_ratio",
        "Part of the duties of the last epochs in which the operator took part",
        of_each(|one| (one.duties > 0).then(|| f64::from(one.took_part) / f64::from(one.duties))),
    )?;
    let duties = totals
        .operators
        .iter()
        .enumerate()
        .flat_map(|(place, (took_part, missing))| {
            [("took_part", *took_part), ("missing", *missing)].map(|(result, times)| {
                let mut labels = labels(place);
                labels.push(("result", result));
                (labels, times)
            })
        });
    sheet.counters(
        "operator_duties",
        "Duties in which the operator took part or was missing",
        duties,
    )?;
    let faults = each().map(|(place, one)| (labels(place), one.faults));
    sheet.counters(
        "operator_faults",
        "What the operator did that no correct one does",
        faults,
    )
}

/// One label for each kind of something.
fn by<'r, K, V>(
    label: &'static str,
    text: fn(K) -> &'static str,
    rows: impl IntoIterator<Item = (&'r K, V)>,
) -> impl Iterator<Item = (Labels<'r>, V)>
where
    K: Copy + 'r,
{
    let rows = rows.into_iter();
    rows.map(move |(kind, value)| (vec![(label, text(*kind))], value))
}

/// Counters as values.
fn copied<'r, K>((kind, times): (&'r K, &u64)) -> (&'r K, u64) {
    (kind, *times)
}

fn duties(sheet: &mut Sheet<'_>, totals: &Totals) -> fmt::Result {
    sheet.histograms(
        "agreement_seconds",
        "From the first answer of an own beacon node, or proposal, until operators agreed on what to sign",
        by("kind", Kind::text, &totals.agreed),
    )?;
    sheet.counters(
        "agreement_later_rounds",
        "Agreements that took more than one round",
        by("kind", Kind::text, totals.later_rounds.iter().map(copied)),
    )?;
    sheet.histograms(
        "signing_seconds",
        "From the agreement until the group's signature is there",
        by("duty", Purpose::text, &totals.signed),
    )?;
    sheet.histograms(
        "lateness_seconds",
        "From when a duty is due until the group's signature is there; 0 if it is there before",
        by("duty", Purpose::text, &totals.late),
    )?;
    sheet.counters(
        "signatures",
        "Signatures of the group, one for each validator",
        by("duty", Purpose::text, totals.signatures.iter().map(copied)),
    )?;
    sheet.counters(
        "not_signed",
        "What the group should have signed and did not, one for each validator",
        by("duty", Purpose::text, totals.not_signed.iter().map(copied)),
    )?;
    sheet.counters(
        "not_taken",
        "What the group signed and none of this operator's beacon nodes took, one for each validator",
        by("duty", Purpose::text, totals.not_taken.iter().map(copied)),
    )?;
    sheet.counter(
        "own_blocks_refused",
        "Blocks of this operator's beacon node that could not be signed",
        totals.own_blocks_refused,
    )
}

fn validators(sheet: &mut Sheet<'_>, view: &View, totals: &Totals) -> fmt::Result {
    let all = &view.validators;
    let statuses = all
        .statuses
        .iter()
        .map(|(status, count)| (vec![("status", status.as_str())], number(*count as u64)));
    sheet.gauges(
        "validators",
        "Validators of the lock by their status on the chain",
        statuses,
    )?;
    sheet.gauge(
        "balance_gwei",
        "Balances of all validators together",
        number(all.balance_gwei),
    )?;
    if all.count <= MOST_VALIDATORS {
        let one_by_one = all
            .list
            .iter()
            .filter_map(|one| Some((vec![("pubkey", one.key.as_str())], number(one.balance_gwei?))));
        sheet.gauges(
            "validator_balance_gwei",
            "A validator's balance; only if there are at most 100",
            one_by_one,
        )?;
    }
    let votes = [
        ("included", totals.votes_included),
        ("missed", totals.votes_missed),
    ];
    let votes = votes.map(|(result, times)| (vec![("result", result)], times));
    sheet.counters(
        "votes",
        "What became of attestations on the chain, as the beacon node says",
        votes,
    )?;
    let right = [
        ("head", totals.votes_right_head),
        ("target", totals.votes_right_target),
    ];
    let right = right.map(|(part, times)| (vec![("part", part)], times));
    sheet.counters(
        "votes_right",
        "Attestations whose head or target was right and in time",
        right,
    )?;
    sheet.counter(
        "votes_judged",
        "Attestations of which head and target are known",
        totals.votes_judged,
    )
}

fn beacon_nodes(sheet: &mut Sheet<'_>, view: &View) -> fmt::Result {
    let of_each = |value: fn(&NodeView) -> f64| {
        let nodes = view.beacon_nodes.iter();
        nodes.map(move |node| (vec![("node", node.name.as_str())], value(node)))
    };
    // What is no figure is a label of a figure that is always 1.
    let told_by_each = |label: &'static str, text: fn(&NodeView) -> &str| {
        let nodes = view.beacon_nodes.iter();
        nodes.map(move |node| (vec![("node", node.name.as_str()), (label, text(node))], 1.0))
    };
    sheet.gauges(
        "beacon_node_ready",
        "1 if the beacon node is in step with the chain",
        of_each(|node| flag(node.state == "ready")),
    )?;
    sheet.gauges(
        "beacon_node_state",
        "How the beacon node is, always 1",
        told_by_each("state", |node| &node.state),
    )?;
    sheet.gauges(
        "beacon_node_head_slot",
        "The slot of the beacon node's head",
        of_each(|node| number(node.head_slot)),
    )?;
    sheet.gauges(
        "beacon_node_latency_seconds",
        "How long the beacon node's last answer took",
        of_each(|node| seconds(node.latency_ms)),
    )?;
    sheet.gauges(
        "beacon_node_info",
        "What the beacon node says that it is, always 1",
        told_by_each("version", |node| &node.version),
    )
}
