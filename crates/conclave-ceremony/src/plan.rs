//! A plan: what a group wants, before anybody has a key. A TOML file, made for reading.
//!
//! ```toml
//! name = "Friends"
//! operators = 4
//! threshold = 3
//! network = "hoodi"
//! validators = 1
//! withdrawal_address = "0x..."      # asked for when absent
//! fee_recipient_address = "0x..."   # asked for when absent
//! amounts = [32]                    # ETH, one deposit each
//! compounding = false
//! target_gas_limit = 60000000
//! ```
//!
//! Instead of a number, `validators` may be a list of tables, each with its own `withdrawal_address` and
//! `fee_recipient_address`.

use std::fmt;

use toml::{Table, Value};

use conclave_eth::address::Address;
use conclave_eth::recognise::why_no_toml;
use conclave_eth::secret_text::quoted;
use conclave_eth::text::is_unprintable;
use conclave_eth::unspendable::unspendable;

use super::problem::{Kind, Problem};

/// Most bytes that a plan may have: 10,000 validators with their own addresses fit.
pub const MAX_PLAN_BYTES: u64 = 4 * 1024 * 1024;
/// Fewest and most operators.
pub const OPERATORS: std::ops::RangeInclusive<u32> = 2..=64;
/// Fewest and most validators.
pub const VALIDATORS: std::ops::RangeInclusive<u32> = 1..=10_000;
/// The gas limit that validators ask of block builders, unless a plan says otherwise.
pub const DEFAULT_GAS_LIMIT: u64 = 60_000_000;
/// Gas limits that somebody may mean: what is below was meant in millions, or is a slip of the keys.
const GAS_LIMITS: std::ops::RangeInclusive<u64> = 1_000_000..=1_000_000_000;
/// Most bytes of a name in UTF-8.
pub const MAX_NAME_BYTES: usize = 256;
/// Most deposits of one validator.
const MAX_AMOUNTS: usize = 256;

/// The address that rehearsals use for everything: the bytes of "conclave rehearsal!!". Nobody has its key, so money
/// sent there is gone: every command that makes a real definition refuses it, in whatever case it is written.
pub const REHEARSAL_ADDRESS: Address = Address(*b"conclave rehearsal!!");

/// Whether an address is the one for rehearsals.
pub fn is_rehearsal_address(address: &Address) -> bool {
    *address == REHEARSAL_ADDRESS
}

/// Where the money of one validator goes. Absent addresses are asked for when the definition is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Payout {
    /// Where deposits and rewards are withdrawn to. Can never be changed.
    pub withdrawal: Option<Address>,
    /// Who gets the fees of proposed blocks.
    pub fee_recipient: Option<Address>,
}

/// What a group wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The name of the cluster, at most 256 bytes.
    pub name: String,
    /// n, the number of operators.
    pub operators: u32,
    /// t, how many operators must sign.
    pub threshold: u32,
    /// The name of the network.
    pub network: String,
    /// One for each validator.
    pub validators: Vec<Payout>,
    /// Deposits of each validator in whole ETH, ascending.
    pub amounts: Vec<u64>,
    /// 0x02 credentials: up to 2048 ETH on one validator.
    pub compounding: bool,
    /// Gas limit asked of block builders.
    pub target_gas_limit: u64,
}

/// ceil(2n/3): the threshold that is safe and live with the most faults of both kinds.
pub fn default_threshold(operators: u32) -> u32 {
    operators.saturating_mul(2).div_ceil(3)
}

const KEYS: [&str; 10] = [
    "name",
    "operators",
    "threshold",
    "network",
    "validators",
    "withdrawal_address",
    "fee_recipient_address",
    "amounts",
    "compounding",
    "target_gas_limit",
];
const VALIDATOR_KEYS: [&str; 2] = ["withdrawal_address", "fee_recipient_address"];

