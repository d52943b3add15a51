//! `conclave define`: a plan and everybody's records become the definition that all operators join.

use conclave_ceremony::define::definition;
use conclave_ceremony::files::{Disk, PUBLIC, is_there};
use conclave_ceremony::folder::DataFolder;
use conclave_ceremony::identity::Identity;
use conclave_ceremony::names::Names;
use conclave_ceremony::plan::{Payout, Plan};
use conclave_ceremony::problem::{Kind, Problem};
use conclave_ceremony::progress::Event;
use conclave_cluster::enr::Enr;
use conclave_eth::address::Address;

use super::args::DefineArgs;
use super::output::printable;
use super::payee::{self, Payees};
use super::prompt::{self, Prompt, Several, Wrong};
use super::records::{Paste, Record, records, records_of_file};
use super::{Context, input, summary};

/// What is not in the flags.
const ASK: Prompt = Prompt::before("no definition was written");

/// The largest file of records.
const MAX_RECORDS_BYTES: u64 = 1 << 20;

pub(super) fn run(context: &Context, args: &DefineArgs) -> Result<(), Problem> {
    let mut plan = input::plan(&args.plan)?;
    if let Some(network) = &args.network {
        plan.network.clone_from(network);
    }
    let network = input::network(&plan.network, args.own_network.network_file.as_deref())?;
    network
        .accepts_ceremonies()
        .map_err(|error| Problem::from_lines(Kind::BadInput, error))?;
    let payees = Payees {
        context,
        any: args.payees.any_address,
        prompt: ASK,
    };
    payees.of_plan(&plan)?;
    let folder = DataFolder::open_or_create(&Disk::new(), &context.data_dir)?;
    let path = folder.definition();
    if is_there(&path)? {
        return Err(Problem::folder_state(
            format!("there is a definition in {} already", folder.root().display()),
            format!("{} exists, and nothing is ever overwritten", path.display()),
            "name another folder with --data-dir, or move the old definition away",
        ));
    }

    let everybodys = Payout {
        withdrawal: WITHDRAWAL.answer(payees, &plan, args.withdrawal_address.as_deref())?,
        fee_recipient: FEE_RECIPIENT.answer(payees, &plan, args.fee_recipient_address.as_deref())?,
    };
    for payout in &mut plan.validators {
        payout.withdrawal = payout.withdrawal.or(everybodys.withdrawal);
        payout.fee_recipient = payout.fee_recipient.or(everybodys.fee_recipient);
    }
    // What other definitions called the same people is still good.
    let mut names = Names::load(folder.disk(), folder.root()).unwrap_or_default();
    let enrs = operators(context, &plan, args, &mut names)?;

    let definition = definition(&plan, enrs, &network)?;
    let own = Identity::load(folder.disk(), folder.root())
        .ok()
        .map(|identity| identity.key().public());
    let taking_part = definition
        .operators
        .iter()
        .any(|operator| Some(operator.enr.node_public_key()) == own.as_ref());
    names.save(&folder)?;
    folder.disk().write_new(&path, &definition.to_json(), PUBLIC)?;

    context
        .output
        .say(summary::text(&definition, &network, &names, own.as_ref()));
    for warning in summary::warnings(&definition, &network) {
        context.output.warn(&warning);
    }
    if own.is_some() && !taking_part {
        context.output.warn(&format!(
            "the identity in {} is none of these operators: you cannot join with it. If you are to take part, the record that was given for you is \
             an older one, or another's: move {} away, and define again with what conclave identity show says here",
            folder.root().display(),
            path.display()
        ));
    }
    context.output.event(&summary::event(&definition, &network));
    context.output.event(&Event::Written {
        path: path.display().to_string(),
        kind: "definition".into(),
    });
    context.output.say(format!(
        "\nWrote {0}. Send this very file to all operators; each runs: conclave join {1}",
        path.display(),
        conclave_ceremony::folder::DEFINITION
    ));
    Ok(())
}

/// An address that validators need and a plan may lack.
struct Needed {
    question: &'static str,
    what: &'static str,
    flag: &'static str,
    of: fn(&Payout) -> Option<Address>,
}

const WITHDRAWAL: Needed = Needed {
    question: "Withdrawal address",
    what: payee::WITHDRAWAL,
    flag: "--withdrawal-address ADDRESS",
    of: |payout| payout.withdrawal,
};
const FEE_RECIPIENT: Needed = Needed {
    question: "Fee recipient address",
    what: payee::FEE_RECIPIENT,
    flag: "--fee-recipient-address ADDRESS",
    of: |payout| payout.fee_recipient,
};

