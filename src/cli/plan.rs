//! `conclave plan new`: a few questions, or flags, and a plan.

use conclave_ceremony::files::{Disk, PUBLIC, is_folder, is_there};
use conclave_ceremony::plan::{
    DEFAULT_GAS_LIMIT, OPERATORS, Payout, Plan, VALIDATORS, check_amounts, check_name, default_threshold,
    tolerance,
};
use conclave_ceremony::problem::{Kind, Problem};
use conclave_ceremony::progress::Event;
use conclave_eth::network::Network;

use super::args::PlanArgs;
use super::given::is_quoted;
use super::payee::{FEE_RECIPIENT, Payees, WITHDRAWAL};
use super::prompt::{self, Prompt, Wrong};
use super::{Context, given, input};

/// What is not in the flags.
const ASK: Prompt = Prompt::before("no plan was written");

pub(super) fn new(context: &Context, args: PlanArgs) -> Result<(), Problem> {
    let path = args
        .out
        .clone()
        .unwrap_or_else(|| context.data_dir.join("plan.toml"));
    if is_folder(&path)? {
        return Err(Problem::new(
            Kind::Usage,
            format!("{} is a folder", path.display()),
            "a plan is a file",
            format!("name a file in it: --out {}", path.join("plan.toml").display()),
        ));
    }
    if is_there(&path)? {
        return Err(Problem::folder_state(
            format!("there is a plan in {} already", path.display()),
            "nothing is ever overwritten",
            "name another file with --out",
        ));
    }
    let payees = Payees {
        context,
        any: args.payees.any_address,
        prompt: ASK,
    };
    let plan = if context.output.can_ask() {
        ask(payees, args)?
    } else {
        from_flags(payees, args)?
    };
    plan.check()?;
    Disk::new().write_new(&path, plan.to_toml().as_bytes(), PUBLIC)?;
    let tolerance = tolerance(plan.operators, plan.threshold);
    context.output.say(tolerance.to_string());
    for warning in tolerance.warnings() {
        context.output.warn(&warning);
    }
    context.output.event(&Event::Written {
        path: path.display().to_string(),
        kind: "plan".into(),
    });
    context.output.say(format!(
        "\nWrote {0}. Try it first: conclave rehearse {0}\nThen: conclave define {0} --operator NAME=ENR ...",
        path.display()
    ));
    Ok(())
}

/// Without a terminal the flags must say what has no sane default.
fn from_flags(payees: Payees<'_>, args: PlanArgs) -> Result<Plan, Problem> {
    let network_of_file = input::network_file(args.own_network.network_file.as_deref())?
        .map(|network| network.name.into_owned());
    let network = args.network.clone().or(network_of_file);
    let (Some(name), Some(operators), Some(network)) = (args.name.clone(), args.operators, network) else {
        return Err(prompt::unanswered(&[
            "--name NAME",
            "--operators N",
            "--network NETWORK (these three are needed)",
            "--threshold T",
            "--validators V",
            "--amounts ETH,ETH",
            "--compounding",
            "--withdrawal-address ADDRESS",
            "--fee-recipient-address ADDRESS",
            "--target-gas-limit GAS",
            "--out FILE",
        ]));
    };
    input::network(&network, args.own_network.network_file.as_deref())?
        .accepts_ceremonies()
        .map_err(|error| Problem::from_lines(Kind::BadInput, error))?;
    let payout = Payout {
        withdrawal: args
            .withdrawal_address
            .map(|given| payees.read(WITHDRAWAL, &given))
            .transpose()?,
        fee_recipient: args
            .fee_recipient_address
            .map(|given| payees.read(FEE_RECIPIENT, &given))
            .transpose()?,
    };
    assemble(
        name,
        operators,
        args.threshold,
        network,
        args.validators,
        payout,
        given::all(&args.amounts).copied().collect(),
        args.compounding,
        args.target_gas_limit,
    )
}

#[expect(clippy::too_many_arguments, reason = "one for each line of a plan")]
fn assemble(
    name: String,
    operators: u32,
    threshold: Option<u32>,
    network: String,
    validators: Option<u32>,
    payout: Payout,
    mut amounts: Vec<u64>,
    compounding: bool,
    target_gas_limit: Option<u64>,
) -> Result<Plan, Problem> {
    let validators = validators.unwrap_or(1);
    if !VALIDATORS.contains(&validators) {
        return Err(Problem::bad_input(
            format!("{validators} validators are not possible"),
            "one ceremony makes 1 to 10000",
            "give --validators accordingly",
        ));
    }
    if amounts.is_empty() {
        amounts.push(32);
    }
    amounts.sort_unstable();
    Ok(Plan {
        name,
        operators,
        threshold: threshold.unwrap_or_else(|| default_threshold(operators)),
        network,
        validators: vec![payout; validators as usize],
        amounts,
        compounding,
        target_gas_limit: target_gas_limit.unwrap_or(DEFAULT_GAS_LIMIT),
    })
}

