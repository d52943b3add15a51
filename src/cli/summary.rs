//! A definition in words: everything that a person should read before joining.

use std::collections::BTreeMap;
use std::fmt::Write;

use console::{Alignment, measure_text_width, pad_str};

use conclave_ceremony::names::Names;
use conclave_ceremony::plan::{is_rehearsal_address, tolerance};
use conclave_ceremony::problem::{Kind, Problem};
use conclave_ceremony::progress::Event;
use conclave_cluster::definition::{Definition, SignatureStatus};
use conclave_crypto::node::NodePublicKey;
use conclave_eth::address::Address;
use conclave_eth::network::Network;
use conclave_eth::unspendable::unspendable;

use super::Context;
use super::output::printable;
use super::payee::{payees, unprotected};
use super::prompt::{self, Prompt};

/// Before anything of a ceremony is written or sent.
pub(super) const ASK: Prompt = Prompt::before("you did not join, and nothing was sent");

const GWEI_PER_ETH: u64 = 1_000_000_000;

/// The whole definition in words, several lines. `own` is the key of who reads it.
pub fn text(
    definition: &Definition,
    network: &Network,
    names: &Names,
    own: Option<&NodePublicKey>,
) -> String {
    let mut out = String::new();
    let (n, v) = (definition.operators.len(), definition.validators.len());
    let _ = writeln!(out, "Cluster     {}", printable(&definition.name));
    let money = if network.real_money {
        "real money"
    } else {
        "a network without real money"
    };
    let _ = writeln!(out, "Network     {}, {money}", printable(&network.name));
    let _ = writeln!(out, "Operators   {n}");
    let called = names.of_all(
        definition
            .operators
            .iter()
            .map(|operator| operator.enr.node_public_key()),
    );
    let called: Vec<String> = called.into_iter().map(|name| printable(&name)).collect();
    let widest = called.iter().map(|name| measure_text_width(name)).max();
    let widest = widest.unwrap_or_default().max(20);
    for ((i, operator), name) in definition.operators.iter().enumerate().zip(called) {
        let key = operator.enr.node_public_key();
        let you = if own == Some(key) { "  <- you" } else { "" };
        let wallet = operator
            .address
            .map_or(String::new(), |address| format!("  wallet {address}"));
        let _ = writeln!(
            out,
            "  {:>2}  {} key {}{wallet}{you}",
            i + 1,
            pad_str(&name, widest, Alignment::Left, None),
            hex::encode(&key.to_bytes()[..8])
        );
    }
    let _ = writeln!(out, "Threshold   {}", tolerance_of(definition));
    let plural = if v == 1 { "" } else { "s" };
    let _ = writeln!(out, "Validators  {v}");
    let mut groups: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    for (i, validator) in definition.validators.iter().enumerate() {
        let key = (
            validator.withdrawal.to_checksum(),
            validator.fee_recipient.to_checksum(),
        );
        groups.entry(key).or_default().push(i);
    }
    let single = groups.len() == 1;
    for ((withdrawal, fee_recipient), members) in groups.iter().take(20) {
        if !single {
            let _ = writeln!(out, "  validator{plural} {}", ranges(members));
        }
        let _ = writeln!(
            out,
            "  withdrawals go to {withdrawal} (this can never be changed)"
        );
        let _ = writeln!(out, "  fees go to        {fee_recipient}");
    }
    if groups.len() > 20 {
        let _ = writeln!(
            out,
            "  and {} other pairs of addresses: read them in the file",
            groups.len() - 20
        );
    }
    let amounts: Vec<String> = definition
        .effective_deposit_amounts()
        .iter()
        .map(|gwei| eth(*gwei))
        .collect();
    let credentials = if definition.compounding {
        "0x02, compounding"
    } else {
        "0x01"
    };
    let _ = writeln!(
        out,
        "Deposits    {} ETH per validator, credentials {credentials}",
        amounts.join(" + ")
    );
    let _ = writeln!(out, "Gas limit   {}", definition.effective_gas_limit());
    let signed = match definition.signatures(network.chain_id) {
        Ok(SignatureStatus::Unsigned) => "nobody: call each other and compare the hash below".to_owned(),
        Ok(SignatureStatus::CreatorSigned) => "its creator's wallet".to_owned(),
        Ok(SignatureStatus::Signed) => "the wallets of its creator and of all operators".to_owned(),
        Ok(SignatureStatus::NotCheckableOffline { who }) => {
            format!(
                "the wallets of those who signed, contract wallets among them: {}",
                printable(&who.join(", "))
            )
        }
        Err(error) => printable(&error.to_string()),
    };
    let _ = writeln!(out, "Signed by   {signed}");
    let _ = write!(out, "Hash        0x{}", hex::encode(definition.definition_hash()));
    out
}

fn tolerance_of(definition: &Definition) -> conclave_ceremony::plan::Tolerance {
    let n = u32::try_from(definition.operators.len()).unwrap_or(u32::MAX);
    tolerance(n, u32::try_from(definition.threshold).unwrap_or(u32::MAX))
}