impl Needed {
    /// The address for all validators without one in the plan: from the flag, or asked for. An address that would be
    /// ignored is refused: whoever gave it means it.
    fn answer(
        &self,
        payees: Payees<'_>,
        plan: &Plan,
        given: Option<&str>,
    ) -> Result<Option<Address>, Problem> {
        let lacking = plan.validators.iter().any(|payout| (self.of)(payout).is_none());
        match given {
            Some(_) if !lacking => Err(Problem::new(
                Kind::Usage,
                format!("{} is given twice", self.what),
                "the plan has one for every validator",
                format!("leave out {}, or remove it from the plan", self.flag),
            )),
            Some(given) => payees.read(self.what, given).map(Some),
            None if !lacking => Ok(None),
            None if !payees.context.output.can_ask() => Err(prompt::unanswered(&[self.flag])),
            None => payees.ask(self.question, self.what, false),
        }
    }
}

/// The records of all operators, from flags, from a file, or asked for; remembers their names.
fn operators(
    context: &Context,
    plan: &Plan,
    args: &DefineArgs,
    names: &mut Names,
) -> Result<Vec<Enr>, Problem> {
    let mut found: Vec<Record> = Vec::new();
    if let Some(path) = &args.operators_file {
        let text = input::text(path, MAX_RECORDS_BYTES)?;
        let records = records_of_file(&text).map_err(|mut problem| {
            problem.what = format!("{}: {}", path.display(), problem.what);
            problem
        })?;
        for record in records {
            add(&mut found, record)?;
        }
    } else if !args.operators.is_empty() {
        for text in &args.operators {
            for record in records(text)? {
                add(&mut found, record)?;
            }
        }
    } else if context.output.can_ask() {
        loop {
            // Several may be pasted at once, in any number of lines.
            let mut lines = ASK.lines()?;
            while found.len() < plan.operators as usize {
                ask_for_records(&mut lines, &mut found)?;
            }
            drop(lines);
            let names: Vec<_> = found.iter().map(|(name, _)| printable(name)).collect();
            if ASK.confirm(&format!("Are these the operators: {}", names.join(", ")))? {
                break;
            }
            take_back(&mut found);
        }
    } else {
        return Err(prompt::unanswered(&[
            "--operator NAME=ENR once for each operator, or --operators-file FILE",
        ]));
    }
    for (name, enr) in &found {
        names.insert(enr.node_public_key(), name.clone());
    }
    Ok(found.into_iter().map(|(_, enr)| enr).collect())
}

/// What a person types to give the last record again.
const BACK: &str = "back";

/// Forgets the last record that was taken, and shows that.
fn take_back(found: &mut Vec<Record>) {
    if let Some((name, _)) = found.pop() {
        Several::taken(
            &format!("Operator {}", found.len() + 1),
            &format!("{name}: taken back"),
        );
    }
}

/// Asks until one more record, or several, can be read.
fn ask_for_records(lines: &mut Several, found: &mut Vec<Record>) -> Result<(), Problem> {
    let (mut paste, mut wrong) = (Paste::default(), None);
    loop {
        let question = if paste.is_begun() {
            "The rest of that record (it is not complete; to begin it again, press Enter twice)".to_owned()
        } else {
            match found.last() {
                Some((last, _)) => format!(
                    "Operator {}, as NAME=ENR (or back, to give {} again)",
                    found.len() + 1,
                    printable(last)
                ),
                None => "Operator 1, as NAME=ENR".to_owned(),
            }
        };
        let line = lines.next(&question, wrong.as_ref())?;
        if !paste.is_begun() && line.trim().eq_ignore_ascii_case(BACK) {
            take_back(found);
            wrong = None;
            continue;
        }
        let taken = paste.take(&line).and_then(|records| {
            let mut longer = found.clone();
            records
                .into_iter()
                .try_for_each(|record| add(&mut longer, record))?;
            Ok(longer)
        });
        match taken {
            Ok(longer) if longer.len() > found.len() => {
                for (place, (name, _)) in (1..).zip(&longer).skip(found.len()) {
                    Several::taken(&format!("Operator {place}"), name);
                }
                *found = longer;
                return Ok(());
            }
            Ok(_) => wrong = None,
            Err(problem) => wrong = Some(Wrong::from(problem)),
        }
    }
}

/// One more operator, if it is not one of the others again.
fn add(found: &mut Vec<Record>, (name, enr): Record) -> Result<(), Problem> {
    if let Some((first, _)) = found
        .iter()
        .find(|(_, other)| other.node_public_key() == enr.node_public_key())
    {
        if *first == name {
            return Err(Problem::bad_input(
                format!("the record of {name} was given twice"),
                "it is one of the operators already",
                "give the record of another operator",
            ));
        }
        return Err(Problem::bad_input(
            format!("{name} and {first} are the same operator"),
            "their records hold the same key",
            "ask both for the output of `conclave identity show`",
        ));
    }
    if found.iter().any(|(other, _)| *other == name) {
        return Err(Problem::bad_input(
            format!("there are two operators named {name}"),
            "nobody could tell them apart",
            "give each of them another name",
        ));
    }
    found.push((name, enr));
    Ok(())
}
