//! Addresses that money goes to, as people give them.

use std::collections::BTreeSet;

use conclave_ceremony::plan::{Plan, is_rehearsal_address, refuse_address_of_nobody};
use conclave_ceremony::problem::Problem;
use conclave_cluster::definition::Definition;
use conclave_eth::address::Address;
use conclave_eth::network::Network;

use super::{Context, pasted, prompt::Prompt};

/// Of what an address can be.
pub(super) const WITHDRAWAL: &str = "the withdrawal address";
/// The same for fees.
pub(super) const FEE_RECIPIENT: &str = "the fee recipient";

/// Who may get money.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payees<'a> {
    /// To ask.
    pub(super) context: &'a Context,
    /// Whether addresses are taken from which nobody can spend.
    pub(super) any: bool,
    /// How to.
    pub(super) prompt: Prompt,
}

impl Payees<'_> {
    /// The address in a text that a person gave for `what`.
    ///
    /// # Errors
    /// If it is none, without its checksum, or nobody's.
    pub(super) fn read(self, what: &str, text: &str) -> Result<Address, Problem> {
        let address = self.judge(what, text)?;
        self.protect(what, &address)?;
        Ok(address)
    }

    /// Asks for it; nothing for an empty answer, if that is allowed.
    ///
    /// # Errors
    /// If the terminal goes away, or it was typed in two ways.
    pub(super) fn ask(
        self,
        question: &str,
        what: &str,
        may_be_empty: bool,
    ) -> Result<Option<Address>, Problem> {
        let answer = self.prompt.text(question, None, may_be_empty, |text| {
            self.judge(what, text).map(drop)
        })?;
        if answer.trim().is_empty() {
            return Ok(None);
        }
        self.read(what, &answer).map(Some)
    }

    /// Judges the addresses in a plan.
    ///
    /// # Errors
    /// As [`Payees::read`].
    pub(super) fn of_plan(self, plan: &Plan) -> Result<(), Problem> {
        let payouts = || plan.validators.iter();
        let withdrawals: BTreeSet<Address> = payouts().filter_map(|payout| payout.withdrawal).collect();
        let recipients: BTreeSet<Address> = payouts().filter_map(|payout| payout.fee_recipient).collect();
        for (what, addresses) in [(WITHDRAWAL, withdrawals), (FEE_RECIPIENT, recipients)] {
            for address in addresses {
                self.refuse(what, &address)?;
                self.protect(what, &address)?;
            }
        }
        Ok(())
    }

    /// Judges the addresses in a definition that others made. Those of a rehearsal are right where there is no real money.
    ///
    /// # Errors
    /// If one is nobody's.
    pub(super) fn of_definition(self, definition: &Definition, network: &Network) -> Result<(), Problem> {
        for (what, address) in payees(definition) {
            if network.real_money || !is_rehearsal_address(&address) {
                self.refuse(what, &address)?;
            }
        }
        Ok(())
    }

    fn judge(self, what: &str, text: &str) -> Result<Address, Problem> {
        let address = pasted::address(text).map_err(|mut problem| {
            problem.what = format!("{what}: {}", problem.what);
            problem
        })?;
        self.refuse(what, &address)?;
        Ok(address)
    }

    fn refuse(self, what: &str, address: &Address) -> Result<(), Problem> {
        if self.any && !address.is_zero() {
            return Ok(());
        }
        refuse_address_of_nobody(address, what)
    }

    /// No checksum protects an address without letters: whoever types it types it twice.
    fn protect(self, what: &str, address: &Address) -> Result<(), Problem> {
        if address.has_checksum() {
            return Ok(());
        }
        if !self.context.output.can_ask() {
            self.context.output.warn(&unprotected(what, address));
            return Ok(());
        }
        let question = format!("No checksum protects {what} {address}, as it has no letters. Type it again");
        let again = self
            .prompt
            .text(&question, None, false, |_| Ok::<(), Problem>(()))?;
        same(what, address, &again)
    }
}

/// Whether it was typed as before.
fn same(what: &str, address: &Address, again: &str) -> Result<(), Problem> {
    if pasted::word(again) == address.to_checksum() {
        return Ok(());
    }
    Err(Problem::bad_input(
        format!("{what} was not the same the second time"),
        format!("first it was {address}, then another one"),
        "copy it from your wallet, and compare every digit",
    ))
}

/// What a person is told of an address that no checksum protects.
pub(super) fn unprotected(what: &str, address: &Address) -> String {
    format!(
        "{what} {address} has no letters, so no checksum protects it, and a mistyped digit would go unnoticed. Compare every \
         digit with the wallet: money sent to another address is gone"
    )
}

