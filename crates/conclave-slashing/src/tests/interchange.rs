//! Interchange files: strict on the way in, the same bytes on the way out.

use super::super::interchange::{Horizon, InterchangeError, MAX_FILE_BYTES, Said};
use super::*;
use conclave_eth::network::Network;

const ROOT: Hash = [0x1f; 32];

fn file(data: &str) -> String {
    format!(
        r#"{{"metadata": {{"interchange_format_version": "5", "genesis_validators_root": "0x{}"}}, "data": [{data}]}}"#,
        hex::encode(ROOT)
    )
}

fn entry(key: &Key, blocks: &str, attestations: &str) -> String {
    format!(
        r#"{{"pubkey": "0x{}", "signed_blocks": [{blocks}], "signed_attestations": [{attestations}]}}"#,
        hex::encode(key)
    )
}

fn pinned(validators: u32) -> Guard {
    let guard = in_memory(&cluster(validators));
    guard.pin_genesis_validators_root(&ROOT).unwrap();
    guard
}

/// Epoch 100 of 32 slots is now.
const NOW: Horizon = Horizon {
    epoch: 100,
    latest_epoch: 100,
    slot: 3231,
    latest_slot: 3231,
};

fn read(text: &str) -> Result<Interchange, InterchangeError> {
    Interchange::parse(text.as_bytes(), NOW)
}

/// What is said of `key(0xab, 1)`.
fn said(text: &str) -> Said {
    let file = read(text).unwrap();
    let mut keys = file.keys();
    let (found, said) = keys.next().unwrap();
    assert_eq!((found, keys.next()), (&key(0xab, 1), None), "{text}");
    said.clone()
}

