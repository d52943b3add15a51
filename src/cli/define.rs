//! `conclave define`: a plan and everybody's records become the definition that all operators join.

use crate::ceremony::define::definition;
use crate::ceremony::files::{Disk, PUBLIC};
use crate::ceremony::folder::DataFolder;
use crate::ceremony::identity::{Identity, check_name};
use crate::ceremony::names::Names;
use crate::ceremony::plan::refuse_address_of_nobody;
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
    let network = input::network(&plan.network, args.network_file.as_deref())?;
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

    let lacks = |get: fn(&crate::ceremony::plan::Payout) -> Option<Address>| {
        plan.validators.iter().any(|p| get(p).is_none())
    };
    let withdrawal = match args.withdrawal_address {
        Some(given) => Some(input::address("the withdrawal address", &given)?),
        None if lacks(|p| p.withdrawal) => Some(ask_address(
            context,
            "Withdrawal address",
            "the withdrawal address",
            "--withdrawal-address ADDRESS",
        )?),
        None => None,
    };
    let fee_recipient = match args.fee_recipient_address {
        Some(given) => Some(input::address("the fee recipient", &given)?),
        None if lacks(|p| p.fee_recipient) => Some(ask_address(
            context,
            "Fee recipient address",
            "the fee recipient",
            "--fee-recipient-address ADDRESS",
        )?),
        None => None,
    };
    for payout in &mut plan.validators {
        payout.withdrawal = payout.withdrawal.or(withdrawal);
        payout.fee_recipient = payout.fee_recipient.or(fee_recipient);
    }

    let mut records = args.operators;
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
    let mut names = Names::default();
    let mut enrs: Vec<Enr> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for record in &records {
        let (name, enr) = operator(record)?;
        if let Some(first) = enrs
            .iter()
            .position(|other| other.node_public_key() == enr.node_public_key())
        {
            return Err(Problem::bad_input(
                format!("{name} and {} are the same operator", seen[first]),
                "their records hold the same key",
                "ask both for the output of `conclave identity show`",
            ));
        }
        if seen.contains(&name) {
            return Err(Problem::bad_input(
                format!("there are two operators named {name}"),
                "nobody could tell them apart",
                "give each --operator another name",
            ));
        }
        names.insert(enr.node_public_key(), name.clone());
        seen.push(name);
        enrs.push(enr);
    }

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

fn ask_address(context: &Context, question: &str, what: &str, flag: &str) -> Result<Address, Problem> {
    if !context.output.can_ask() {
        return Err(prompt::unanswered(&[flag]));
    }
    let answer = prompt::text(question, None, false, |text| {
        let address = Address::parse_checksummed(text.trim()).map_err(|error| error.to_string())?;
        refuse_address_of_nobody(&address, 0).map_err(|problem| problem.why)
    })?;
    input::address(what, &answer)
}
