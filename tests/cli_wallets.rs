//! Wallets' signatures that no key proves, as a user meets them in `verify`, `join`, `run` and `export`: of contract wallets, or
//! forged. An HTTP server answers as an execution client does.

mod group;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Output,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use conclave_cluster::{
    definition::{Creator, Definition},
    lock::{Lock, LockBody},
};
use conclave_crypto::{
    bls::{SecretKey, Signature},
    node::NodeKey,
};
use conclave_eth::{
    address::Address,
    keystore::{Keystore, Password},
};
use group::conclave;
use serde_json::{Value, json};

/// The chain id of Hoodi, as execution clients write it.
const HOODI: &str = "0x88bb0";
/// What a contract that accepts returns (ERC-1271).
const MAGIC: &str = "0x1626ba7e00000000000000000000000000000000000000000000000000000000";

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn vector(node: usize) -> PathBuf {
    let signed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/dkg-v1.10-hoodi-4x1-signed");
    signed.join(format!("node{node}"))
}

/// An operator's folder of a ceremony whose definition bears a signature of operator 2 that is not of its address's key. All else
/// is in order: the lock is signed anew with every share.
struct Place {
    dir: tempfile::TempDir,
    wallet: String,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("old")).unwrap();
        group::copy(&vector(0), &dir.path().join("old"));
        let lock = Lock::from_json(&fs::read(vector(0).join("cluster-lock.json")).unwrap()).unwrap();
        let mut fields = lock.definition().fields().clone();
        fields.operators[1].config_signature[7] ^= 1;
        let wallet = fields.operators[1].address.unwrap().to_checksum();
        let definition = Definition::new(fields).unwrap();
        let json = definition.to_json();
        let body = LockBody::new(definition, lock.validators().to_vec()).unwrap();
        let hash = body.lock_hash();
        let operators = lock.definition().operators.len();
        let partials: Vec<Signature> = (0..operators).map(|node| share(node).sign(&hash)).collect();
        let node_signatures = (0..operators)
            .map(|node| identity(node).sign_recoverable(&hash))
            .collect();
        let aggregate = Signature::aggregate(&partials).unwrap().to_bytes();
        let lock = Lock::assemble(body, aggregate, node_signatures);
        fs::write(dir.path().join("old/cluster-lock.json"), lock.to_json()).unwrap();
        fs::write(dir.path().join("definition.json"), json).unwrap();
        fs::write(dir.path().join("password"), "correct horse battery").unwrap();
        Self { dir, wallet }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        conclave()
            .current_dir(self.dir.path())
            .args(arguments)
            .output()
            .unwrap()
    }

    #[track_caller]
    fn ends(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        let all = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {all}");
        all
    }

    /// The check of wallets' signatures in the lock.
    fn check(&self, arguments: &[&str]) -> (Value, i32) {
        let output = self.run(&[&["verify", "--json", "old"], arguments].concat());
        let lines = text(&output.stdout);
        let events = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut checks = events.filter(|event| event["check"] == "wallet signatures");
        (checks.next().unwrap_or_default(), output.status.code().unwrap())
    }
}

fn share(node: usize) -> SecretKey {
    let path = vector(node).join("validator_keys/keystore-0.json");
    let keystore = Keystore::from_json(&fs::read(&path).unwrap()).unwrap();
    let password = Password::from_bytes(&fs::read(path.with_extension("txt")).unwrap()).unwrap();
    keystore.open(&password).unwrap()
}

fn identity(node: usize) -> NodeKey {
    let text = fs::read_to_string(vector(node).join("charon-enr-private-key")).unwrap();
    NodeKey::from_bytes(&hex::decode(text.trim()).unwrap().try_into().unwrap()).unwrap()
}