#[test]
fn what_is_no_such_file_as_a_whole_is_refused() {
    let good = file(&entry(&key(0xab, 1), "", ""));
    assert!(read(&good).is_ok());
    let root = hex::encode(ROOT);
    let bad = [
        String::new(),
        "{}".into(),
        "[]".into(),
        format!("{good} x"),
        good[..good.len() - 1].to_owned(),
        good.replace(r#""data": ["#, r#""data": {"x": ["#)
            .replace("]}]}", "]}]}}"),
        good.replace(r#""data": ["#, r#""date": ["#),
        good.replace(r#""data": ["#, r#""data": [], "data": ["#),
        good.replace(&root, &root[1..]),
        good.replace(&root, ""),
        good.replace(&format!("\"0x{root}\""), "null"),
        good.replace(r#""interchange_format_version""#, r#""version""#),
        "[".repeat(100_000),
    ];
    for text in &bad {
        assert_ne!(*text, good);
        let error = read(text).unwrap_err();
        assert!(matches!(error, InterchangeError::Malformed(_)), "{text}");
        assert_eq!(error.to_string().lines().count(), 3);
    }
    let utf16: Vec<u8> = [0xfeff]
        .into_iter()
        .chain(good.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    let error = Interchange::parse(&utf16, NOW).unwrap_err();
    assert!(error.to_string().contains("save it as UTF-8"), "{error}");
    for version in ["4", "6", "", "five"] {
        let text = good
            .replace("\"5\"", &format!("{version:?}"))
            .replace("\"data\"", "\"other\"");
        let error = read(&text).unwrap_err();
        assert_eq!(error, InterchangeError::Version(version.to_owned()));
    }
    let long = vec![b' '; usize::try_from(MAX_FILE_BYTES).unwrap() + 1];
    assert_eq!(Interchange::parse(&long, NOW), Err(InterchangeError::TooLarge));
}

#[test]
fn whatever_has_one_meaning_is_read_however_it_is_written() {
    let text = file(&entry(
        &key(0xab, 1),
        r#"{"slot": "70"}"#,
        r#"{"source_epoch": "2", "target_epoch": "3"}"#,
    ));
    let expected = Said {
        record: Record {
            block: Some(70),
            attested: Some(Attested { source: 2, target: 3 }),
        },
        ..Said::default()
    };
    let (of_key, root) = (hex::encode(key(0xab, 1)), hex::encode(ROOT));
    let ways: [(&str, &str); 17] = [
        (&of_key, &of_key.to_uppercase()),
        (&format!("0x{of_key}"), &format!("0X{of_key}")),
        (&format!("0x{of_key}"), &of_key),
        (&root, &root.to_uppercase()),
        (r#""5""#, "5"),
        ("{\"metadata\"", "\u{feff}{\"metadata\""),
        ("{\"metadata\"", "\r\n\t {\"metadata\""),
        (r#""70""#, "70"),
        (r#""70"}"#, r#""70"}, {}"#),
        (r#"{"slot": "70"}"#, r#"null, {"slot": null}, {"slot": "70"}"#),
        (
            r#""3"}"#,
            r#""3"}, {}, {"source_epoch": null, "target_epoch": null}"#,
        ),
        (r#""70""#, r#""70", "signing_root": """#),
        (r#""70""#, r#""70", "signing_root": null"#),
        (
            r#""70""#,
            r#""70", "signing_root": "0x", "proposer": {"index": [1]}"#,
        ),
        (r#""3""#, r#""3", "signing_root": "0xAB", "committee": 7"#),
        (
            r#""signed_blocks""#,
            r#""validator_index": "12345", "signed_blocks""#,
        ),
        (r#""data""#, r#""made_by": "somebody", "data""#),
    ];
    for (old, new) in ways {
        let changed = text.replacen(old, new, 1);
        assert_ne!(changed, text, "{old}");
        assert_eq!(said(&changed), expected, "{changed}");
    }
    // Nothing at all, in every form.
    let empty = file(&entry(&key(0xab, 1), "", ""));
    for (old, new) in [
        ("[]", "[]"),
        (r#""signed_blocks": []"#, r#""signed_blocks": null"#),
        (r#""signed_attestations": []"#, r#""signed_attestations": null"#),
        (r#""signed_attestations": []"#, r#""signed_attestations": [{}]"#),
    ] {
        assert_eq!(said(&empty.replace(old, new)), Said::default(), "{new}");
    }
    for data in ["", "null", "null, null"] {
        assert_eq!(read(&file(data)).unwrap().keys().count(), 0);
    }
    assert_eq!(read(&file("").replace("[]", "null")).unwrap().keys().count(), 0);
}

#[test]
fn what_has_no_certain_meaning_is_told_and_spoils_nothing_else() {
    let good = r#"{"slot": "70"}"#;
    for bad in [
        r#"{"slot": "-1"}"#,
        r#"{"slot": "+1"}"#,
        r#"{"slot": " 1"}"#,
        r#"{"slot": "0x1"}"#,
        r#"{"slot": ""}"#,
        r#"{"slot": 1.5}"#,
        r#"{"slot": 1e3}"#,
        r#"{"slot": -1}"#,
        r#"{"slot": true}"#,
        r#"{"slot": ["70"]}"#,
        r#"{"slot": "1", "slot": "2"}"#,
        r#"{"signing_root": "0x00"}"#,
        r#"{"Slot": "71"}"#,
        r#"{"slotNumber": "71", "signing_root": null}"#,
        "7",
        "\"70\"",
        "[]",
        "[70]",
    ] {
        let text = file(&entry(&key(0xab, 1), &format!("{bad}, {good}"), ""));
        let said = said(&text);
        assert_eq!(said.record.block, Some(70), "{bad}");
        assert_eq!(said.unreadable.count, 1, "{bad}");
        let first = said.unreadable.first.unwrap();
        assert!(
            first.starts_with("message 1 of signed_blocks in entry 1: ") && first.contains(bad),
            "{first}"
        );
    }
    for bad in [
        r#"{"source_epoch": "1"}"#,
        r#"{"target_epoch": "1"}"#,
        r#"{"source_epoch": null, "target_epoch": "1"}"#,
        r#"{"source_epoch": "1", "target_epoch": "-1"}"#,
        r#"{"source_epoch": "x", "target_epoch": "1"}"#,
    ] {
        let said = said(&file(&entry(&key(0xab, 1), good, bad)));
        assert_eq!((said.record.block, said.record.attested), (Some(70), None));
        assert_eq!(said.unreadable.count, 1, "{bad}");
    }
    // A list that is not there at all, or under another name, is not the same as an empty one.
    let text = file(&entry(&key(0xab, 1), good, ""));
    for (old, new) in [
        (r#"signed_attestations": []"#, r#"attestations": []"#),
        (r#"signed_attestations": []"#, r#"signed_attestations": {}"#),
        (r#"signed_attestations": []"#, r#"signed_attestations": "none""#),
        (r#", "signed_attestations": []"#, ""),
    ] {
        let said = said(&text.replace(old, new));
        assert_eq!((said.record.block, said.unreadable.count), (Some(70), 1), "{new}");
    }
    // Entries of which nobody knows whose they are.
    for bad in [
        "7",
        "{}",
        "[]",
        r#"{"pubkey": null, "signed_blocks": [], "signed_attestations": []}"#,
        r#"{"pubkey": "0x12", "signed_blocks": [], "signed_attestations": []}"#,
        r#"{"pubkey": 7, "signed_blocks": [], "signed_attestations": []}"#,
    ] {
        let file = read(&file(&format!("{bad}, {}", entry(&key(0xab, 1), good, "")))).unwrap();
        assert_eq!(file.keys().count(), 1);
        assert_eq!(file.nobodys().count, 1, "{bad}");
        assert_eq!(
            file.nobodys().first.as_deref(),
            Some("entry 1 has no readable pubkey")
        );
    }
    // Of two that say different things neither counts, and the file says why.
    for (field, twice) in [
        (
            "pubkey",
            r#"{"pubkey": KEY, "pubkey": KEY, "signed_blocks": [], "signed_attestations": []}"#,
        ),
        (
            "signed_blocks",
            r#"{"pubkey": KEY, "signed_blocks": [], "signed_blocks": [], "signed_attestations": []}"#,
        ),
        (
            "signed_attestations",
            r#"{"pubkey": KEY, "signed_blocks": [], "signed_attestations": [], "signed_attestations": []}"#,
        ),
    ] {
        let twice = twice.replace("KEY", &format!("\"0x{}\"", "ab".repeat(48)));
        let file = read(&file(&format!("{}, {twice}", entry(&key(0xab, 1), good, "")))).unwrap();
        assert_eq!((file.keys().count(), file.nobodys().count), (1, 1), "{twice}");
        let first = file.nobodys().first.as_deref().unwrap();
        assert!(
            first.contains("entry 2") && first.contains(&format!("{field} twice")),
            "{first}"
        );
    }
    // However much is wrong, little is kept of it.
    let said = said(&file(&entry(
        &key(0xab, 1),
        &format!("\"{}\"", "x".repeat(9999)),
        "1, 2, 3",
    )));
    assert_eq!(said.unreadable.count, 4);
    assert!(said.unreadable.first.unwrap().len() < 200);
}

#[test]
fn every_value_is_judged_by_the_time() {
    let both = |blocks: &str, attestations: &str| said(&file(&entry(&key(0xab, 1), blocks, attestations)));
    let block = |slot: &str| both(&format!(r#"{{"slot": "{slot}"}}, {{"slot": "9"}}"#), "");
    let attestation = |source: &str, target: &str| {
        let of = |source: &str, target: &str| {
            format!(r#"{{"source_epoch": "{source}", "target_epoch": "{target}"}}"#)
        };
        both("", &format!("{}, {}", of(source, target), of("1", "2")))
    };
    let beyond = |slot: u64| (Some(9), Some(slot));
    for (slot, expected) in [
        ("3231", (Some(3231), None)),
        ("3232", beyond(3232)),
        ("999999999", beyond(999_999_999)),
        ("18446744073709551615", beyond(u64::MAX)),
        ("18446744073709551616", beyond(u64::MAX)),
        ("99999999999999999999999999", beyond(u64::MAX)),
    ] {
        let said = block(slot);
        assert_eq!((said.record.block, said.beyond.block), expected, "{slot}");
    }
    let attested = |source, target| Some(Attested { source, target });
    for (source, target, record, beyond) in [
        ("99", "100", attested(99, 100), None),
        ("100", "101", attested(1, 2), attested(100, 101)),
        ("0", "18446744073709551615", attested(1, 2), attested(0, u64::MAX)),
        // Both have to be possible.
        ("101", "100", attested(1, 2), attested(101, 100)),
        ("18446744073709551615", "5", attested(1, 2), attested(u64::MAX, 5)),
    ] {
        let said = attestation(source, target);
        assert_eq!(said.record.attested, record, "{source} {target}");
        assert_eq!(said.beyond.attested, beyond, "{source} {target}");
    }
}

#[test]
fn where_it_is_not_known_how_long_an_epoch_is_only_what_is_certain_is_judged() {
    let file_of = |slots_per_epoch: &str| {
        let text = format!(
            "name = \"small\"\ngenesis_fork_version = \"0x10000038\"\ncapella_fork_version = \"0x40000038\"\n\
             chain_id = 42\ngenesis_time = 1000000\nslot_seconds = 4\n{slots_per_epoch}"
        );
        Network::from_toml(&text).unwrap()
    };
    // It is slot 3200.
    let at = |network: &Network| Horizon::at(network, 1_000_000 + 4 * 3200).unwrap();
    let attests = |target: u64| {
        let attested = format!(r#"{{"source_epoch": "1", "target_epoch": "{target}"}}"#);
        file(&entry(&key(0xd1, 0), "", &attested))
    };
    let cluster = cluster(1);
    let import = |network: &Network, target: u64, future: Future| {
        let history = Interchange::parse(attests(target).as_bytes(), at(network)).unwrap();
        let guard = in_memory(&cluster);
        guard.pin_genesis_validators_root(&ROOT).unwrap();
        guard
            .import(&history, future)
            .map(|imported| imported.highest.attested)
    };
    let took = |target| Ok(Some(Attested { source: 1, target }));
    let (unsaid, minimal) = (file_of(""), file_of("slots_per_epoch = 8\n"));
    // With eight slots it is epoch 400; no epoch has more than 1024, with which it would be epoch 3.
    for target in [100, 101, 400] {
        assert_eq!(
            import(&minimal, target, Future::Refuse).map_err(drop),
            took(target),
            "{target}"
        );
    }
    assert!(import(&minimal, 401, Future::Refuse).is_err());
    assert_eq!(import(&unsaid, 3, Future::Refuse).map_err(drop), took(3));
    // As many slots as an epoch may have: what is certain without the file's word is certain with it.
    let longest = file_of("slots_per_epoch = 1024\n");
    assert_eq!(import(&longest, 3, Future::Refuse).map_err(drop), took(3));
    assert!(import(&longest, 4, Future::Refuse).is_err());
    for target in [4, 100, 400, 3200] {
        // Nothing honest is dropped because the file says too little.
        for future in [Future::Refuse, Future::Drop] {
            let text = import(&unsaid, target, future).unwrap_err().to_string();
            assert!(
                text.contains("slots_per_epoch = ") && text.lines().count() == 3,
                "{text}"
            );
        }
        assert_eq!(import(&unsaid, target, Future::Keep).map_err(drop), took(target));
    }
    // No epoch is shorter than a slot.
    let text = import(&unsaid, 3201, Future::Refuse).unwrap_err().to_string();
    assert!(text.contains("lies in the future"), "{text}");

    // Blocks, too: the current epoch ends with this slot or a later one.
    let propose = |network: &Network, slot: u64, future: Future| {
        let text = file(&entry(&key(0xd1, 0), &format!(r#"{{"slot": "{slot}"}}"#), ""));
        let history = Interchange::parse(text.as_bytes(), at(network)).unwrap();
        let guard = in_memory(&cluster);
        guard.pin_genesis_validators_root(&ROOT).unwrap();
        guard
            .import(&history, future)
            .map(|imported| imported.highest.block)
    };
    assert_eq!(propose(&unsaid, 3200, Future::Refuse).unwrap(), Some(3200));
    for slot in [3201, 4095] {
        for future in [Future::Refuse, Future::Drop] {
            let text = propose(&unsaid, slot, future).unwrap_err().to_string();
            assert!(
                text.contains("slots_per_epoch = ") && text.contains(&format!("a block of slot {slot}")),
                "{text}"
            );
        }
        assert_eq!(propose(&unsaid, slot, Future::Keep).unwrap(), Some(slot));
    }
    let text = propose(&unsaid, 4096, Future::Refuse).unwrap_err().to_string();
    assert!(
        text.contains("lies in the future") && text.contains("it is slot 3200 now"),
        "{text}"
    );
    assert_eq!(propose(&minimal, 3207, Future::Refuse).unwrap(), Some(3207));
    assert!(propose(&minimal, 3208, Future::Refuse).is_err());
}

fn present(epoch: u64, slot: u64) -> Horizon {
    Horizon {
        epoch,
        latest_epoch: epoch,
        slot,
        latest_slot: slot,
    }
}

#[test]
fn what_is_the_present_is_known_of_every_network() {
    let horizon = |name: &str, now: u64| Horizon::at(Network::by_name(name).unwrap(), now);
    let genesis = 1_606_824_023;
    for (after, epoch, slot) in [(0, 0, 31), (383, 0, 31), (384, 1, 63), (385, 1, 63)] {
        assert_eq!(horizon("mainnet", genesis + after), Ok(present(epoch, slot)));
    }
    assert_eq!(
        horizon("mainnet", genesis - 1),
        Err(InterchangeError::BeforeGenesis {
            genesis,
            now: genesis - 1
        })
    );
    // Sixteen slots of five seconds.
    assert_eq!(horizon("gnosis", 1_638_993_340 + 80), Ok(present(1, 31)));
    assert_eq!(horizon("holesky", 1_695_902_400), Ok(present(0, 31)));
}

#[test]
fn what_lies_in_the_future_needs_a_word() {
    let far = |key: &Key| {
        entry(
            key,
            r#"{"slot": "3232"}, {"slot": "6"}"#,
            r#"{"source_epoch": "0", "target_epoch": "101"}"#,
        )
    };
    let well = r#"{"source_epoch": "3", "target_epoch": "4"}"#;
    let cluster = cluster(3);
    let keys = cluster.validators().to_vec();
    let text = [
        entry(&keys[0].distributed, "", well),
        far(&keys[1].share),
        far(&keys[2].distributed),
    ];
    let history = read(&file(&text.join(","))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let made = |name: &str, future| place(&dir.path().join(name), &cluster, &ROOT, &history, future);
    let refused = InterchangeError::Future {
        validators: 2,
        key: keys[1].distributed,
        record: Record {
            block: Some(3232),
            attested: Some(Attested {
                source: 0,
                target: 101,
            }),
        },
        epoch: Some(100),
        slot: 3231,
    };
    let is_refused = |result: Result<Imported, GuardError>| {
        let Err(GuardError::Interchange(error)) = result else {
            panic!("{result:?}");
        };
        assert_eq!(error, refused);
        let text = error.to_string();
        assert_eq!(text.lines().count(), 3);
        for part in [
            "slot 3232",
            "epoch 101",
            "epoch 100 now",
            "--future drop",
            "--future keep",
        ] {
            assert!(text.contains(part), "{text}");
        }
    };
    is_refused(made("refused", Future::Refuse));
    assert!(!dir.path().join("refused").exists());
    let guard = pinned(3);
    is_refused(guard.import(&history, Future::Refuse));
    assert_eq!(guard.highest().unwrap(), Record::default());
    assert_eq!(guard.mark().unwrap(), None);

    // Left out, it is an unknown part of the memory.
    let dropped = |record: Record| {
        assert_eq!(record.block, Some(6));
        assert_eq!(record.attested, None);
    };
    let imported = guard.import(&history, Future::Drop).unwrap();
    assert_eq!((imported.raised, imported.beyond.len()), (3, 2));
    dropped(guard.record(1).unwrap());
    assert_eq!(guard.mark().unwrap(), Some(Mark::PartialImport));
    let imported = made("dropped", Future::Drop).unwrap();
    assert_eq!(imported.highest.attested, Some(Attested { source: 3, target: 4 }));
    let opened = Guard::open(&dir.path().join("dropped"), cluster.clone()).unwrap();
    dropped(opened.record(2).unwrap());
    assert_eq!(opened.mark().unwrap(), Some(Mark::PartialImport));

    // Kept, nothing before it is signed any more.
    let guard = pinned(3);
    guard.import(&history, Future::Keep).unwrap();
    assert_eq!(guard.mark().unwrap(), None);
    assert!(ask(&guard, block(3232), &[2]).unwrap().permit.is_none());
    assert!(ask(&guard, attestation(50, 101), &[2]).unwrap().permit.is_none());
    assert!(ask(&guard, attestation(50, 102), &[2]).unwrap().permit.is_some());
    made("kept", Future::Keep).unwrap();
    let opened = Guard::open(&dir.path().join("kept"), cluster.clone()).unwrap();
    assert_eq!(opened.record(1).unwrap().block, Some(3232));

    // What is said of others' validators is no matter here.
    let strangers = read(&file(&format!("{}, {}", text[0], far(&key(9, 9))))).unwrap();
    assert_eq!(pinned(3).import(&strangers, Future::Refuse).unwrap().raised, 1);
}

#[test]
fn any_change_of_a_byte_is_read_or_refused_without_a_panic() {
    let text = file(&entry(
        &key(0xab, 1),
        r#"{"slot": "81952"}"#,
        r#"{"source_epoch": "2290", "target_epoch": "3007"}"#,
    ));
    for position in 0..text.len() {
        for byte in [0, b'"', b'{', b']', b'9', 0x80, 0xff] {
            let mut bytes = text.clone().into_bytes();
            bytes[position] = byte;
            let _ = Interchange::parse(&bytes, NOW);
        }
        assert!(read(&text[..position]).is_err());
    }
}

#[test]
fn both_keys_of_a_validator_count_and_unknown_ones_are_reported() {
    let guard = pinned(3);
    let keys = guard.cluster().validators().to_vec();
    let stranger = key(0x99, 9);
    let other_share = key(0x5b, 1);
    let text = file(
        &[
            entry(
                &keys[2].share,
                r#"{"slot": "7"}"#,
                r#"{"source_epoch": "3", "target_epoch": "4"}"#,
            ),
            entry(&stranger, r#"{"slot": "900"}"#, ""),
            entry(
                &keys[2].distributed,
                r#"{"slot": "9"}, {"slot": "8"}"#,
                r#"{"source_epoch": "2", "target_epoch": "5"}"#,
            ),
            entry(&keys[0].distributed, "", ""),
            entry(&other_share, "", ""),
        ]
        .join(","),
    );
    let file = read(&text).unwrap();
    let imported = guard.import(&file, Future::Refuse).unwrap();
    let record = Record {
        block: Some(9),
        attested: Some(Attested { source: 3, target: 5 }),
    };
    assert_eq!(
        imported,
        Imported {
            named: vec![2],
            silent: vec![0],
            raised: 1,
            unknown: vec![other_share, stranger],
            highest: record,
            marked: true,
            ..Imported::default()
        }
    );
    assert_eq!(guard.record(2).unwrap(), record);
    assert_eq!(guard.record(0).unwrap(), Record::default());
    assert_eq!(guard.record(1).unwrap(), Record::default());
    // Once more changes nothing, and an older file neither.
    assert_eq!(guard.import(&file, Future::Refuse).unwrap().raised, 0);
    assert!(ask(&guard, block(10), &[2]).unwrap().permit.is_some());
    assert_eq!(guard.import(&file, Future::Refuse).unwrap().raised, 0);
    assert_eq!(guard.record(2).unwrap().block, Some(10));
}

#[test]
fn the_chain_has_to_be_known_and_the_same() {
    let guard = in_memory(&cluster(1));
    let file = read(&file(&entry(&key(0xd1, 0), r#"{"slot": "1"}"#, ""))).unwrap();
    let import = |guard: &Guard| guard.import(&file, Future::Refuse);
    assert!(matches!(import(&guard), Err(GuardError::NoChain)));
    assert!(matches!(guard.export(), Err(GuardError::NoChain)));
    guard.pin_genesis_validators_root(&[0x22; 32]).unwrap();
    guard.pin_genesis_validators_root(&[0x22; 32]).unwrap();
    let error = import(&guard).unwrap_err();
    assert!(is_other_network(&error), "{error}");
    assert!(matches!(
        guard.pin_genesis_validators_root(&ROOT),
        Err(GuardError::OtherChain { .. })
    ));
    assert_eq!(guard.genesis_validators_root().unwrap(), Some([0x22; 32]));
}

#[test]
fn an_export_has_all_keys_and_says_what_is_known() {
    let guard = pinned(3);
    assert!(ask(&guard, block(5), &[1]).unwrap().permit.is_some());
    assert!(ask(&guard, attestation(1, 2), &[1, 2]).unwrap().permit.is_some());
    guard
        .raise(Record {
            block: Some(6),
            attested: None,
        })
        .unwrap();
    let text = String::from_utf8(guard.export().unwrap()).unwrap();
    let keys = guard.cluster().validators().to_vec();
    let root = hex::encode(root_of(attestation(1, 2)));
    let attested = format!(
        "[\n    {{\n     \"source_epoch\": \"1\",\n     \"target_epoch\": \"2\",\n     \"signing_root\": \"0x{root}\"\n    }}\n   ]"
    );
    // Of a slot that was only raised to, nobody knows a root.
    let entry = |v: usize, attested: &str| {
        format!(
            "  {{\n   \"pubkey\": \"0x{}\",\n   \"signed_blocks\": [\n    {{\n     \"slot\": \"6\"\n    }}\n   ],\n   \"signed_attestations\": {attested}\n  }}",
            hex::encode(keys[v].distributed)
        )
    };
    let expected = format!(
        "{{\n \"metadata\": {{\n  \"interchange_format_version\": \"5\",\n  \"genesis_validators_root\": \"0x{}\"\n }},\n \"data\": [\n{},\n{},\n{}\n ]\n}}\n",
        hex::encode(ROOT),
        entry(0, "[]"),
        entry(1, &attested),
        entry(2, &attested),
    );
    assert_eq!(text, expected);
}

fn place(
    path: &Path,
    cluster: &Cluster,
    root: &Hash,
    file: &Interchange,
    future: Future,
) -> Result<Imported, GuardError> {
    let (bytes, imported) = database_from(cluster, root, file, future)?;
    std::fs::write(path, bytes).unwrap();
    Ok(imported)
}

fn is_other_network(error: &GuardError) -> bool {
    let GuardError::Interchange(other @ InterchangeError::OtherNetwork { .. }) = error else {
        return false;
    };
    other
        .to_string()
        .starts_with("This slashing protection file is of another network.\n")
}

#[test]
fn a_file_of_another_network_is_told_by_its_name() {
    let hash = |name: &str| Network::by_name(name).unwrap().genesis_validators_root.unwrap();
    let error = InterchangeError::OtherNetwork {
        file: hash("mainnet"),
        here: hash("hoodi"),
    };
    let text = error.to_string();
    assert!(
        text.contains("made on mainnet (genesis validators root 0x4b36")
            && text.contains("here are on hoodi (genesis validators root 0x212f"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_read_is_not_taken_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(2);
    let keys = cluster.validators().to_vec();
    let ours = entry(
        &keys[0].distributed,
        r#"{"slot": 100.0}"#,
        r#"{"source_epoch": "3", "target_epoch": 1.1e1}"#,
    );
    let twice = entry(&keys[0].distributed, r#"{"slot": "1"}"#, "")
        .replace("{\"pubkey\"", "{\"signed_blocks\": [], \"pubkey\"");
    let strangers = entry(&key(9, 9), r#"{"slot": "7"}"#, "");
    let good = entry(&keys[1].share, r#"{"slot": "7"}"#, "");
    let path = dir.path().join(FILE);
    for data in [
        vec![&ours],
        vec![&twice],
        vec![&twice, &twice],
        vec![&ours, &strangers],
    ] {
        let data: Vec<&str> = data.into_iter().map(String::as_str).collect();
        let parsed = read(&file(&data.join(","))).unwrap();
        let error = place(&path, &cluster, &ROOT, &parsed, Future::Refuse).unwrap_err();
        let other = pinned(2).import(&parsed, Future::Refuse).unwrap_err();
        for error in [error, other] {
            assert!(
                matches!(
                    error,
                    GuardError::Interchange(InterchangeError::Unreadable { .. })
                ),
                "{data:?}: {error}"
            );
            let text = error.to_string();
            assert!(
                text.contains("entry 1") && text.contains("nothing was imported"),
                "{text}"
            );
        }
        assert!(!path.exists());
    }
    // One that can be read is taken, and the rest is told.
    let parsed = read(&file(&format!("{ours},{good}"))).unwrap();
    let imported = place(&path, &cluster, &ROOT, &parsed, Future::Refuse).unwrap();
    assert_eq!(imported.unreadable.count, 2);
}

#[test]
fn a_file_that_is_no_history_is_told_without_the_words_of_a_parser() {
    let good = file("");
    for (text, expected) in [
        ("", "It is an empty file"),
        (&good[..40], "It is cut off"),
        ("<html>", "It is a web page"),
        ("[]", "It is a deposit file"),
        ("null", "nothing (null)"),
        ("{\"data\": []}", "\"metadata\" is missing"),
        ("\u{1f}\u{8b}\u{8}", "It is a file of another kind"),
        ("PK\u{3}\u{4}", "It is a packed file (zip"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(
            error.lines().nth(1).is_some_and(|why| why.contains(expected)),
            "{error}"
        );
        for word in ["EOF", "expected", "struct", "AnyVersion"] {
            assert!(!error.contains(word), "{error}");
        }
    }
}

#[test]
fn a_database_made_from_a_file_is_marked_unless_it_knows_attestations_of_everybody() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(2);
    let keys = cluster.validators().to_vec();
    let parse = |data: &[&str]| read(&file(&data.join(","))).unwrap();
    let attested = r#"{"source_epoch": "3", "target_epoch": "4"}"#;
    let one = entry(&keys[0].share, r#"{"slot": "7"}"#, attested);
    let two = entry(&keys[1].distributed, "", attested);
    let path = dir.path().join(FILE);
    let create = |root: &Hash, data: &[&str]| place(&path, &cluster, root, &parse(data), Future::Refuse);

    let error = create(&ROOT, &[&entry(&key(9, 9), "", attested)]).unwrap_err();
    assert!(matches!(
        error,
        GuardError::Interchange(InterchangeError::NoneOfOurs)
    ));
    let error = create(&ROOT, &[&entry(&keys[0].share, "", "{}")]).unwrap_err();
    assert!(matches!(
        error,
        GuardError::Interchange(InterchangeError::NothingOfOurs)
    ));
    assert!(is_other_network(&create(&[0; 32], &[&one]).unwrap_err()));
    assert!(!path.exists());

    let imported = create(&ROOT, &[&one]).unwrap();
    assert_eq!(
        (imported.named, imported.raised, imported.marked),
        (vec![0], 1, true)
    );
    let guard = Guard::open(&path, cluster.clone()).unwrap();
    assert_eq!(guard.mark().unwrap(), Some(Mark::PartialImport));
    assert_eq!(guard.record(0).unwrap().block, Some(7));
    assert_eq!(guard.genesis_validators_root().unwrap(), Some(ROOT));
    drop(guard);

    let only_a_block = entry(&keys[1].distributed, r#"{"slot": "7"}"#, "");
    let nothing = entry(&keys[1].distributed, "", "");
    let unreadable = entry(&keys[1].distributed, "7", attested);
    let cases: [(&[&str], bool); 6] = [
        (&[&one, &two], false),
        (&[&one, &two, &entry(&key(9, 9), "7", "8")], false),
        (&[&one, &nothing], true),
        (&[&one, &only_a_block], true),
        (&[&one, &unreadable], true),
        // It may be of one of ours.
        (&[&one, &two, "{}"], true),
    ];
    for (data, is_marked) in cases {
        std::fs::remove_file(&path).unwrap();
        let imported = create(&ROOT, data).unwrap();
        let mark = is_marked.then_some(Mark::PartialImport);
        let opened = Guard::open(&path, cluster.clone()).unwrap();
        assert_eq!(
            (imported.marked, opened.mark().unwrap()),
            (is_marked, mark),
            "{data:?}"
        );
        // The same into the empty database that a ceremony leaves, and once more into that.
        let guard = pinned(2);
        assert_eq!(
            guard.import(&parse(data), Future::Refuse).unwrap().marked,
            is_marked
        );
        assert_eq!(guard.mark().unwrap(), mark, "{data:?}");
        assert!(!guard.import(&parse(data), Future::Refuse).unwrap().marked);
    }
}