/// Asks for everything that no flag says.
fn ask(payees: Payees<'_>, mut args: PlanArgs) -> Result<Plan, Problem> {
    let name = match args.name.take() {
        Some(name) => name,
        None => ASK.text("Name of the cluster", None, false, |name| {
            if is_quoted(name) {
                return Err(Wrong::from(
                    "there are quotes around the name: type it without them",
                ));
            }
            check_name(name).map_err(Wrong::from)
        })?,
    };
    let network = match (
        args.network.take(),
        input::network_file(args.own_network.network_file.as_deref())?,
    ) {
        (Some(name), _) => input::network(&name, args.own_network.network_file.as_deref())?
            .name
            .into_owned(),
        (None, Some(network)) => network.name.into_owned(),
        (None, None) => {
            let mut names: Vec<String> = Network::known()
                .iter()
                .filter(|n| n.accepts_ceremonies().is_ok())
                .map(|n| n.name.to_string())
                .collect();
            // Test networks first: that is where to begin.
            names.sort_by_key(|name| Network::by_name(name).is_ok_and(|network| network.real_money));
            let preferred = names.iter().position(|name| name == "hoodi").unwrap_or_default();
            let chosen = ASK.choose("Network", &names, Some(preferred))?;
            names.swap_remove(chosen)
        }
    };
    let operators = ask_number("How many operators", args.operators, 4, &OPERATORS)?;
    let threshold = if let Some(threshold) = args.threshold {
        threshold
    } else {
        for t in 2.max(operators / 2)..=operators {
            payees
                .context
                .output
                .say(format!("  {}", tolerance(operators, t)));
        }
        let default = default_threshold(operators);
        ask_number("How many operators must sign", None, default, &(2..=operators))?
    };
    let validators = ask_number("How many validators", args.validators, 1, &VALIDATORS)?;
    let compounding = args.compounding
        || (args.amounts.is_empty()
            && ASK.confirm("Compounding (0x02) credentials, up to 2048 ETH on one validator?")?);
    let amounts = if args.amounts.is_empty() {
        let check = |text: &str| match amounts_of(text) {
            Some(amounts) => check_amounts(&amounts, compounding).map_err(Wrong::from),
            None => Err(Wrong::from(
                "type whole numbers of ETH with commas between them, such as 32 or 1, 32",
            )),
        };
        let answer = ASK.text("Deposits of each validator in ETH", Some("32"), false, check)?;
        amounts_of(&answer).unwrap_or_default()
    } else {
        given::all(&args.amounts).copied().collect()
    };
    // Empty answers leave it to `define`.
    let payout = Payout {
        withdrawal: match args.withdrawal_address {
            Some(given) => Some(payees.read(WITHDRAWAL, &given)?),
            None => payees.ask("Withdrawal address (empty: later)", WITHDRAWAL, true)?,
        },
        fee_recipient: match args.fee_recipient_address {
            Some(given) => Some(payees.read(FEE_RECIPIENT, &given)?),
            None => payees.ask("Fee recipient address (empty: later)", FEE_RECIPIENT, true)?,
        },
    };
    assemble(
        name,
        operators,
        Some(threshold),
        network,
        Some(validators),
        payout,
        amounts,
        compounding,
        args.target_gas_limit,
    )
}

fn amounts_of(text: &str) -> Option<Vec<u64>> {
    text.split(',').map(|amount| amount.trim().parse().ok()).collect()
}

fn ask_number(
    question: &str,
    given: Option<u32>,
    default: u32,
    range: &std::ops::RangeInclusive<u32>,
) -> Result<u32, Problem> {
    if let Some(given) = given {
        return Ok(given);
    }
    let check = |text: &str| match text.trim().parse::<u32>() {
        Ok(number) if range.contains(&number) => Ok(()),
        _ => Err(format!(
            "type a number between {} and {}",
            range.start(),
            range.end()
        )),
    };
    let answer = ASK.text(question, Some(&default.to_string()), false, check)?;
    Ok(answer.trim().parse().unwrap_or(default))
}