/// An execution client, or what pretends to be one: the whole answer to a method and its parameters.
struct Client {
    url: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Client {
    fn start(answer: impl Fn(&str, &Value) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "http://user:hunter2@{}/v3/api-key",
            listener.local_addr().unwrap()
        );
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = request(&mut stream) else {
                    continue;
                };
                let method = request["method"].as_str().unwrap().to_owned();
                let body = answer(&method, &request["params"]).replace("$ID", &request["id"].to_string());
                kept.lock().unwrap().push((method, request["params"].clone()));
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
                let _ = write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            }
        });
        Self { url, asked }
    }

    /// One that is of this chain and has code at every address; a call is answered with this.
    fn contract(chain: &'static str, code: &'static str, call: &'static str) -> Self {
        Self::start(move |method, _| match method {
            "eth_chainId" => result(&json!(chain)),
            "eth_syncing" => result(&json!(false)),
            "eth_getBlockByNumber" => newest_block(0),
            "eth_getCode" => result(&json!(code)),
            "eth_call" => call.to_owned(),
            other => panic!("{other} is never asked"),
        })
    }
}

fn request(stream: &mut TcpStream) -> Option<Value> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

fn result(value: &Value) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{value}}}")
}

/// The newest block, so many seconds old.
fn newest_block(age: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    result(&json!({"number": "0x1", "timestamp": format!("{:#x}", now - age)}))
}

fn error(error: &Value) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":$ID,\"error\":{error}}}")
}

#[test]
fn a_signature_that_no_key_proves_fails_unless_the_wallet_is_named() {
    let place = Place::new();
    let (check, code) = place.check(&[]);
    assert_eq!((check["result"].as_str(), code), (Some("failed"), 6));
    let why = check["reason"].as_str().unwrap();
    assert!(
        why.contains("operator 2") && why.contains(&format!("--contract-wallet {}", place.wallet)),
        "{why}"
    );
    for wallet in [place.wallet.clone(), place.wallet.to_ascii_lowercase()] {
        let (check, code) = place.check(&["--contract-wallet", &wallet]);
        assert_eq!(
            (check["result"].as_str(), code),
            (Some("not checked"), 0),
            "{check}"
        );
    }
    // Another one's name does not help, and what is no address is refused.
    let other = "0x1111111111111111111111111111111111111111";
    assert_eq!(place.check(&["--contract-wallet", other]).1, 6);
    let both = place.check(&["--contract-wallet", other, "--contract-wallet", &place.wallet]);
    assert_eq!(both.1, 0);
    assert_eq!(place.check(&["--contract-wallet", "0x11"]).1, 3);
    // The definition alone is no different.
    place.ends(&["verify", "definition.json"], 6);
    place.ends(
        &["verify", "definition.json", "--contract-wallet", &place.wallet],
        0,
    );
}