impl Plan {
    /// Reads a plan. Unknown keys are refused.
    ///
    /// # Errors
    /// With the line or the key that is wrong.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            wrong(why_no_toml(text, &error), "mend that line: a plan is a TOML file")
        })?;
        refuse_unknown(&table, &KEYS, "")?;
        let operators =
            whole(&table, "operators", 4)?.ok_or_else(|| missing("operators", "operators = 4"))?;
        let operators = in_range(operators, "operators", &OPERATORS)?;
        let threshold = match whole(&table, "threshold", 3)? {
            Some(threshold) => in_range(threshold, "threshold", &(2..=operators))?,
            None => default_threshold(operators),
        };
        let everybodys = payout(&table, "")?;
        let validators = match table.get("validators") {
            None => vec![everybodys],
            Some(Value::Array(list)) => {
                let mut payouts = Vec::new();
                for (i, item) in list.iter().enumerate() {
                    let place = format!(" of validator {i}");
                    let Value::Table(item) = item else {
                        return Err(wrong(
                            format!("`validators` holds something else than tables{place}"),
                            "write a number, or [[validators]] tables with withdrawal_address and fee_recipient_address",
                        ));
                    };
                    refuse_unknown(item, &VALIDATOR_KEYS, &place)?;
                    let own = payout(item, &place)?;
                    payouts.push(Payout {
                        withdrawal: own.withdrawal.or(everybodys.withdrawal),
                        fee_recipient: own.fee_recipient.or(everybodys.fee_recipient),
                    });
                }
                in_range(payouts.len() as u64, "validators", &VALIDATORS)?;
                payouts
            }
            Some(_) => {
                let count = whole(&table, "validators", 1)?.unwrap_or(1);
                vec![everybodys; in_range(count, "validators", &VALIDATORS)? as usize]
            }
        };
        let amounts = match table.get("amounts") {
            None => vec![32],
            Some(Value::Array(list)) => list
                .iter()
                .map(|value| amount(value, "amounts"))
                .collect::<Result<_, _>>()?,
            Some(_) => {
                return Err(wrong(
                    "`amounts` is not a list",
                    "write whole ETH in brackets: amounts = [32]",
                ));
            }
        };
        let mut plan = Self {
            name: text_of(&table, "name")?.ok_or_else(|| missing("name", "name = \"Friends\""))?,
            operators,
            threshold,
            network: text_of(&table, "network")?.ok_or_else(|| missing("network", "network = \"hoodi\""))?,
            validators,
            amounts,
            compounding: flag(&table, "compounding")?.unwrap_or(false),
            target_gas_limit: whole(&table, "target_gas_limit", DEFAULT_GAS_LIMIT)?
                .unwrap_or(DEFAULT_GAS_LIMIT),
        };
        plan.amounts.sort_unstable();
        plan.check()?;
        Ok(plan)
    }

    /// Checks everything that does not depend on addresses and networks.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn check(&self) -> Result<(), Problem> {
        check_name(&self.name)?;
        in_range(u64::from(self.operators), "operators", &OPERATORS)?;
        in_range(u64::from(self.threshold), "threshold", &(2..=self.operators))?;
        in_range(self.validators.len() as u64, "validators", &VALIDATORS)?;
        check_amounts(&self.amounts, self.compounding)?;
        if !GAS_LIMITS.contains(&self.target_gas_limit) {
            return Err(Problem::bad_input(
                format!("`target_gas_limit` is {}", self.target_gas_limit),
                "it counts units of gas, not millions, and no network has blocks like that",
                format!(
                    "leave it out ({DEFAULT_GAS_LIMIT} is taken then), or give a whole number between {} and {}",
                    GAS_LIMITS.start(),
                    GAS_LIMITS.end()
                ),
            ));
        }
        Ok(())
    }

    /// The plan as TOML, with a word about each line.
    pub fn to_toml(&self) -> String {
        use fmt::Write as _;
        let mut text = String::new();
        let quoted = |value: &str| Value::String(value.to_owned()).to_string();
        let _ = writeln!(
            text,
            "# A plan for a key ceremony. Next: conclave define THIS-FILE --operator NAME=ENR ..."
        );
        let _ = writeln!(text, "name = {}", quoted(&self.name));
        let _ = writeln!(text, "operators = {}", self.operators);
        let _ = writeln!(text, "# {}", tolerance(self.operators, self.threshold));
        let _ = writeln!(text, "threshold = {}", self.threshold);
        let _ = writeln!(text, "network = {}", quoted(&self.network));
        let _ = writeln!(text, "# Deposits of each validator, in ETH.");
        let _ = writeln!(text, "amounts = {:?}", self.amounts);
        let _ = writeln!(text, "# true: 0x02 credentials, up to 2048 ETH on one validator.");
        let _ = writeln!(text, "compounding = {}", self.compounding);
        let _ = writeln!(text, "target_gas_limit = {}", self.target_gas_limit);
        let address = |text: &mut String, key: &str, address: Option<Address>| {
            if let Some(address) = address {
                let _ = writeln!(text, "{key} = \"{}\"", address.to_checksum());
            }
        };
        let first = self.validators.first().copied().unwrap_or_default();
        if self.validators.iter().all(|payout| *payout == first) {
            let _ = writeln!(text, "validators = {}", self.validators.len());
            address(&mut text, "withdrawal_address", first.withdrawal);
            address(&mut text, "fee_recipient_address", first.fee_recipient);
        } else {
            for payout in &self.validators {
                let _ = writeln!(text, "\n[[validators]]");
                address(&mut text, "withdrawal_address", payout.withdrawal);
                address(&mut text, "fee_recipient_address", payout.fee_recipient);
            }
        }
        text
    }

    /// The same plan, with one address for everything: for rehearsals only.
    #[must_use]
    pub fn with_rehearsal_addresses(mut self) -> Self {
        for payout in &mut self.validators {
            payout.withdrawal.get_or_insert(REHEARSAL_ADDRESS);
            payout.fee_recipient.get_or_insert(REHEARSAL_ADDRESS);
        }
        self
    }
}

