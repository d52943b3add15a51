//! From a plan and everybody's node records to the definition that all operators join.

use std::time::SystemTime;

use conclave_cluster::definition::{
    Creator, DKG_ALGORITHM, Definition, DefinitionFields, OperatorRecord, ValidatorAddresses, Version,
};
use conclave_cluster::enr::Enr;
use conclave_eth::network::Network;
use conclave_eth::text::timestamp;

use super::plan::Plan;
use super::problem::{Kind, Problem};

const GWEI_PER_ETH: u64 = 1_000_000_000;

/// Makes the definition: unsigned, version v1.10.0, with a fresh UUID and the time of now. The order of `operators`
/// is the order of their share indices.
///
/// # Errors
/// If the plan lacks an address or does not fit the network or the operators, and whatever the format refuses.
pub fn definition(plan: &Plan, operators: Vec<Enr>, network: &Network) -> Result<Definition, Problem> {
    plan.check()?;
    network
        .accepts_ceremonies()
        .map_err(|error| Problem::from_lines(Kind::BadInput, error))?;
    if operators.len() != plan.operators as usize {
        return Err(Problem::bad_input(
            format!("the plan is for {} operators", plan.operators),
            format!("the number of records that were given is {}", operators.len()),
            "give the record of each operator once, or change the plan",
        ));
    }
    let mut validators = Vec::new();
    for (i, payout) in plan.validators.iter().enumerate() {
        let absent = |what: &str, flag: &str| {
            Problem::bad_input(
                format!("validator {i} has no {what} address"),
                "the plan gives none",
                format!("add it to the plan, or give {flag}"),
            )
        };
        validators.push(ValidatorAddresses {
            withdrawal: payout
                .withdrawal
                .ok_or_else(|| absent("withdrawal", "--withdrawal-address"))?,
            fee_recipient: payout
                .fee_recipient
                .ok_or_else(|| absent("fee recipient", "--fee-recipient-address"))?,
        });
    }
    let definition = Definition::new(DefinitionFields {
        name: plan.name.clone(),
        creator: Creator::default(),
        operators: operators.into_iter().map(OperatorRecord::unsigned).collect(),
        uuid: uuid::Uuid::new_v4().hyphenated().to_string().to_uppercase(),
        version: Version::V1_10,
        timestamp: timestamp(SystemTime::now()),
        threshold: u64::from(plan.threshold),
        validators,
        dkg_algorithm: DKG_ALGORITHM.to_owned(),
        fork_version: network.genesis_fork_version,
        deposit_amounts: plan
            .amounts
            .iter()
            .map(|eth| eth.saturating_mul(GWEI_PER_ETH))
            .collect(),
        consensus_protocol: String::new(),
        target_gas_limit: plan.target_gas_limit,
        compounding: plan.compounding,
    })
    .map_err(refused)?;
    definition.check_ceremony(network).map_err(refused)?;
    Ok(definition)
}

fn refused(error: impl std::fmt::Display) -> Problem {
    Problem::bad_input(
        "no definition can be made of this",
        error,
        "change the plan or the operators accordingly",
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use conclave_crypto::node::NodeKey;

    fn enrs(count: u8) -> Vec<Enr> {
        (1..=count)
            .map(|i| Enr::create(&NodeKey::from_bytes(&[i; 32]).unwrap()))
            .collect()
    }

    fn plan() -> Plan {
        Plan::parse("name = \"Friends\"\noperators = 4\nnetwork = \"hoodi\"\nvalidators = 2")
            .unwrap()
            .with_rehearsal_addresses()
    }

    #[test]
    fn a_definition_is_what_the_plan_says_and_reads_back() {
        let hoodi = Network::by_name("hoodi").unwrap();
        let definition = definition(&plan(), enrs(4), hoodi).unwrap();
        assert_eq!((definition.threshold, definition.validators.len()), (3, 2));
        assert_eq!(definition.deposit_amounts, [32_000_000_000]);
        assert_eq!(definition.dkg_algorithm, "gjkr");
        assert_eq!(definition.uuid.len(), 36);
        assert_eq!(definition.uuid, definition.uuid.to_uppercase());
        assert_eq!(&definition.uuid[14..15], "4");
        let again = Definition::from_json(&definition.to_json()).unwrap();
        assert_eq!(again.definition_hash(), definition.definition_hash());
    }

    #[test]
    fn two_definitions_of_one_plan_differ() {
        let hoodi = Network::by_name("hoodi").unwrap();
        let make = || definition(&plan(), enrs(4), hoodi).unwrap().definition_hash();
        assert_ne!(make(), make());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let hoodi = Network::by_name("hoodi").unwrap();
        let mut twice = enrs(4);
        twice[3] = twice[0].clone();
        assert_eq!(
            definition(&plan(), twice, hoodi).unwrap_err().kind,
            Kind::BadInput
        );
        assert!(
            definition(&plan(), enrs(3), hoodi)
                .unwrap_err()
                .what
                .contains("for 4")
        );
        let mut no_address = plan();
        no_address.validators[1].fee_recipient = None;
        assert!(
            definition(&no_address, enrs(4), hoodi)
                .unwrap_err()
                .what
                .contains("validator 1")
        );
        let goerli = Network::by_name("goerli").unwrap();
        assert!(
            definition(&plan(), enrs(4), goerli)
                .unwrap_err()
                .what
                .contains("shut down")
        );
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_742_213_400, "2025-03-17T12:10:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