#[test]
fn an_execution_client_says_whether_the_contract_accepts() {
    let place = Place::new();
    let accepts = Box::leak(result(&json!(MAGIC)).into_boxed_str());
    let client = Client::contract(HOODI, "0x6080", accepts);
    let (check, code) = place.check(&["--execution-client", &client.url]);
    assert_eq!((check["result"].as_str(), code), (Some("ok"), 0), "{check}");
    assert!(
        check["finding"].as_str().unwrap().contains("operator 2"),
        "{check}"
    );
    // It was asked about the one signature, at the wallet's address, with the call of ERC-1271.
    let asked = client.asked.lock().unwrap();
    let calls: Vec<&Value> = asked
        .iter()
        .filter(|(method, _)| method == "eth_call")
        .map(|(_, params)| params)
        .collect();
    let [call] = calls.as_slice() else {
        panic!("{asked:?}")
    };
    assert_eq!(call[0]["to"], place.wallet.to_ascii_lowercase());
    let data = hex::decode(&call[0]["data"].as_str().unwrap()[2..]).unwrap();
    let definition =
        Definition::from_json(&fs::read(place.dir.path().join("definition.json")).unwrap()).unwrap();
    assert_eq!(
        (&data[..4], data.len()),
        (&[0x16, 0x26, 0xba, 0x7e][..], 4 + 3 * 32 + 96)
    );
    assert_eq!(data[100..165], definition.operators[1].config_signature);

    // The chain's word counts for more than that of whoever names the wallet.
    let no = result(&json!(format!("0x{}", "00".repeat(32))));
    // As Geth, Besu and Nethermind tell it.
    let geth = json!({"code": 3, "message": "execution reverted: GS026", "data": "0x08c379a0"});
    let besu = json!({"code": -32000, "message": "Execution reverted", "data": "0x"});
    let nethermind = json!({"code": -32015, "message": "VM execution error.", "data": "Reverted 0x"});
    // Whoever writes a contract chooses how it ends.
    let ended = |code: i32, message: &str| error(&json!({"code": code, "message": message}));
    let halted = json!({"code": -32015, "message": "VM execution error.", "data": "OutOfGas"});
    for (code, call, words) in [
        ("0x6080", ended(-32000, "out of gas"), "out of gas"),
        (
            "0x6080",
            ended(-32000, "invalid opcode: INVALID"),
            "invalid opcode",
        ),
        ("0x6080", ended(-32000, "Invalid opcode: 0xfe"), "Invalid opcode"),
        (
            "0x6080",
            ended(-32000, "invalid jump destination"),
            "invalid jump",
        ),
        (
            "0x6080",
            ended(-32000, "stack underflow (0 <=> 1)"),
            "stack underflow",
        ),
        (
            "0x6080",
            ended(-32000, "stack limit reached 1024 (1023)"),
            "stack limit",
        ),
        (
            "0x6080",
            ended(-32000, "execution aborted (timeout = 5s)"),
            "execution aborted",
        ),
        (
            "0x6080",
            ended(-32003, "EVM error: OpcodeNotFound"),
            "OpcodeNotFound",
        ),
        ("0x6080", error(&halted), "VM execution error."),
        ("0x", no.clone(), "there is no contract"),
        ("0x6080", error(&geth), "execution reverted: GS026"),
        ("0x6080", error(&besu), "Execution reverted"),
        ("0x6080", error(&nethermind), "VM execution error."),
        ("0x6080", no, "does not return"),
    ] {
        let client = Client::contract(HOODI, code, Box::leak(call.into_boxed_str()));
        let arguments = [
            "--execution-client",
            &client.url,
            "--contract-wallet",
            &place.wallet,
        ];
        let (check, ended) = place.check(&arguments);
        assert_eq!((check["result"].as_str(), ended), (Some("failed"), 6), "{check}");
        assert!(check["reason"].as_str().unwrap().contains(words), "{check}");
    }
}

