//! The rules for definitions: what every reader refuses, and what a ceremony refuses beyond that.

use conclave_cluster::definition::{
    Creator, DKG_ALGORITHM, Definition, DefinitionError, DefinitionFields, OperatorRecord, SignatureStatus,
    ValidatorAddresses, Version,
};
use conclave_cluster::eip712;
use conclave_cluster::enr::Enr;
use conclave_crypto::node::NodeKey;
use conclave_eth::address::Address;
use conclave_eth::network::Network;

const ETH: u64 = 1_000_000_000;

fn key(number: u8) -> NodeKey {
    NodeKey::from_bytes(&[number; 32]).unwrap()
}

fn operators(n: u8) -> Vec<OperatorRecord> {
    (1..=n)
        .map(|number| OperatorRecord::unsigned(Enr::create(&key(number))))
        .collect()
}

fn fields() -> DefinitionFields {
    let addresses = ValidatorAddresses {
        fee_recipient: Address([0x11; 20]),
        withdrawal: Address([0xab; 20]),
    };
    DefinitionFields {
        name: "Friends <&> co".into(),
        creator: Creator::default(),
        operators: operators(4),
        uuid: "C709B570-192D-4006-B297-81C71BB1162C".into(),
        version: Version::V1_10,
        timestamp: "2026-11-21T03:07:37Z".into(),
        threshold: 3,
        validators: vec![addresses; 2],
        dkg_algorithm: DKG_ALGORITHM.into(),
        fork_version: hoodi().genesis_fork_version,
        deposit_amounts: vec![32 * ETH],
        consensus_protocol: String::new(),
        target_gas_limit: 60_000_000,
        compounding: false,
    }
}

fn hoodi() -> &'static Network {
    Network::by_name("hoodi").unwrap()
}

fn with(change: impl FnOnce(&mut DefinitionFields)) -> Result<Definition, DefinitionError> {
    let mut fields = fields();
    change(&mut fields);
    Definition::new(fields)
}

/// Wallets of the creator (200) and the operators (100 and up) sign.
fn signed(change: impl FnOnce(&mut DefinitionFields)) -> DefinitionFields {
    let wallet = |number: u8| Address(key(number).public().ethereum_address().unwrap());
    let mut fields = fields();
    fields.creator.address = Some(wallet(200));
    for (number, operator) in (100..).zip(&mut fields.operators) {
        operator.address = Some(wallet(number));
    }
    let config_hash = Definition::new(fields.clone()).unwrap().config_hash();
    let chain = hoodi().chain_id;
    fields.creator.config_signature = key(200)
        .sign_recoverable(&eip712::creator_config_digest(&config_hash, chain))
        .to_vec();
    for (number, operator) in (100..).zip(&mut fields.operators) {
        let wallet = key(number);
        let digest = eip712::operator_config_digest(&config_hash, chain);
        operator.config_signature = wallet.sign_recoverable(&digest).to_vec();
        let digest = eip712::enr_digest(operator.enr.text(), chain);
        operator.enr_signature = wallet.sign_recoverable(&digest).to_vec();
    }
    change(&mut fields);
    fields
}

#[test]
fn a_definition_is_read_back_as_it_was_written() {
    for version in Version::ALL {
        let definition = with(|fields| {
            fields.version = version;
            if version < Version::V1_10 {
                fields.target_gas_limit = 0;
            }
            if version >= Version::V1_9 {
                fields.consensus_protocol = "qbft".into();
            }
        })
        .unwrap();
        let read = Definition::from_json(&definition.to_json()).unwrap();
        assert_eq!(read, definition);
        assert_eq!(read.definition_hash(), definition.definition_hash());
    }
}