/// What a person should be warned of.
pub fn warnings(definition: &Definition, network: &Network) -> Vec<String> {
    let mut warnings = tolerance_of(definition).warnings();
    if definition
        .validators
        .iter()
        .any(|v| is_rehearsal_address(&v.withdrawal) || is_rehearsal_address(&v.fee_recipient))
    {
        warnings.push("The addresses are those of a rehearsal: money sent there is gone.".to_owned());
    }
    let doubtful = |(_, address): &(_, Address)| {
        !is_rehearsal_address(address) && (unspendable(address).is_some() || !address.has_checksum())
    };
    for (what, address) in payees(definition).into_iter().filter(doubtful).take(20) {
        if let Some(why) = unspendable(&address) {
            warnings.push(format!(
                "{what} is {address}: {why}, and money sent there is gone."
            ));
        } else {
            warnings.push(format!("{}.", unprotected(what, &address)));
        }
    }
    if network.real_money && definition.signatures(network.chain_id) == Ok(SignatureStatus::Unsigned) {
        warnings.push(
            "Nobody signed this definition. Before you join, compare its hash with every other operator by voice.".to_owned(),
        );
    }
    warnings
}

/// The same for a program.
pub fn event(definition: &Definition, network: &Network) -> Event {
    Event::Definition {
        name: definition.name.clone(),
        definition_hash: format!("0x{}", hex::encode(definition.definition_hash())),
        operators: u32::try_from(definition.operators.len()).unwrap_or(u32::MAX),
        threshold: u32::try_from(definition.threshold).unwrap_or(u32::MAX),
        validators: u32::try_from(definition.validators.len()).unwrap_or(u32::MAX),
        network: network.name.to_string(),
    }
}

/// Shows the definition and asks whether it is right, unless `yes` says so.
///
/// # Errors
/// If it is not right, or if there is nobody to ask.
pub fn confirm(
    context: &Context,
    definition: &Definition,
    network: &Network,
    names: &Names,
    own: Option<&NodePublicKey>,
    yes: bool,
) -> Result<(), Problem> {
    context.output.event(&event(definition, network));
    context.output.say(text(definition, network, names, own));
    for warning in warnings(definition, network) {
        context.output.warn(&warning);
    }
    if yes {
        return Ok(());
    }
    if !context.output.can_ask() {
        return Err(prompt::unanswered(&["--yes after reading the definition"]));
    }
    if ASK.confirm("Is all of this right, and do you want to join?")? {
        return Ok(());
    }
    Err(Problem::new(
        Kind::Interrupted,
        "you did not join",
        "you said no, and nothing was sent",
        "run the same command when you want to join; if something in the definition is wrong, ask for another one",
    ))
}

/// Gwei as ETH, without trailing zeros.
fn eth(gwei: u64) -> String {
    let (whole, rest) = (gwei / GWEI_PER_ETH, gwei % GWEI_PER_ETH);
    if rest == 0 {
        whole.to_string()
    } else {
        format!("{whole}.{rest:09}").trim_end_matches('0').to_owned()
    }
}

/// `0-2, 5` for 0, 1, 2, 5.
fn ranges(numbers: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => parts.push((*number, *number)),
        }
    }
    let texts: Vec<String> = parts
        .iter()
        .map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") })
        .collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_ceremony::define::definition;
    use conclave_ceremony::plan::Plan;
    use conclave_cluster::enr::Enr;
    use conclave_crypto::node::NodeKey;

    #[test]
    fn the_summary_says_everything() {
        let plan = Plan::parse(
            "name = \"Friends\"\noperators = 3\nnetwork = \"hoodi\"\nvalidators = 3\namounts = [1, 32]",
        )
        .unwrap()
        .with_rehearsal_addresses();
        let keys: Vec<_> = (1..=3).map(|i| NodeKey::from_bytes(&[i; 32]).unwrap()).collect();
        let network = Network::by_name("hoodi").unwrap();
        let definition = definition(&plan, keys.iter().map(Enr::create).collect(), network).unwrap();
        let mut names = Names::default();
        names.insert(&keys[0].public(), "ann");
        let text = text(&definition, network, &names, Some(&keys[1].public()));
        let address = conclave_ceremony::plan::REHEARSAL_ADDRESS.to_checksum();
        let hash = hex::encode(definition.definition_hash());
        for part in [
            "Friends",
            "hoodi",
            "without real money",
            "ann",
            "<- you",
            "Any 2 of the 3 operators can sign.",
            "1 + 32 ETH",
            "60000000",
            &address,
            &hash,
            "0x01",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let warnings = warnings(&definition, network);
        assert!(
            warnings
                .iter()
                .any(|w| w.contains("not against one that misbehaves"))
        );
        assert!(warnings.iter().any(|w| w.contains("rehearsal")));
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(eth(32_000_000_000), "32");
        assert_eq!(eth(1_500_000_000), "1.5");
        assert_eq!(eth(1), "0.000000001");
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2, 5, 7-8");
    }
}