#[test]
fn an_execution_client_that_cannot_be_relied_on_is_told_and_nothing_is_taken_for_a_yes() {
    let place = Place::new();
    let accepts = result(&json!(MAGIC));
    let leak = |text: String| &*Box::leak(text.into_boxed_str());
    let foreign = Client::contract("0x1", "0x6080", leak(accepts.clone()));
    let all = place.ends(&["verify", "old", "--execution-client", &foreign.url], 10);
    assert!(all.contains("chain id is 1") && all.contains("560048"), "{all}");
    let other_id = accepts.replace("$ID", "7");
    let both = accepts.replace('}', ",\"error\":{\"message\":\"x\"}}");
    for odd in [
        "no JSON".to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        "{\"jsonrpc\":\"2.0\",\"id\":$ID}".to_owned(),
        accepts.replace("2.0", "1.0"),
        other_id,
        both,
        result(&json!("1626ba7e")),
        result(&json!("0x1626ba7")),
        result(&json!(true)),
        result(&json!(format!("0x{}", "00".repeat(2 << 20)))),
        // None of these is the contract's doing.
        error(&json!({"code": -32005, "message": "rate limit exceeded, revert to a paid plan"})),
        error(&json!({"code": 429, "message": "execution reverted"})),
        error(&json!({"code": -32601, "message": "the method eth_call does not exist"})),
        error(&json!({"code": -32000, "message": "header not found"})),
        error(&json!({"code": -32000, "message": "missing trie node"})),
        error(&json!({"code": -32602, "message": "invalid argument 0"})),
        error(&json!({"message": "execution reverted"})),
    ] {
        let client = Client::contract(HOODI, "0x6080", leak(odd.clone()));
        let all = place.ends(&["verify", "old", "--execution-client", &client.url], 12);
        // Only the contract's call fails: nobody is told to go on without it.
        assert!(
            all.contains("could not be asked") && !all.contains("--contract-wallet"),
            "{all}"
        );
        // Neither credentials nor keys are shown.
        assert!(!all.contains("hunter2") && !all.contains("api-key"), "{all}");
    }
    // Each call before it, too, has an answer of its own or nothing is asked.
    let limited = error(&json!({"code": -32005, "message": "limit exceeded"}));
    let syncing = result(&json!({"currentBlock": "0x1", "highestBlock": "0x2"}));
    for (odd, answer, words) in [
        ("eth_chainId", limited.clone(), "limit exceeded"),
        ("eth_chainId", result(&json!("hoodi")), "no number"),
        ("eth_syncing", limited.clone(), "limit exceeded"),
        ("eth_syncing", syncing, "still syncing"),
        ("eth_getBlockByNumber", limited.clone(), "limit exceeded"),
        ("eth_getBlockByNumber", result(&json!(null)), "no time"),
        ("eth_getBlockByNumber", newest_block(3600), "60 minutes old"),
        ("eth_getCode", limited, "limit exceeded"),
    ] {
        let accepts = accepts.clone();
        let client = Client::start(move |method, _| match method {
            _ if method == odd => answer.clone(),
            "eth_chainId" => result(&json!(HOODI)),
            "eth_syncing" => result(&json!(false)),
            "eth_getBlockByNumber" => newest_block(0),
            "eth_getCode" => result(&json!("0x6080")),
            _ => accepts.clone(),
        });
        let all = place.ends(&["verify", "old", "--execution-client", &client.url], 12);
        assert!(all.contains(words) && all.contains("could not be asked"), "{all}");
        assert!(all.contains("--contract-wallet"), "{all}");
    }
    let all = place.ends(
        &[
            "verify",
            "old",
            "--execution-client",
            "http://me:hunter2@127.0.0.1:1/api-key",
        ],
        12,
    );
    assert!(
        all.contains("http://127.0.0.1:1") && !all.contains("hunter2") && !all.contains("api-key"),
        "{all}"
    );
    place.ends(&["verify", "old", "--execution-client", "localhost:8545"], 3);
    // Who has nothing to ask asks nobody.
    let signed = vector(0);
    place.ends(
        &[
            "verify",
            signed.to_str().unwrap(),
            "--execution-client",
            "http://127.0.0.1:1",
        ],
        0,
    );
}

/// Who validates goes on, and is told; who moves is not held up.
#[test]
fn run_tells_and_goes_on_and_export_is_not_held_up() {
    let place = Place::new();
    let arguments = [
        "--data-dir",
        "old",
        "run",
        "--dry-run",
        "--graffiti",
        "more than thirty-two bytes of text, too long",
    ];
    let all = place.ends(
        &[&arguments[..], &["--beacon-node", "http://127.0.0.1:1"]].concat(),
        3,
    );
    assert!(
        all.contains("operator 2") && all.contains("not of that address's key"),
        "{all}"
    );
    assert!(
        all.contains("graffiti"),
        "it went on to what is wrong here on purpose: {all}"
    );
    let history = json!({
        "metadata": {
            "interchange_format_version": "5",
            "genesis_validators_root": "0x212f13fc4df078b6cb7db228f1c8307566dcecf900867401a92023d7ba99cb5f",
        },
        "data": [],
    });
    fs::write(place.dir.path().join("history.json"), history.to_string()).unwrap();
    let exported = place.run(&[
        "--data-dir",
        "old",
        "export",
        "archive",
        "--password-file",
        "password",
        "--yes",
    ]);
    let said = text(&exported.stdout) + &text(&exported.stderr);
    assert!(!said.contains("not of that address's key"), "{said}");
}