/// Refuses an address from which nobody can spend, as what it was given for ("the withdrawal address").
///
/// # Errors
/// If it is one.
pub fn refuse_address_of_nobody(address: &Address, what: &str) -> Result<(), Problem> {
    let Some(why) = unspendable(address) else {
        return Ok(());
    };
    Err(Problem::bad_input(
        format!("{} cannot be {what}", address.to_checksum()),
        format!("{why}, and money sent there is gone"),
        if address.is_zero() {
            // It is what an empty field looks like: no ceremony takes it.
            "give an address of your own, copied from your wallet"
        } else {
            "give an address of your own, copied from your wallet; if it is really meant, add --any-address"
        },
    ))
}

/// Checks the name of a cluster: at most 256 bytes, no control characters.
///
/// # Errors
/// With what is wrong.
pub fn check_name(name: &str) -> Result<(), Problem> {
    if name.trim().is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(is_unprintable) {
        return Err(wrong(
            "`name` is empty, too long or holds control characters or invisible ones",
            format!("give a name of 1 to {MAX_NAME_BYTES} bytes"),
        ));
    }
    Ok(())
}

/// Checks deposits in whole ETH: each 1 to 32 (2048 with compounding), no two alike, 32 or more together.
///
/// # Errors
/// With what is wrong.
pub fn check_amounts(amounts: &[u64], compounding: bool) -> Result<(), Problem> {
    let most = if compounding { 2048 } else { 32 };
    let todo = "for example: amounts = [32], or [1, 32]";
    if amounts.len() > MAX_AMOUNTS {
        return Err(wrong(
            format!("`amounts` has more than {MAX_AMOUNTS} deposits"),
            todo,
        ));
    }
    if let Some(odd) = amounts.iter().find(|amount| !(1..=most).contains(*amount)) {
        let hint = if !compounding && (33..=2048).contains(odd) {
            "more than 32 ETH on one validator needs `compounding = true`"
        } else {
            todo
        };
        return Err(wrong(
            format!("`amounts` holds {odd} ETH, a deposit is 1 to {most} ETH"),
            hint,
        ));
    }
    let mut sorted = amounts.to_vec();
    sorted.sort_unstable();
    if let Some((twice, _)) = sorted.iter().zip(sorted.iter().skip(1)).find(|(a, b)| a == b) {
        return Err(wrong(
            format!("`amounts` holds {twice} ETH twice"),
            "there is one deposit file per amount: name each once",
        ));
    }
    if amounts.iter().sum::<u64>() < 32 {
        return Err(wrong(
            "the deposits in `amounts` are less than 32 ETH together",
            todo,
        ));
    }
    Ok(())
}

