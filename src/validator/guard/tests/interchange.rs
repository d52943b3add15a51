//! Interchange files: strict on the way in, the same bytes on the way out.

use super::super::interchange::{InterchangeError, MAX_FILE_BYTES};
use super::*;

const ROOT: Hash = [0x11; 32];

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

#[test]
fn what_is_not_quite_the_format_is_refused() {
    let key = key(1, 1);
    let root = "ab".repeat(32);
    let good = [
        file(""),
        file(&entry(&key, "", "")),
        file(&entry(
            &key,
            r#"{"slot": "18446744073709551615"}"#,
            r#"{"source_epoch": "0", "target_epoch": "0"}"#,
        )),
        file(&entry(
            &key,
            &format!(r#"{{"slot": "1", "signing_root": "0x{root}"}}"#),
            "",
        )),
        file(&entry(&key, r#"{"slot": "1", "signing_root": null}"#, "")),
    ];
    for text in &good {
        assert!(Interchange::parse(text.as_bytes()).is_ok(), "{text}");
    }
    let bad = [
        String::new(),
        "{}".into(),
        "[]".into(),
        format!("{} x", good[0]),
        good[0].replace(r#""data": []"#, r#""data": {}"#),
        good[0].replace(r#", "data": []"#, ""),
        good[0].replace(r#""data""#, r#""more": 1, "data""#),
        good[0].replace(r#""data": []"#, r#""data": [], "data": []"#),
        good[0].replace(r#", "genesis"#, r#", "x": "y", "genesis"#),
        good[0].replace("0x11", "0x1"),
        good[0].replace("0x11", "11"),
        good[0].replace("0x11", "0X11"),
        good[0].replace("0x11", "0xAA"),
        good[1].replace(r#""signed_blocks": [], "#, ""),
        good[1].replace(r#""signed_blocks": []"#, r#""signed_block": []"#),
        good[1].replace("0x0000", "0x000"),
        good[2].replace(r#""0", "target"#, r#"0, "target"#),
        good[2].replace("18446744073709551615", "18446744073709551616"),
        good[2].replace("18446744073709551615", "-1"),
        good[2].replace("18446744073709551615", "+1"),
        good[2].replace("18446744073709551615", "01"),
        good[2].replace("18446744073709551615", " 1"),
        good[2].replace("18446744073709551615", "0x1"),
        good[2].replace("18446744073709551615", ""),
        good[2].replace(r#""source_epoch": "0", "#, ""),
        good[3].replace("abab\"", "ab\""),
        good[3].replace("abab\"", "abag\""),
        "[".repeat(100_000),
    ];
    for text in &bad {
        assert!(!good.contains(text));
        let error = Interchange::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, InterchangeError::Malformed(_)), "{text}");
        assert_eq!(error.to_string().lines().count(), 3);
    }
    for version in ["4", "6", "", "five"] {
        let text = good[0]
            .replace("\"5\"", &format!("{version:?}"))
            .replace("\"data\"", "\"other\"");
        let error = Interchange::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error, InterchangeError::Version(version.to_owned()));
    }
    let long = vec![b' '; usize::try_from(MAX_FILE_BYTES).unwrap() + 1];
    assert_eq!(Interchange::parse(&long), Err(InterchangeError::TooLarge));
}

#[test]
fn any_change_of_a_byte_is_read_or_refused_without_a_panic() {
    let text = file(&entry(
        &key(1, 1),
        r#"{"slot": "81952"}"#,
        r#"{"source_epoch": "2290", "target_epoch": "3007"}"#,
    ));
    for position in 0..text.len() {
        for byte in [0, b'"', b'{', b']', b'9', 0x80, 0xff] {
            let mut bytes = text.clone().into_bytes();
            bytes[position] = byte;
            let _ = Interchange::parse(&bytes);
        }
        assert!(Interchange::parse(&text.as_bytes()[..position]).is_err());
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
    let file = Interchange::parse(text.as_bytes()).unwrap();
    let imported = guard.import(&file).unwrap();
    let record = Record {
        block: Some(9),
        attested: Some(Attested { source: 3, target: 5 }),
    };
    assert_eq!(
        imported,
        Imported {
            named: vec![0, 2],
            raised: 1,
            unknown: vec![other_share, stranger],
            highest: record
        }
    );
    assert_eq!(guard.record(2).unwrap(), record);
    assert_eq!(guard.record(0).unwrap(), Record::default());
    assert_eq!(guard.record(1).unwrap(), Record::default());
    // Once more changes nothing, and an older file neither.
    assert_eq!(guard.import(&file).unwrap().raised, 0);
    assert!(ask(&guard, block(10), &[2]).unwrap().permit.is_some());
    assert_eq!(guard.import(&file).unwrap().raised, 0);
    assert_eq!(guard.record(2).unwrap().block, Some(10));
}

#[test]
fn the_chain_has_to_be_known_and_the_same() {
    let guard = in_memory(&cluster(1));
    let file = Interchange::parse(file("").as_bytes()).unwrap();
    assert!(matches!(guard.import(&file), Err(GuardError::NoChain)));
    assert!(matches!(guard.export(), Err(GuardError::NoChain)));
    guard.pin_genesis_validators_root(&[0x22; 32]).unwrap();
    guard.pin_genesis_validators_root(&[0x22; 32]).unwrap();
    assert!(matches!(guard.import(&file), Err(GuardError::OtherChain { .. })));
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

#[test]
fn a_database_made_from_a_file_is_marked_unless_the_file_names_everybody() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(2);
    let keys = cluster.validators().to_vec();
    let parse = |text: String| Interchange::parse(text.as_bytes()).unwrap();
    let one = entry(&keys[0].share, r#"{"slot": "7"}"#, "");
    let path = dir.path().join(FILE);

    let strangers = parse(file(&entry(&key(9, 9), "", "")));
    let error = create_from(&path, &cluster, &ROOT, &strangers).unwrap_err();
    assert!(matches!(
        error,
        GuardError::Interchange(InterchangeError::NoneOfOurs)
    ));
    let other_chain = create_from(&path, &cluster, &[0; 32], &parse(file(&one))).unwrap_err();
    assert!(matches!(other_chain, GuardError::OtherChain { .. }));
    assert!(!path.exists());

    let imported = create_from(&path, &cluster, &ROOT, &parse(file(&one))).unwrap();
    assert_eq!((imported.named, imported.raised), (vec![0], 1));
    let guard = Guard::open(&path, cluster.clone()).unwrap();
    assert_eq!(guard.mark().unwrap(), Some(Mark::PartialImport));
    assert_eq!(guard.record(0).unwrap().block, Some(7));
    assert_eq!(guard.genesis_validators_root().unwrap(), Some(ROOT));
    drop(guard);
    let again = create_from(&path, &cluster, &ROOT, &parse(file(&one))).unwrap_err();
    assert!(matches!(again, GuardError::Exists(_)));

    std::fs::remove_file(&path).unwrap();
    let both = format!("{one},{}", entry(&keys[1].distributed, "", ""));
    create_from(&path, &cluster, &ROOT, &parse(file(&both))).unwrap();
    assert_eq!(Guard::open(&path, cluster).unwrap().mark().unwrap(), None);
}