/// A ceremony whose creator has a contract wallet is held by those who name it, or whose execution client vouches for it.
#[test]
fn join_takes_part_only_if_the_wallet_is_named_or_its_contract_accepts() {
    let group = group::Group::new(2, 2, 1);
    let definition = Definition::from_json(&fs::read(group.file()).unwrap()).unwrap();
    let mut fields = definition.fields().clone();
    fields.creator = Creator {
        address: Some(Address([0x5a; 20])),
        config_signature: vec![1; 65],
    };
    let wallet = Address([0x5a; 20]).to_checksum();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("definition.json");
    fs::write(&file, Definition::new(fields).unwrap().to_json()).unwrap();
    let join = |arguments: &[&str]| {
        let folder = group.folder(0);
        let always = [
            "join",
            file.to_str().unwrap(),
            "--yes",
            "--wait",
            "1s",
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
        ];
        let mut command = conclave();
        let output = command
            .arg("--data-dir")
            .arg(folder)
            .args(always)
            .args(arguments)
            .output()
            .unwrap();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, all) = join(&[]);
    assert_eq!(code, Some(3), "{all}");
    assert!(all.contains(&format!("--contract-wallet {wallet}")), "{all}");
    let accepts = Box::leak(result(&json!(MAGIC)).into_boxed_str());
    let refuses = Client::contract(HOODI, "0x", accepts);
    let (code, all) = join(&["--execution-client", &refuses.url, "--contract-wallet", &wallet]);
    assert_eq!(code, Some(3), "{all}");
    // From here on it waits for the other, who never comes.
    let (code, all) = join(&["--contract-wallet", &wallet]);
    assert_eq!(code, Some(4), "{all}");
    let client = Client::contract(HOODI, "0x6080", accepts);
    let (code, all) = join(&["--execution-client", &client.url]);
    assert_eq!(code, Some(4), "{all}");
    // What was accepted is kept with the folder: the same command goes on without the flags, and without the client.
    let (code, all) = join(&[]);
    assert_eq!(code, Some(4), "{all}");
    let (code, all) = join(&["--execution-client", "http://127.0.0.1:1"]);
    assert_eq!(code, Some(4), "{all}");
    assert!(
        all.contains("could not be asked") && all.contains("it goes on"),
        "{all}"
    );
    // Its owners have changed, or there is none any more: that is told, and stops nobody who has begun.
    let (code, all) = join(&["--execution-client", &refuses.url]);
    assert_eq!(code, Some(4), "{all}");
    assert!(
        all.contains("no contract of the creator") && all.contains("it goes on"),
        "{all}"
    );
    let reverts = error(&json!({"code": 3, "message": "execution reverted", "data": "0x"}));
    let reverts = Client::contract(HOODI, "0x6080", Box::leak(reverts.into_boxed_str()));
    let (code, all) = join(&["--execution-client", &reverts.url]);
    assert_eq!(code, Some(4), "{all}");
    assert!(
        all.contains("does not accept the signature any more") && all.contains("it goes on"),
        "{all}"
    );
    // Another folder has accepted nothing.
    for client in [None, Some(&reverts.url)] {
        let output = conclave()
            .arg("--data-dir")
            .arg(group.folder(1))
            .args(["join", file.to_str().unwrap(), "--yes", "--wait", "1s"])
            .args(client.into_iter().flat_map(|url| ["--execution-client", url]))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
    }
}
