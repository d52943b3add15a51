//! `--contract-wallet` and `--execution-client`: what is known of wallets that are contracts.

use conclave_ceremony::{
    execution::ExecutionClient,
    problem::{Kind, Problem},
};
use conclave_cluster::{definition::Definition, report::Outcome, wallets::Wallets};
use conclave_eth::{address::Address, network::Network};

use super::{Context, args::ContractWallets, output::printable, pasted};

/// What is known for a ceremony that goes on: what was accepted when it was entered stays accepted, whoever owns the wallets now. Whoever
/// names an execution client again is told what it says, but need not have it running.
///
/// # Errors
/// An address that is none.
pub(super) fn known_again(
    context: &Context,
    args: &ContractWallets,
    definition: (Definition, &Network),
) -> Result<Wallets, Problem> {
    let unproven = definition.0.unproven_signatures(definition.1.chain_id);
    let wallets = known(context, args, &[definition]).or_else(|problem| {
        if problem.kind == Kind::BadInput {
            return Err(problem);
        }
        context.output.warn(&printable(&format!(
            "{}: {}. The signatures were accepted when this ceremony was begun here; it goes on",
            problem.what, problem.why
        )));
        Ok(Wallets::default())
    })?;
    let wallets = wallets.judged_before();
    // What nobody was asked about is no news.
    let asked: Vec<_> = unproven
        .into_iter()
        .filter(|signature| wallets.knows(signature))
        .collect();
    if let Outcome::NotChecked(why) = wallets.judge(&asked).0 {
        context.output.warn(&printable(&format!(
            "{why}. The signatures were accepted when this ceremony was begun here; it goes on"
        )));
    }
    Ok(wallets)
}

/// Reads the addresses, and asks the execution client about every signature in these definitions that no key proves. It is asked
/// nothing if there are none.
///
/// # Errors
/// An address that is none; an execution client that cannot be asked.
pub(super) fn known(
    context: &Context,
    args: &ContractWallets,
    definitions: &[(Definition, &Network)],
) -> Result<Wallets, Problem> {
    let addresses = args
        .contract_wallets
        .iter()
        .map(|text| text.trim())
        .filter(|text| !text.is_empty());
    let addresses: Vec<Address> = addresses.map(address).collect::<Result<_, _>>()?;
    let mut wallets = Wallets::named(&addresses);
    let Some(url) = &args.execution_client else {
        return Ok(wallets);
    };
    let tell = |line: &str| context.output.warn(&printable(line));
    let client = ExecutionClient::new(url, &tell)?;
    for (definition, network) in definitions {
        let unproven = definition.unproven_signatures(network.chain_id);
        let new: Vec<_> = unproven
            .into_iter()
            .filter(|signature| !wallets.knows(signature))
            .collect();
        if new.is_empty() {
            continue;
        }
        let verdicts = client.judge(&new, network)?;
        for (signature, verdict) in new.into_iter().zip(verdicts) {
            wallets.learn(signature, verdict);
        }
    }
    Ok(wallets)
}

fn address(text: &str) -> Result<Address, Problem> {
    let text = &pasted::word(text);
    Address::parse_checksummed(text)
        .or_else(|error| {
            // Whoever copies from another tool may have one letter case throughout, which has no checksum.
            let one_case = text.bytes().skip(2).all(|byte| !byte.is_ascii_uppercase());
            if one_case {
                Address::parse_any_case(text)
            } else {
                Err(error)
            }
        })
        .map_err(|error| Problem {
            what: format!("--contract-wallet: {} is not an address", printable(text)),
            ..Problem::from_lines(Kind::BadInput, error)
        })
}