#[test]
fn every_field_changes_the_hashes_that_cover_it() {
    type Change = fn(&mut DefinitionFields);
    let original = with(|_| {}).unwrap();
    let both: [Change; 14] = [
        |f| f.name.push('x'),
        |f| f.uuid.push('x'),
        |f| f.version = Version::V1_11,
        |f| f.timestamp.push('x'),
        |f| f.validators.truncate(1),
        |f| f.threshold = 2,
        |f| f.dkg_algorithm = "other".into(),
        |f| f.fork_version[3] ^= 1,
        |f| f.validators[1].fee_recipient.0[19] ^= 1,
        |f| f.validators[1].withdrawal.0[0] ^= 1,
        |f| f.deposit_amounts.push(ETH),
        |f| f.consensus_protocol = "qbft".into(),
        |f| f.target_gas_limit += 1,
        |f| f.compounding = true,
    ];
    for (number, change) in both.into_iter().enumerate() {
        let changed = with(change).unwrap();
        assert_ne!(changed.config_hash(), original.config_hash(), "change {number}");
        assert_ne!(
            changed.definition_hash(),
            original.definition_hash(),
            "change {number}"
        );
        assert_eq!(
            original.diff(&changed).len(),
            1,
            "change {number}: {:?}",
            original.diff(&changed)
        );
    }
    // Records and signatures are not what the wallets sign, and the order of operators is not either way equal.
    let swapped = with(|f| f.operators.swap(0, 1)).unwrap();
    assert_eq!(swapped.config_hash(), original.config_hash());
    assert_ne!(swapped.definition_hash(), original.definition_hash());
    assert_eq!(original.diff(&swapped).len(), 2);
}

#[test]
fn differences_are_told_in_words() {
    let ours = with(|_| {}).unwrap();
    let theirs = with(|fields| {
        fields.threshold = 4;
        fields.validators[1].withdrawal = Address([0x22; 20]);
    })
    .unwrap();
    assert!(ours.diff(&ours).is_empty());
    let lines = ours.diff(&theirs);
    assert_eq!(lines[0], "threshold: ours 3, theirs 4");
    assert!(
        lines[1].starts_with("validator 1, withdrawal address: ours 0x"),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 2);
}

#[test]
fn differences_are_bounded_and_harmless_whatever_a_definition_says() {
    let ours = with(|_| {}).unwrap();
    let theirs = with(|fields| {
        fields.name = "\u{202e}\u{1b}[2J\u{e0041}".repeat(20);
        fields.uuid = "\u{200b}".repeat(20);
        fields.timestamp = "\n".repeat(30);
        fields.consensus_protocol = "\u{1b}".repeat(200);
        fields.deposit_amounts = vec![ETH; 256];
        fields.threshold = 2;
        let one = fields.validators[0];
        fields.validators = vec![one; 10_000];
        for validator in &mut fields.validators {
            validator.fee_recipient = Address([0x22; 20]);
        }
    })
    .unwrap();
    let told = ours.differences(&theirs).unwrap();
    assert!(told.len() < 4096, "{} bytes", told.len());
    assert!(!told.chars().any(conclave_eth::text::is_unprintable), "{told}");
    assert!(told.contains("uuid: ours") && told.contains("and "), "{told}");
    for line in ours.diff(&theirs) {
        assert!(line.len() < 1024, "{line}");
        assert!(!line.chars().any(conclave_eth::text::is_unprintable), "{line}");
    }
    assert_eq!(ours.differences(&ours), None);

    // Nor does what cannot be read.
    let json = format!("{{\"{0}\": 1, \"{0}\": 2}}", "\u{202e}x".repeat(50_000));
    let error = Definition::from_json(json.as_bytes()).unwrap_err().to_string();
    assert!(error.len() < 1024, "{} bytes", error.len());
    assert!(!error.chars().any(conclave_eth::text::is_unprintable), "{error}");
}