/// What a threshold tolerates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// n.
    pub operators: u32,
    /// t.
    pub threshold: u32,
    /// So many may be offline, and the validator keeps working: n - t.
    pub off: u32,
    /// Of those so many may even misbehave, and the validator keeps working.
    pub lying: u32,
    /// So many may misbehave, run twice or forget what they signed, and nothing slashable is signed: 2t - n - 1.
    pub twins: u32,
    /// Two groups without a common operator can both sign.
    pub split: bool,
}

/// What `threshold` of `operators` tolerates.
pub fn tolerance(operators: u32, threshold: u32) -> Tolerance {
    let off = operators.saturating_sub(threshold);
    let twins = threshold
        .saturating_mul(2)
        .saturating_sub(operators.saturating_add(1));
    Tolerance {
        operators,
        threshold,
        off,
        lying: off.min(twins),
        twins,
        split: threshold.saturating_mul(2) <= operators,
    }
}

impl Tolerance {
    /// What a group should be warned of before it begins.
    pub fn warnings(&self) -> Vec<String> {
        let (n, t) = (self.operators, self.threshold);
        let mut warnings = Vec::new();
        if self.split {
            warnings.push(format!(
                "{t} of {n} is not a majority: parts of the group that do not see each other can sign different things, \
                 and the validator is slashed; conclave run refuses such a group. A threshold of {} is safer.",
                default_threshold(n).max(n / 2 + 1)
            ));
        } else if self.twins == 0 {
            warnings.push(format!(
                "{t} of {n} protects against machines that are offline, not against one that misbehaves, runs twice or is \
                 started from an old copy of its folder: one such machine can get the validator slashed."
            ));
        }
        if self.off == 0 {
            warnings.push(format!(
                "{t} of {n} needs everybody: while one machine is offline the validator does not work, and if one share is \
                 lost nobody can ever use or exit the validator again."
            ));
        }
        warnings
    }
}

/// What may fail and the validator keeps working; what may fail and it is not slashed. Whole sentences, for people.
impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, t, off, lying) = (self.operators, self.threshold, self.off, self.lying);
        if off == 0 {
            write!(
                f,
                "All {n} operators are needed to sign. The validator stops working while any one of them is offline."
            )?;
        } else {
            write!(
                f,
                "Any {t} of the {n} operators can sign. The validator keeps working while {} offline",
                up_to(off)
            )?;
            match lying {
                0 => write!(f, ".")?,
                _ if lying == off => write!(f, " or misbehave{}.", if off == 1 { "s" } else { "" })?,
                1 => write!(f, "; one of them may even misbehave.")?,
                _ => write!(f, "; {lying} of them may even misbehave.")?,
            }
        }
        if self.split {
            write!(
                f,
                " UNSAFE: parts of the group that do not see each other can sign different things, and the validator is \
                 slashed although nobody did anything wrong."
            )
        } else if self.twins == 0 {
            write!(
                f,
                " UNSAFE if even one operator misbehaves, runs twice or is started from an old copy of its folder: that one can get \
                 the validator slashed."
            )
        } else {
            let who = if self.twins == 1 {
                "1 operator"
            } else {
                "operators"
            };
            let most = if self.twins == 1 {
                String::new()
            } else {
                format!("up to {} ", self.twins)
            };
            write!(
                f,
                " It cannot be slashed through the fault of {most}{who} (malicious, running twice, or started from an old copy of \
                 its folder)."
            )
        }
    }
}

