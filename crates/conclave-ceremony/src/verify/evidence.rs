//! Evidence of a fault: what it proves against whom, judged anew with nothing but the definition.

use std::sync::Arc;

use super::{Item, Row, Verification, checks};
use crate::{
    names::Names,
    problem::{Remedy, Unread},
    product,
};
use conclave_cluster::{definition::Definition, report::Outcome};
use conclave_crypto::hash::Hash;
use conclave_dkg::{
    body::JoinBody,
    entry::Step,
    evidence::{Evidence, FAMILY, MAGIC},
    terms::Terms,
};
use conclave_eth::network::Network;

/// The name of the check that it proves what it says.
const PROVES: &str = "proves a fault";

/// Checks one piece of evidence.
pub(super) fn check(
    item: &Item,
    definition: Option<&Definition>,
    names: &Names,
    custom: Option<&Network>,
    weight_seed: &[u8; 32],
    result: &mut Verification,
) {
    let Some(bytes) = checks::content(item, result) else {
        return;
    };
    let Some(hash) = of_definition(bytes) else {
        let later = bytes.starts_with(FAMILY) && !bytes.starts_with(MAGIC);
        let unread = if later {
            Unread::new(checks::LATER, Remedy::Update)
        } else {
            Unread::new("it is not evidence, or it is damaged", Remedy::Another)
        };
        return result.add_unread(&item.file, checks::READABLE, &unread);
    };
    let outcome = match definition {
        None => Err(Outcome::NotChecked(
            "there is no definition to check it with: name the group's cluster-definition.json too"
                .to_owned(),
        )),
        Some(definition) if definition.definition_hash() != hash => Err(Outcome::Failed(format!(
            "it is evidence in another ceremony, of the definition 0x{}",
            hex::encode(hash)
        ))),
        Some(definition) => judge(bytes, definition, names, custom, weight_seed),
    };
    let (outcome, finding) = match outcome {
        Ok(finding) => (Outcome::Ok, Some(finding)),
        Err(outcome) => (outcome, None),
    };
    result.rows.push(Row {
        file: item.file.clone(),
        check: PROVES.to_owned(),
        outcome,
        finding,
        remedy: Remedy::Doubt,
    });
}

/// The definition hash in the file's head.
fn of_definition(bytes: &[u8]) -> Option<Hash> {
    bytes
        .strip_prefix(MAGIC)?
        .first_chunk::<64>()?
        .first_chunk::<32>()
        .copied()
}

/// What the evidence proves, in words, or why it does not.
fn judge(
    bytes: &[u8],
    definition: &Definition,
    names: &Names,
    custom: Option<&Network>,
    weight_seed: &[u8; 32],
) -> Result<String, Outcome> {
    let network = checks::network_of(definition.fork_version, custom).ok_or_else(|| {
        let why = "the network is not known; a network file would tell what was signed for";
        Outcome::NotChecked(why.to_owned())
    })?;
    let failed = |why: &str| Outcome::Failed(why.to_owned());
    let terms = product::terms(definition, network).map_err(|error| failed(&error.to_string()))?;
    let terms = Arc::new(terms);
    let evidence = Evidence::from_file(&terms, &product::net(network), bytes)
        .ok_or_else(|| failed("it is damaged, or was made on another network"))?;
    if !evidence.check(&terms, weight_seed) {
        return Err(failed(
            "it proves nothing: what it holds does not show what it claims",
        ));
    }
    let finding = evidence.finding;
    let who = name(&evidence, &terms, names).map_or_else(
        || "nobody is to blame".to_owned(),
        |name| format!("operator {} ({name})", finding.operator),
    );
    Ok(format!("attempt {}: {who}: {}", evidence.attempt, finding.kind))
}

/// What the folder calls the operator, or else the name that it gave itself; `None` if the finding is about nobody.
fn name(evidence: &Evidence, terms: &Terms, names: &Names) -> Option<String> {
    let operator = evidence.finding.operator;
    let key = terms.operator(operator)?;
    let own = evidence
        .entries
        .iter()
        .filter(|entry| entry.operator == operator && entry.step == Step::Join)
        .find_map(|entry| JoinBody::decode(terms, &entry.body));
    let mut names = names.clone();
    if let Some(join) = own {
        names.learn(key, &join.name);
    }
    let all = names.of_all(terms.indices().filter_map(|operator| terms.operator(operator)));
    all.into_iter().nth(usize::from(operator).wrapping_sub(1))
}