/// The different addresses of a definition, and of what they are.
pub(super) fn payees(definition: &Definition) -> BTreeSet<(&'static str, Address)> {
    let validators = definition.validators.iter();
    validators
        .flat_map(|validator| {
            [
                (WITHDRAWAL, validator.withdrawal),
                (FEE_RECIPIENT, validator.fee_recipient),
            ]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Output;
    use conclave_ceremony::define::definition;
    use conclave_ceremony::plan::REHEARSAL_ADDRESS;
    use conclave_ceremony::problem::Kind;
    use conclave_cluster::enr::Enr;
    use conclave_crypto::node::NodeKey;

    fn context() -> Context {
        Context {
            data_dir: ".".into(),
            output: Output::new(true),
        }
    }

    fn payees_of(context: &Context, any: bool) -> Payees<'_> {
        Payees {
            context,
            any,
            prompt: Prompt::before("nothing"),
        }
    }

    #[test]
    fn what_nobody_can_spend_from_needs_an_override_for_both_kinds() {
        let context = context();
        let rehearsal = REHEARSAL_ADDRESS.to_checksum();
        let (strict, lax) = (payees_of(&context, false), payees_of(&context, true));
        for text in [
            "0x000000000000000000000000000000000000dEaD",
            "0x0000000000000000000000000000000000000001",
            "0x00000000219ab540356cBB839Cbe05303d7705Fa",
            "0x0000BBdDc7CE488642fb579F8B00f3a590007251",
            &rehearsal,
        ] {
            for what in [WITHDRAWAL, FEE_RECIPIENT] {
                let problem = strict.read(what, text).unwrap_err();
                assert!(
                    problem.what.contains(what) && problem.what_to_do.contains("--any-address"),
                    "{problem:?}"
                );
                assert_eq!(lax.read(what, text).unwrap().to_checksum(), text);
            }
            let key = ["withdrawal_address", "fee_recipient_address"];
            for key in key {
                let text = format!("name = \"F\"\noperators = 2\nnetwork = \"hoodi\"\n{key} = \"{text}\"");
                let plan = Plan::parse(&text).unwrap();
                assert_eq!(strict.of_plan(&plan).unwrap_err().kind, Kind::BadInput);
                lax.of_plan(&plan).unwrap();
            }
        }
        // What no ceremony takes has no override, and none is advised.
        let zero = "0x0000000000000000000000000000000000000000";
        for payees in [strict, lax] {
            for what in [WITHDRAWAL, FEE_RECIPIENT] {
                let problem = payees.read(what, zero).unwrap_err();
                assert!(
                    problem.what.contains(what) && !problem.what_to_do.contains("--any-address"),
                    "{problem:?}"
                );
            }
            for key in ["withdrawal_address", "fee_recipient_address"] {
                let text = format!("name = \"F\"\noperators = 2\nnetwork = \"hoodi\"\n{key} = \"{zero}\"");
                assert!(
                    Plan::parse(&text).and_then(|plan| payees.of_plan(&plan)).is_err(),
                    "{key}"
                );
            }
        }
        strict
            .read(WITHDRAWAL, "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
            .unwrap();
        strict
            .read(WITHDRAWAL, "0x1357913579135791357913579135791357913579")
            .unwrap();
    }

    #[test]
    fn what_is_typed_again_must_be_the_same() {
        let ones = Address([0x11; 20]);
        let text = ones.to_checksum();
        same(WITHDRAWAL, &ones, &text).unwrap();
        same(WITHDRAWAL, &ones, &format!(" {text}\n")).unwrap();
        for other in [
            "",
            &text[..41],
            &text.replace("0x1", "0x2"),
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        ] {
            let problem = same(WITHDRAWAL, &ones, other).unwrap_err();
            assert!(
                problem.what.contains(WITHDRAWAL) && problem.why.contains(&text),
                "{problem:?}"
            );
        }
    }

    #[test]
    fn the_same_is_refused_of_what_others_defined() {
        let context = context();
        let (strict, lax) = (payees_of(&context, false), payees_of(&context, true));
        let enrs = || {
            (1..=2)
                .map(|i| Enr::create(&NodeKey::from_bytes(&[i; 32]).unwrap()))
                .collect()
        };
        let defined = |network: &str, lines: &str| {
            let text = format!("name = \"F\"\noperators = 2\nnetwork = \"{network}\"\n{lines}");
            let network = Network::by_name(network).unwrap();
            let plan = Plan::parse(&text).unwrap().with_rehearsal_addresses();
            (definition(&plan, enrs(), network).unwrap(), network)
        };
        let (rehearsal, hoodi) = defined("hoodi", "");
        strict.of_definition(&rehearsal, hoodi).unwrap();
        let (real, mainnet) = defined("mainnet", "");
        assert!(strict.of_definition(&real, mainnet).is_err());
        lax.of_definition(&real, mainnet).unwrap();
        for key in ["withdrawal_address", "fee_recipient_address"] {
            let (burnt, hoodi) = defined(
                "hoodi",
                &format!("{key} = \"0x000000000000000000000000000000000000dEaD\""),
            );
            assert!(strict.of_definition(&burnt, hoodi).is_err(), "{key}");
            lax.of_definition(&burnt, hoodi).unwrap();
        }
    }
}