/// `1 operator is`, `up to 3 operators are`.
fn up_to(count: u32) -> String {
    if count == 1 {
        "1 operator is".to_owned()
    } else {
        format!("up to {count} operators are")
    }
}

/// The name among `known` that was probably meant by `typed`.
pub fn suggestion<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let typed: Vec<char> = typed
        .to_lowercase()
        .chars()
        .map(|c| if c == '-' { '_' } else { c })
        .take(64)
        .collect();
    known
        .iter()
        .map(|name| (distance(&typed, &name.chars().collect::<Vec<_>>()), *name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (j, cb) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or(usize::MAX - 1);
            left = (diagonal + usize::from(ca != cb)).min(left + 1).min(above + 1);
            diagonal = above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

fn wrong(why: impl fmt::Display, what_to_do: impl Into<String>) -> Problem {
    Problem::bad_input("the plan cannot be used", why, what_to_do)
}

fn missing(key: &str, example: &str) -> Problem {
    wrong(
        format!("`{key}` is missing"),
        format!("add a line such as: {example}"),
    )
}

fn refuse_unknown(table: &Table, known: &[&str], place: &str) -> Result<(), Problem> {
    let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else {
        return Ok(());
    };
    let shown: String = key.chars().take(64).collect();
    let hint = match suggestion(key, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("remove it; known are {}", known.join(", ")),
    };
    Err(wrong(
        format!("`{}`{place} is no key of a plan", shown.escape_debug()),
        hint,
    ))
}

/// A number that is not negative; `example` is one.
fn whole(table: &Table, key: &str, example: u64) -> Result<Option<u64>, Problem> {
    match table.get(key) {
        None => Ok(None),
        Some(Value::Integer(number)) => u64::try_from(*number).map(Some).map_err(|_| {
            wrong(
                format!("`{key}` is {number}"),
                "give a number that is not negative",
            )
        }),
        Some(other) => Err(wrong(
            match other {
                Value::String(text) => {
                    format!("`{key}` is the text \"{}\", not a whole number", quoted(text, 40))
                }
                other => format!("`{key}` is a {}, not a whole number", other.type_str()),
            },
            format!(
                "write all its digits, and nothing else, without quotes, points, blanks and letters: {key} = {example}"
            ),
        )),
    }
}

fn amount(value: &Value, key: &str) -> Result<u64, Problem> {
    match value {
        Value::Integer(number) if *number > 0 => Ok(number.unsigned_abs()),
        _ => Err(wrong(
            format!("`{key}` holds something else than whole ETH"),
            "for example: amounts = [32], or [1, 32]",
        )),
    }
}

fn flag(table: &Table, key: &str) -> Result<Option<bool>, Problem> {
    match table.get(key) {
        None => Ok(None),
        Some(Value::Boolean(flag)) => Ok(Some(*flag)),
        Some(_) => Err(wrong(
            format!("`{key}` is neither true nor false"),
            format!("write {key} = true or {key} = false"),
        )),
    }
}

fn text_of(table: &Table, key: &str) -> Result<Option<String>, Problem> {
    match table.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(
            format!("`{key}` is not a text"),
            format!("put it in quotes: {key} = \"...\""),
        )),
    }
}

fn payout(table: &Table, place: &str) -> Result<Payout, Problem> {
    let address = |key: &str| -> Result<Option<Address>, Problem> {
        let Some(text) = text_of(table, key)? else {
            return Ok(None);
        };
        let address = Address::parse_checksummed(&text).map_err(|error| {
            let mut problem = Problem::from_lines(Kind::BadInput, error);
            problem.what = format!("`{key}`{place}: {}", problem.what);
            problem
        })?;
        Ok(Some(address))
    };
    Ok(Payout {
        withdrawal: address("withdrawal_address")?,
        fee_recipient: address("fee_recipient_address")?,
    })
}