#[test]
fn what_no_reader_accepts() {
    type Change = fn(&mut DefinitionFields);
    let cases: [(&str, Change); 16] = [
        ("operators", |f| f.operators.clear()),
        ("operators", |f| {
            f.operators = (0..257).map(|_| f.operators[0].clone()).collect();
        }),
        ("same key", |f| f.operators[3] = f.operators[1].clone()),
        ("threshold is 5 of 4", |f| f.threshold = 5),
        ("threshold is 0 of 4", |f| f.threshold = 0),
        ("validators", |f| f.validators.clear()),
        ("name", |f| f.name = "x".repeat(257)),
        ("uuid", |f| f.uuid = "x".repeat(65)),
        ("timestamp", |f| f.timestamp = "x".repeat(33)),
        ("dkg_algorithm", |f| f.dkg_algorithm = "x".repeat(33)),
        ("consensus_protocol", |f| f.consensus_protocol = "x".repeat(257)),
        ("between 1 and 32", |f| f.deposit_amounts = vec![33 * ETH]),
        ("between 1 and 32", |f| {
            f.deposit_amounts = vec![32 * ETH, ETH - 1];
        }),
        ("add up to", |f| f.deposit_amounts = vec![31 * ETH]),
        ("between 1 and 2048", |f| {
            f.compounding = true;
            f.deposit_amounts = vec![2049 * ETH];
        }),
        ("64 bytes", |f| f.creator.config_signature = vec![1; 64]),
    ];
    for (words, change) in cases {
        let error = with(change).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    // What a version's hashes do not cover must not be said in it.
    for change in [
        (|f| f.compounding = true) as Change,
        |f| f.target_gas_limit = 1,
        |f| f.consensus_protocol.push('x'),
    ] {
        let old = with(|fields| {
            fields.version = Version::V1_8;
            fields.target_gas_limit = 0;
            change(fields);
        });
        assert!(matches!(old, Err(DefinitionError::Rule(_))));
    }
}

#[test]
fn wallet_signatures_have_the_length_of_their_version() {
    for (version, length, allowed) in [
        (Version::V1_10, 65, true),
        (Version::V1_10, 130, false),
        (Version::V1_11, 130, true),
        (Version::V1_11, 32 * 65, true),
        (Version::V1_11, 33 * 65, false),
        (Version::V1_11, 66, false),
    ] {
        let result = with(|fields| {
            fields.version = version;
            fields.creator.config_signature = vec![1; length];
        });
        assert_eq!(result.is_ok(), allowed, "{version} {length}");
    }
    // The list of v1.11 tells absent from zeros, the field of v1.10 does not.
    let hash = |version, signature: Vec<u8>| {
        let definition = with(|fields| {
            fields.version = version;
            fields.creator.config_signature = signature;
        });
        definition.unwrap().definition_hash()
    };
    assert_eq!(hash(Version::V1_10, vec![]), hash(Version::V1_10, vec![0; 65]));
    assert_ne!(hash(Version::V1_11, vec![]), hash(Version::V1_11, vec![0; 65]));
}

#[test]
fn deposit_amounts_are_sorted_once_each_and_have_defaults() {
    let amounts = |list: &[u64], compounding| {
        with(|fields| {
            fields.deposit_amounts = list.iter().map(|eth| eth * ETH).collect();
            fields.compounding = compounding;
        })
        .unwrap()
        .effective_deposit_amounts()
        .iter()
        .map(|gwei| gwei / ETH)
        .collect::<Vec<_>>()
    };
    assert_eq!(amounts(&[24, 8, 24], false), [8, 24]);
    assert_eq!(amounts(&[], false), [1, 32]);
    assert_eq!(amounts(&[], true), [1, 8, 32, 256]);
}

#[test]
fn a_ceremony_is_narrower_than_the_format() {
    type Change = fn(&mut DefinitionFields);
    assert_eq!(
        with(|_| {}).unwrap().check_ceremony(hoodi()),
        Ok(SignatureStatus::Unsigned)
    );
    let cases: [(&str, Change); 13] = [
        ("1 operators", |f| {
            f.operators.truncate(1);
            f.threshold = 1;
        }),
        ("65 operators", |f| f.operators = operators(65)),
        ("threshold is 1", |f| f.threshold = 1),
        ("10001 validators", |f| {
            f.validators = vec![f.validators[0]; 10_001];
        }),
        ("v1.11.0", |f| f.version = Version::V1_11),
        ("another program", |f| f.dkg_algorithm = "default".into()),
        ("fork version", |f| f.fork_version = [0; 4]),
        ("control characters", |f| f.name = "a\u{1b}[2J".into()),
        ("withdrawal address of validator 1", |f| {
            f.validators[1].withdrawal = Address([0; 20]);
        }),
        ("fee recipient address of validator 0", |f| {
            f.validators[0].fee_recipient = Address([0; 20]);
        }),
        ("deposit amounts", |f| f.deposit_amounts.clear()),
        ("deposit amounts", |f| f.deposit_amounts = vec![32 * ETH, ETH + 1]),
        ("gas limit", |f| f.target_gas_limit = 0),
    ];
    for (words, change) in cases {
        let definition = with(change).unwrap_or_else(|error| panic!("{words}: {error}"));
        let error = definition.check_ceremony(hoodi()).unwrap_err();
        assert!(
            matches!(error, DefinitionError::Ceremony(_)) && error.to_string().contains(words),
            "{error}"
        );
    }
}

#[test]
#[allow(clippy::too_many_lines)]
fn wallet_signatures_are_checked_or_said_not_to_be_checkable() {
    type Change = fn(&mut DefinitionFields);
    let status = |change: Change| {
        Definition::new(signed(change))
            .unwrap()
            .signatures(hoodi().chain_id)
            .map_err(|error| error.to_string())
    };
    assert_eq!(status(|_| {}), Ok(SignatureStatus::Signed));
    // Wallets write 27 and 28 where others write 0 and 1.
    assert_eq!(
        status(|f| f.operators[2].enr_signature[64] += 27),
        Ok(SignatureStatus::Signed)
    );

    for (words, change) in [
        (
            "some operators signed",
            (|f| f.operators[1] = OperatorRecord::unsigned(f.operators[1].enr.clone())) as Change,
        ),
        ("operator 3 has an address or signatures", |f| {
            f.operators[2].enr_signature.clear();
        }),
        ("operator 3 has an address or signatures", |f| {
            f.operators[2].config_signature.clear();
        }),
        ("operator 3 has an address or signatures", |f| {
            f.operators[2].address = None;
        }),
        ("the creator did not", |f| f.creator = Creator::default()),
        ("the creator has an address", |f| {
            f.creator.config_signature.clear();
        }),
        ("the creator has a signature", |f| f.creator.address = None),
    ] {
        let error = status(change).unwrap_err();
        assert!(error.contains(words), "{error}");
    }

    // A signature that is not the address's key's may be a contract wallet's.
    for (name, change) in [
        (
            "operator 4",
            (|f| f.operators[3].config_signature[7] ^= 1) as Change,
        ),
        ("operator 4", |f| f.operators[3].enr_signature[40] ^= 1),
        ("operator 4", |f| f.operators[3].enr_signature[64] = 9),
        ("operator 4", |f| {
            f.operators[3].config_signature = f.operators[0].config_signature.clone();
        }),
        ("the creator", |f| f.creator.config_signature[3] ^= 1),
    ] {
        let Ok(SignatureStatus::NotCheckableOffline { who }) = status(change) else {
            panic!("{name} has no valid signature");
        };
        assert!(who.len() == 1 && who[0].starts_with(name), "{who:?}");
    }
    let doubtful = Definition::new(signed(|f| f.creator.config_signature[3] ^= 1)).unwrap();
    assert!(matches!(
        doubtful.check_ceremony(hoodi()),
        Err(DefinitionError::Signatures(_))
    ));
    assert_eq!(
        Definition::new(signed(|_| {})).unwrap().check_ceremony(hoodi()),
        Ok(SignatureStatus::Signed)
    );

    // The creator alone.
    let creator = signed(|f| f.operators = operators(4));
    assert!(matches!(
        Definition::new(creator).unwrap().signatures(hoodi().chain_id),
        // The operators' addresses were part of what the creator signed.
        Ok(SignatureStatus::NotCheckableOffline { .. })
    ));
    let mut fields = fields();
    fields.creator.address = Some(Address(key(200).public().ethereum_address().unwrap()));
    let digest = eip712::creator_config_digest(
        &Definition::new(fields.clone()).unwrap().config_hash(),
        hoodi().chain_id,
    );
    fields.creator.config_signature = key(200).sign_recoverable(&digest).to_vec();
    let status = Definition::new(fields).unwrap().signatures(hoodi().chain_id);
    assert_eq!(status, Ok(SignatureStatus::CreatorSigned));
}

/// What people give in the place of a definition is named; a byte order mark is none of their doing.
#[test]
fn what_is_no_definition_is_named() {
    let text = with(|_| {}).unwrap().to_json();
    let marked = [b"\xef\xbb\xbf".as_slice(), &text].concat();
    assert_eq!(Definition::from_json(&marked).unwrap(), with(|_| {}).unwrap());
    let text = String::from_utf8(text).unwrap();
    let lock = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors/dkg-v1.10-hoodi-4x2/node0/cluster-lock.json");
    let lock = std::fs::read_to_string(lock).unwrap();
    let version = |other: &str| text.replacen("v1.10.0", other, 1);
    for (file, words) in [
        (lock, "a cluster lock"),
        (
            "{\"message\":\"cluster definition not found\"}".to_owned(),
            "cluster definition not found",
        ),
        ("<!DOCTYPE html><html></html>".to_owned(), "a web page"),
        (String::new(), "an empty file"),
        ("[{\"pubkey\": \"00\"}]".to_owned(), "a deposit file"),
        ("name = \"Friends\"\nthreshold = 3\n".to_owned(), "a plan"),
        ("{\"crypto\": {}}".to_owned(), "a keystore"),
        (version("v1.12.0"), "update conclave"),
        (version("v1.11.1"), "update conclave"),
        (version("v2.0.0"), "update conclave"),
        (version("v1.7.0"), "nothing older"),
        (version("v1.10"), "is no version"),
        (version("latest"), "is no version"),
    ] {
        let error = Definition::from_json(file.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn hostile_files_are_refused_in_words() {
    let text = String::from_utf8(with(|_| {}).unwrap().to_json()).unwrap();
    let cases = [
        (
            "\"threshold\": 3",
            "\"threshold\": 3, \"threshold\": 2",
            "occurs twice",
        ),
        (
            "\"threshold\": 3",
            "\"threshold\": 3, \"Threshold\": 2",
            "occurs twice",
        ),
        ("\"threshold\": 3", "\"threshold\": \"3\"", "threshold"),
        ("\"threshold\": 3", "\"threshold\": -3", "threshold"),
        ("\"threshold\": 3", "\"threshold\": 3.0", "threshold"),
        ("\"threshold\": 3", "\"threshold\": 2", "config_hash"),
        ("\"threshold\": 3,", "", "threshold is 0"),
        (
            "\"num_validators\": 2",
            "\"num_validators\": 3",
            "num_validators: says 3",
        ),
        ("\"version\": \"v1.10.0\"", "\"version\": \"v1.12.0\"", "v1.12.0"),
        ("\"version\": \"v1.10.0\"", "\"version\": \"v1.7.0\"", "v1.7.0"),
        ("\"0x10000910\"", "\"0x1000091000\"", "fork_version"),
        ("\"0x10000910\"", "\"10000910\"", "fork_version"),
        ("\"32000000000\"", "32000000000", "deposit_amounts[0]"),
        ("\"32000000000\"", "\"032000000000\"", "deposit_amounts[0]"),
        ("\"32000000000\"", "\"+32000000000\"", "deposit_amounts[0]"),
        (
            "\"32000000000\"",
            "\"99999999999999999999\"",
            "deposit_amounts[0]",
        ),
        (
            "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB",
            "0xaBaBaBaBABabABabAbAbABAbABabababaBaBABaB",
            "checksum",
        ),
        (
            "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB",
            "0xABaB",
            "withdrawal_address",
        ),
        ("0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB", "", "missing"),
        ("enr:-", "enr:+", "operators[0].enr"),
        ("\"creator\": {", "\"creator\": [{", "cannot be read"),
    ];
    for (from, to, words) in cases {
        assert!(text.contains(from), "{from}");
        let error = Definition::from_json(text.replacen(from, to, 1).as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{from} -> {to}: {error}");
    }
    for length in 0..text.len() {
        assert!(Definition::from_json(&text.as_bytes()[..length]).is_err());
    }
}
