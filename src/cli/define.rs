//! `conclave define`: a plan and everybody's records become the definition that all operators join.

use crate::ceremony::define::definition;
use crate::ceremony::files::{Disk, PUBLIC};
use crate::ceremony::folder::DataFolder;
use crate::ceremony::identity::{Identity, check_name};
use crate::ceremony::names::Names;
use crate::ceremony::plan::{Payout, Plan, refuse_address_of_nobody};
use crate::ceremony::problem::{Kind, Problem};
use crate::ceremony::progress::Event;
use crate::cluster::enr::Enr;
use crate::ethereum::address::Address;

use super::args::DefineArgs;
use super::{Context, input, prompt, summary};

pub(super) fn run(context: &Context, args: DefineArgs) -> Result<(), Problem> {
    let mut plan = input::plan(&args.plan)?;
    if let Some(network) = args.network {
        plan.network = network;
    }
    let network = input::network(&plan.network, args.own_network.network_file.as_deref())?;
    network
        .accepts_ceremonies()
        .map_err(|error| Problem::from_lines(Kind::BadInput, error))?;
    plan.refuse_addresses_of_nobody()?;
    let folder = DataFolder::open_or_create(&Disk::new(), &context.data_dir)?;
    let path = folder.definition();
    if path.exists() {
        return Err(Problem::folder_state(
            format!("there is a definition in {} already", folder.root().display()),
            format!("{} exists, and nothing is ever overwritten", path.display()),
            "name another folder with --data-dir, or move the old definition away",
        ));
    }

    let everybodys = Payout {
        withdrawal: WITHDRAWAL.answer(context, &plan, args.withdrawal_address.as_deref())?,
        fee_recipient: FEE_RECIPIENT.answer(context, &plan, args.fee_recipient_address.as_deref())?,
    };
    for payout in &mut plan.validators {
        payout.withdrawal = payout.withdrawal.or(everybodys.withdrawal);
        payout.fee_recipient = payout.fee_recipient.or(everybodys.fee_recipient);
    }
    // What other definitions called the same people is still good.
    let mut names = Names::load(folder.disk(), folder.root()).unwrap_or_default();
    let enrs = operators(context, &plan, args.operators, &mut names)?;

    let definition = definition(&plan, enrs, &network)?;
    let own = Identity::load(folder.disk(), folder.root())
        .ok()
        .map(|identity| identity.key().public());
    names.save(&folder)?;
    folder.disk().write_new(&path, &definition.to_json(), PUBLIC)?;

    context
        .output
        .say(summary::text(&definition, &network, &names, own.as_ref()));
    for warning in summary::warnings(&definition, &network) {
        context.output.warn(&warning);
    }
    context.output.event(&summary::event(&definition, &network));
    context.output.event(&Event::Written {
        path: path.display().to_string(),
        kind: "definition".into(),
    });
    context.output.say(format!(
        "\nWrote {0}. Send this very file to all operators; each runs: conclave join {1}",
        path.display(),
        crate::ceremony::folder::DEFINITION
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
    what: "the withdrawal address",
    flag: "--withdrawal-address ADDRESS",
    of: |payout| payout.withdrawal,
};
const FEE_RECIPIENT: Needed = Needed {
    question: "Fee recipient address",
    what: "the fee recipient",
    flag: "--fee-recipient-address ADDRESS",
    of: |payout| payout.fee_recipient,
};

impl Needed {
    /// The address for all validators without one in the plan: from the flag, or asked for. An address that would be
    /// ignored is refused: whoever gave it means it.
    fn answer(
        &self,
        context: &Context,
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
            Some(given) => input::address(self.what, given).map(Some),
            None if !lacking => Ok(None),
            None if !context.output.can_ask() => Err(prompt::unanswered(&[self.flag])),
            None => {
                let answer = prompt::text(self.question, None, false, |text| {
                    let address =
                        Address::parse_checksummed(text.trim()).map_err(|error| error.to_string())?;
                    refuse_address_of_nobody(&address, 0).map_err(|problem| problem.why)
                })?;
                input::address(self.what, &answer).map(Some)
            }
        }
    }
}

/// The records of all operators, from flags or asked for; remembers their names.
fn operators(
    context: &Context,
    plan: &Plan,
    mut records: Vec<String>,
    names: &mut Names,
) -> Result<Vec<Enr>, Problem> {
    if records.is_empty() {
        if !context.output.can_ask() {
            return Err(prompt::unanswered(&[
                "--operator NAME=ENR once for each operator",
            ]));
        }
        for i in 1..=plan.operators {
            records.push(prompt::text(
                &format!("Operator {i}, as NAME=ENR"),
                None,
                false,
                |text| operator(text).map(|_| ()).map_err(|problem| problem.why),
            )?);
        }
    }
    let mut found: Vec<(String, Enr)> = Vec::new();
    for record in &records {
        let (name, enr) = operator(record)?;
        if let Some((first, _)) = found
            .iter()
            .find(|(_, other)| other.node_public_key() == enr.node_public_key())
        {
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
                "give each --operator another name",
            ));
        }
        names.insert(enr.node_public_key(), name.clone());
        found.push((name, enr));
    }
    Ok(found.into_iter().map(|(_, enr)| enr).collect())
}

/// Splits `NAME=ENR` and checks both.
fn operator(record: &str) -> Result<(String, Enr), Problem> {
    let what_to_do = "ask that operator for the output of `conclave identity show` and paste it whole";
    let Some((name, enr)) = record.trim().split_once("=enr:") else {
        return Err(Problem::bad_input(
            format!("`{}` is no operator", shortened(record)),
            "it must be a name, = and a record that begins with enr:",
            what_to_do,
        ));
    };
    check_name(name)?;
    let enr = Enr::parse(&format!("enr:{enr}")).map_err(|error| {
        Problem::bad_input(format!("the record of {name} cannot be used"), error, what_to_do)
    })?;
    Ok((name.to_owned(), enr))
}

fn shortened(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    if start.len() < text.len() {
        format!("{start}...")
    } else {
        start
    }
}