fn in_range(value: u64, key: &str, range: &std::ops::RangeInclusive<u32>) -> Result<u32, Problem> {
    u32::try_from(value)
        .ok()
        .filter(|value| range.contains(value))
        .ok_or_else(|| {
            wrong(
                format!("`{key}` is {value}"),
                format!("give a number between {} and {}", range.start(), range.end()),
            )
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "name = \"Friends\"\noperators = 4\nnetwork = \"hoodi\"\n";

    fn why(text: &str) -> String {
        let problem = Plan::parse(text).unwrap_err();
        assert_eq!(problem.kind, Kind::BadInput);
        assert!(!problem.what_to_do.is_empty());
        format!("{} | {} | {}", problem.what, problem.why, problem.what_to_do)
    }

    #[test]
    fn defaults_are_sane() {
        let plan = Plan::parse(GOOD).unwrap();
        assert_eq!(
            (plan.threshold, plan.validators.len(), plan.target_gas_limit),
            (3, 1, 60_000_000)
        );
        assert_eq!(plan.amounts, [32]);
        assert!(!plan.compounding);
    }

    #[test]
    fn thresholds_by_default() {
        let table = [(2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (7, 5), (10, 7), (13, 9)];
        for (n, t) in table {
            assert_eq!(default_threshold(n), t);
        }
    }

    #[test]
    fn tolerance_is_that_of_the_table() {
        for (n, t, off, lying, twins) in [
            (3, 2, 1, 0, 0),
            (4, 3, 1, 1, 1),
            (5, 4, 1, 1, 2),
            (6, 4, 2, 1, 1),
            (7, 5, 2, 2, 2),
            (10, 7, 3, 3, 3),
        ] {
            let tolerance = tolerance(n, t);
            assert_eq!(
                (tolerance.off, tolerance.lying, tolerance.twins),
                (off, lying, twins),
                "{t} of {n}"
            );
            assert!(!tolerance.split);
            assert_eq!(tolerance.warnings().is_empty(), (n, t) != (3, 2));
        }
        assert!(tolerance(4, 2).split && tolerance(4, 2).warnings()[0].contains("slashed"));
        assert!(tolerance(4, 2).warnings()[0].contains("threshold of 3"));
        assert!(tolerance(2, 2).warnings().iter().any(|w| w.contains("everybody")));
    }

    #[test]
    fn what_a_group_tolerates_is_said_in_sentences() {
        const SAFE: &str = "(malicious, running twice, or started from an old copy of its folder).";
        for (n, t, works, safe) in [
            (
                4,
                3,
                "Any 3 of the 4 operators can sign. The validator keeps working while 1 operator is offline or misbehaves. ",
                format!("It cannot be slashed through the fault of 1 operator {SAFE}"),
            ),
            (
                5,
                4,
                "Any 4 of the 5 operators can sign. The validator keeps working while 1 operator is offline or misbehaves. ",
                format!("It cannot be slashed through the fault of up to 2 operators {SAFE}"),
            ),
            (
                6,
                4,
                "Any 4 of the 6 operators can sign. The validator keeps working while up to 2 operators are offline; one of \
                 them may even misbehave. ",
                format!("It cannot be slashed through the fault of 1 operator {SAFE}"),
            ),
            (
                7,
                5,
                "Any 5 of the 7 operators can sign. The validator keeps working while up to 2 operators are offline or \
                 misbehave. ",
                format!("It cannot be slashed through the fault of up to 2 operators {SAFE}"),
            ),
            (
                2,
                2,
                "All 2 operators are needed to sign. The validator stops working while any one of them is offline. ",
                format!("It cannot be slashed through the fault of 1 operator {SAFE}"),
            ),
            (
                3,
                2,
                "Any 2 of the 3 operators can sign. The validator keeps working while 1 operator is offline. ",
                "UNSAFE if even one operator misbehaves, runs twice or is started from an old copy of its folder: that one can get the \
                 validator slashed."
                    .to_owned(),
            ),
            (
                4,
                2,
                "Any 2 of the 4 operators can sign. The validator keeps working while up to 2 operators are offline. ",
                "UNSAFE: parts of the group that do not see each other can sign different things, and the validator is \
                 slashed although nobody did anything wrong."
                    .to_owned(),
            ),
        ] {
            assert_eq!(tolerance(n, t).to_string(), format!("{works}{safe}"));
        }
    }

    /// What is said of a group agrees with what its nodes count on, for every group that there can be.
    #[test]
    fn sentences_say_unsafe_exactly_where_one_operator_is_enough_to_be_slashed() {
        for n in 2..=64_u32 {
            for t in 2..=n {
                let tolerance = tolerance(n, t);
                let text = tolerance.to_string();
                // Two sets of t have 2t - n operators in common: one honest one among them refuses the second signature.
                let safe_from = (0..n).take_while(|bad| 2 * t > n + bad).count().saturating_sub(1);
                assert_eq!(text.contains("UNSAFE"), safe_from == 0, "{t} of {n}: {text}");
                assert_eq!(usize::try_from(tolerance.twins).unwrap(), safe_from, "{t} of {n}");
                assert_eq!(text.contains("stops working"), t == n);
                assert!(!text.contains("  ") && text.ends_with('.'), "{text}");
            }
        }
    }

    #[test]
    fn unknown_keys_get_a_suggestion() {
        assert!(why(&format!("{GOOD}treshold = 3")).contains("`threshold`"));
        assert!(why(&format!("{GOOD}withdrawal-address = \"x\"")).contains("`withdrawal_address`"));
        assert!(why(&format!("{GOOD}zzz = 3")).contains("known are"));
        assert!(why(&format!("{GOOD}[[validators]]\nwithdrawal_adress = \"x\"")).contains("of validator 0"));
    }

    #[test]
    fn hostile_plans_are_refused_with_a_reason() {
        for (text, expected) in [
            ("operators = 4\nnetwork = \"hoodi\"", "`name` is missing"),
            ("name = \"x\"\nnetwork = \"hoodi\"", "`operators` is missing"),
            ("name = \"x\"\noperators = 4", "`network` is missing"),
            ("name = ", "line 1"),
            (
                "name = \"a\\u0007b\"\noperators = 4\nnetwork = \"hoodi\"",
                "control characters",
            ),
            (
                "name = \"x\"\noperators = 1\nnetwork = \"hoodi\"",
                "between 2 and 64",
            ),
            (
                "name = \"x\"\noperators = 65\nnetwork = \"hoodi\"",
                "between 2 and 64",
            ),
            (
                "name = \"x\"\noperators = -1\nnetwork = \"hoodi\"",
                "not negative",
            ),
            (
                "name = \"x\"\noperators = 4.0\nnetwork = \"hoodi\"",
                "whole number",
            ),
            (
                "name = \"x\"\noperators = \"4\"\nnetwork = \"hoodi\"",
                "whole number",
            ),
        ] {
            assert!(why(text).contains(expected), "{text}: {}", why(text));
        }
        for (line, expected) in [
            ("threshold = 1", "between 2 and 4"),
            ("threshold = 5", "between 2 and 4"),
            ("validators = 0", "between 1 and 10000"),
            ("validators = 10001", "between 1 and 10000"),
            ("validators = 9223372036854775807", "between 1 and 10000"),
            ("validators = []", "between 1 and 10000"),
            ("validators = [1]", "tables"),
            ("amounts = 32", "list"),
            ("amounts = []", "less than 32"),
            ("amounts = [31]", "less than 32"),
            ("amounts = [33]", "compounding"),
            ("amounts = [32, 32]", "twice"),
            ("amounts = [0, 32]", "whole ETH"),
            ("amounts = [32.5]", "whole ETH"),
            ("amounts = [2049]\ncompounding = true", "1 to 2048"),
            ("compounding = 1", "neither true nor false"),
            ("target_gas_limit = 0", "not millions"),
            ("target_gas_limit = 4", "not millions"),
            ("target_gas_limit = 60", "between 1000000 and"),
            ("target_gas_limit = \"60M\"", "target_gas_limit = 60000000"),
            ("withdrawal_address = \"0x1234\"", "withdrawal_address"),
            ("withdrawal_address = 7", "not a text"),
            (
                "withdrawal_address = \"0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed\"",
                "checksum",
            ),
            ("operators = 4", "line 4"),
        ] {
            let text = format!("{GOOD}{line}");
            assert!(why(&text).contains(expected), "{line}: {}", why(&text));
        }
    }

    #[test]
    fn addresses_of_nobody_are_refused_in_any_case() {
        let upper = format!("0x{}", hex::encode_upper(REHEARSAL_ADDRESS.0));
        assert!(is_rehearsal_address(&Address::parse_any_case(&upper).unwrap()));
        for (address, why) in [(REHEARSAL_ADDRESS, "rehearsals"), (Address::ZERO, "zero address")] {
            let problem = refuse_address_of_nobody(&address, "the fee recipient").unwrap_err();
            assert!(
                problem.why.contains(why) && problem.what.contains("the fee recipient"),
                "{problem:?}"
            );
        }
        let mut somebodys = [0x11; 20];
        somebodys[0] = 0x71;
        refuse_address_of_nobody(&Address(somebodys), "the fee recipient").unwrap();
    }

    #[test]
    fn plans_survive_writing_and_reading() {
        let a = Address([0x11; 20]);
        let b = Address([0xab; 20]);
        let mut plan = Plan::parse(GOOD).unwrap();
        plan.name = "Ann's \"quoted\" \\ name".to_owned();
        plan.amounts = vec![1, 32];
        for validators in [
            vec![Payout::default()],
            vec![
                Payout {
                    withdrawal: Some(a),
                    fee_recipient: Some(b)
                };
                3
            ],
            vec![
                Payout {
                    withdrawal: Some(a),
                    fee_recipient: None,
                },
                Payout {
                    withdrawal: Some(b),
                    fee_recipient: Some(a),
                },
            ],
        ] {
            plan.validators = validators;
            assert_eq!(Plan::parse(&plan.to_toml()).unwrap(), plan, "{}", plan.to_toml());
        }
    }

    #[test]
    fn a_list_inherits_addresses_it_does_not_give() {
        let a = Address([0x11; 20]).to_checksum();
        let text = format!("{GOOD}withdrawal_address = \"{a}\"\n[[validators]]\n[[validators]]\n");
        let plan = Plan::parse(&text).unwrap();
        assert_eq!(
            plan.validators,
            [Payout {
                withdrawal: Some(Address([0x11; 20])),
                fee_recipient: None
            }; 2]
        );
    }

    #[test]
    fn the_ready_made_plans_are_good_and_hold_no_addresses() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/plans");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let plan = Plan::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
            assert!(plan.validators.iter().all(|payout| *payout == Payout::default()));
            let network = conclave_eth::network::Network::by_name(&plan.network).unwrap();
            assert!(!network.real_money, "rehearse runs it as it is");
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            found.push((
                name,
                plan.operators,
                plan.threshold,
                plan.validators.len(),
                plan.compounding,
            ));
        }
        found.sort();
        let expected = [
            ("ci", 2, 2, 1, false),
            ("friends", 4, 3, 1, false),
            ("pool-7", 7, 5, 10, true),
            ("solo-backup", 4, 3, 1, false),
            ("solo-small", 3, 2, 1, false),
        ];
        let expected: Vec<_> = expected
            .map(|(name, n, t, v, c)| (name.to_owned(), n, t, v, c))
            .into();
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?s).{0,200}") {
            let _ = Plan::parse(&text);
        }

        #[test]
        fn no_value_makes_it_panic(key in proptest::sample::select(&KEYS[..]), value in "[-0-9a-z\\[\\]{}=\",.]{0,20}") {
            let _ = Plan::parse(&format!("{key} = {value}"));
        }
    }
}
