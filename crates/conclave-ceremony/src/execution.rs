//! An execution client, asked one thing: whether contract wallets accept signatures that are said to be theirs (ERC-1271).
//!
//! It is the operator's own, and answers over JSON-RPC. Every answer is bounded in size and time and read strictly, and a wrong
//! one is never taken for a yes.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use reqwest::{Client, Url, header::CONTENT_TYPE, redirect::Policy};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::problem::{Kind, Problem};
use conclave_cluster::wallets::{Verdict, WalletSignature, accepts};
use conclave_eth::{
    address::Address,
    network::Network,
    text::{line, of_connection},
};

/// Most bytes of an answer: a contract's code has at most 24 KiB today, twice that in hexadecimal.
const MAX_ANSWER: usize = 1 << 20;
/// Most bytes of the client's own words that are repeated.
const MAX_WORDS: usize = 200;
/// A client that has not answered after this time is told of.
const QUICK: Duration = Duration::from_secs(2);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// A client whose newest block is older than this is behind the chain, whatever it says.
const MAX_BEHIND: Duration = Duration::from_secs(15 * 60);
/// How long all of them together may take.
const ALL: Duration = Duration::from_secs(120);

/// An execution client. What is shown of its address has no credentials and no path, where hosted ones have keys.
pub struct ExecutionClient<'a> {
    client: Client,
    url: Url,
    shown: String,
    /// Hears whom one waits for, when an answer takes its time.
    tell: &'a dyn Fn(&str),
}

/// What came instead of a result.
enum Failure {
    /// The call was made, and the contract reverted or did what no contract may; the client's words.
    Reverted(String),
    /// No answer, none that can be understood, or that it cannot: says nothing of any contract.
    Unasked(String),
}

impl<'a> ExecutionClient<'a> {
    /// Prepares a client; nothing is sent. `tell` hears whom one waits for, whenever an answer takes longer than two seconds.
    ///
    /// # Errors
    /// If the address is no URL, or TLS cannot be set up.
    pub fn new(url: &str, tell: &'a dyn Fn(&str)) -> Result<Self, Problem> {
        let wrong = || {
            Problem::bad_input(
                "the execution client's address is not a URL",
                "its scheme must be http or https, for example http://localhost:8545",
                "correct --execution-client",
            )
        };
        let url = Url::parse(url.trim()).map_err(|_| wrong())?;
        let host = url
            .host_str()
            .filter(|host| matches!(url.scheme(), "http" | "https") && !host.contains(','));
        let host = host.ok_or_else(wrong)?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let shown = format!("{}://{host}{port}", url.scheme());
        let mut builder = Client::builder()
            .user_agent(concat!("conclave/", env!("CARGO_PKG_VERSION")))
            // Whoever redirects must not get the credentials.
            .redirect(Policy::none())
            .no_proxy()
            .referer(false);
        if url.scheme() == "http" {
            // A machine without certificates can do what needs none.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| {
            Problem::other(
                "the HTTP client does not start",
                error.without_url(),
                "install this machine's certificates, for example the package ca-certificates",
            )
        })?;
        Ok(Self {
            client,
            url,
            shown,
            tell,
        })
    }

    /// Asks the contracts at the wallets' addresses, one after the other, and gives their answers in the same order. Blocks the
    /// thread.
    ///
    /// # Errors
    /// If the client is not of this network, is behind, or does not answer.
    pub fn judge(&self, signatures: &[WalletSignature], network: &Network) -> Result<Vec<Verdict>, Problem> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            Problem::other(
                "cannot ask the execution client",
                error,
                "stop other programs and try again",
            )
        })?;
        runtime.block_on(self.judge_all(signatures, network))
    }

    async fn judge_all(
        &self,
        signatures: &[WalletSignature],
        network: &Network,
    ) -> Result<Vec<Verdict>, Problem> {
        let end = Instant::now() + ALL;
        self.check_itself(network, end).await?;
        let mut codes: HashMap<[u8; 20], bool> = HashMap::new();
        let mut verdicts = Vec::with_capacity(signatures.len());
        for signature in signatures {
            let address = signature.address;
            let is_contract = match codes.get(&address.0) {
                Some(known) => *known,
                None => self.has_code(&address, end).await?,
            };
            codes.insert(address.0, is_contract);
            verdicts.push(if is_contract {
                self.ask(signature, end).await?
            } else {
                Verdict::NoContract
            });
        }
        Ok(verdicts)
    }

    /// Whether the client is of the right chain and has caught up with it, as far as it says.
    async fn check_itself(&self, network: &Network, end: Instant) -> Result<(), Problem> {
        let id = self.must("eth_chainId", json!([]), end).await?;
        let Some(id) = id.as_str().and_then(quantity) else {
            return Err(self.unasked("its answer to eth_chainId is no number"));
        };
        if id != network.chain_id {
            return Err(Problem::new(
                Kind::WrongNetwork,
                format!("the execution client {} is of another network", self.shown),
                format!(
                    "its chain id is {id}; that of {} is {}",
                    network.name, network.chain_id
                ),
                "name an execution client of that network with --execution-client",
            ));
        }
        if self.must("eth_syncing", json!([]), end).await? != Value::Bool(false) {
            return Err(self.unasked("it is still syncing, so it may not know the contracts"));
        }
        // What it says of itself is one thing; the age of its newest block is another.
        let block = self
            .must("eth_getBlockByNumber", json!(["latest", false]), end)
            .await?;
        let time = block.get("timestamp").and_then(Value::as_str).and_then(quantity);
        let Some(time) = time else {
            return Err(self.unasked("its answer to eth_getBlockByNumber has no time"));
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let behind = now.as_secs().saturating_sub(time);
        if behind > MAX_BEHIND.as_secs() {
            return Err(self.unasked(&format!(
                "its newest block is {} minutes old by the clock of this machine: either that clock is wrong, or it may not know the contracts",
                behind / 60
            )));
        }
        Ok(())
    }

    /// The result of a call that no contract has a part in.
    async fn must(&self, method: &str, params: Value, end: Instant) -> Result<Value, Problem> {
        self.call(method, params, end)
            .await
            .map_err(|failure| match failure {
                Failure::Reverted(why) | Failure::Unasked(why) => self.unasked(&why),
            })
    }

    async fn has_code(&self, address: &Address, end: Instant) -> Result<bool, Problem> {
        let code = self
            .must("eth_getCode", json!([hex_text(&address.0), "latest"]), end)
            .await?;
        let code = data(&code).ok_or_else(|| self.unasked("its answer to eth_getCode is no code"))?;
        Ok(!code.is_empty())
    }

    async fn ask(&self, signature: &WalletSignature, end: Instant) -> Result<Verdict, Problem> {
        let call = json!({ "to": hex_text(&signature.address.0), "data": hex_text(&signature.call_data()) });
        match self.call("eth_call", json!([call, "latest"]), end).await {
            Ok(returned) => match data(&returned) {
                Some(returned) if accepts(&returned) => Ok(Verdict::Accepted),
                Some(_) => Ok(Verdict::Refused(
                    "it does not return the value that means yes (ERC-1271)".to_owned(),
                )),
                None => Err(self.contract_unasked("its answer to eth_call is no data")),
            },
            // Wallets refuse by reverting.
            Err(Failure::Reverted(why)) => Ok(Verdict::Refused(format!("the execution client says: {why}"))),
            Err(Failure::Unasked(why)) => Err(self.contract_unasked(&why)),
        }
    }

    fn unasked(&self, why: &str) -> Problem {
        self.no_answer(
            why,
            "check --execution-client and that the client runs and has caught up, or name another one; or name the wallets with \
             --contract-wallet, which leaves their signatures unchecked",
        )
    }

    /// Everything else was answered: it may be the contract's doing, and whoever wrote that must not be the reason to leave its
    /// signature unchecked.
    fn contract_unasked(&self, why: &str) -> Problem {
        self.no_answer(
            why,
            "ask again, or name another execution client with --execution-client. It answers everything but the call of this contract: \
             if others do not answer it either, do not go on with this wallet",
        )
    }

    fn no_answer(&self, why: &str, what_to_do: &str) -> Problem {
        Problem::new(
            Kind::NotAsked,
            format!("the execution client {} could not be asked", self.shown),
            format!("{why}; that says nothing about the signatures"),
            what_to_do,
        )
    }

    /// One JSON-RPC call: the result, or what came instead.
    async fn call(&self, method: &str, params: Value, end: Instant) -> Result<Value, Failure> {
        const ID: u64 = 1;
        let deadline = end.min(Instant::now() + ANSWER);
        let body = json!({ "jsonrpc": "2.0", "id": ID, "method": method, "params": params }).to_string();
        let mut exchange = std::pin::pin!(self.exchange(body));
        let quick = deadline.min(Instant::now() + QUICK);
        let answer = match timeout_at(quick, exchange.as_mut()).await {
            Err(_) if quick < deadline => {
                (self.tell)(&format!(
                    "waiting for the execution client: {} has not answered yet. It is given {} seconds for each answer",
                    self.shown,
                    ANSWER.as_secs()
                ));
                timeout_at(deadline, exchange).await
            }
            answer => answer,
        };
        let bytes = answer.map_err(|_| Failure::Unasked(format!("no answer to {method} in time")))??;
        let broken = |why: &str| Failure::Unasked(format!("its answer to {method} is no JSON-RPC: {why}"));
        let answer: Value = serde_json::from_slice(&bytes).map_err(|_| broken("it is not JSON"))?;
        if answer.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(broken("it does not say that it is version 2.0"));
        }
        if answer.get("id").and_then(Value::as_u64) != Some(ID) {
            return Err(broken("it is the answer to something else"));
        }
        let error = answer.get("error").filter(|error| !error.is_null());
        match (answer.get("result"), error) {
            (Some(result), None) => Ok(result.clone()),
            (None | Some(Value::Null), Some(error)) => {
                let said = error.get("message").and_then(Value::as_str);
                let said = words(said.ok_or_else(|| broken("its error has no words"))?);
                Err(if is_revert(method, error) {
                    Failure::Reverted(said)
                } else {
                    Failure::Unasked(format!("it refuses {method}: {said}"))
                })
            }
            (None, None) => Err(broken("it has neither result nor error")),
            (Some(_), Some(_)) => Err(broken("it has both result and error")),
        }
    }

    async fn exchange(&self, body: String) -> Result<Vec<u8>, Failure> {
        // The error's own words would show the URL, keys and all.
        let broken = |error: reqwest::Error| Failure::Unasked(of_connection(&error.without_url()));
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json");
        let mut response = request.body(body).send().await.map_err(broken)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err(Failure::Unasked(format!(
                    "its answer has more than {MAX_ANSWER} bytes"
                )));
            }
            bytes.extend_from_slice(&chunk);
        }
        // Some give errors of JSON-RPC with the status of HTTP for them.
        if status.is_success()
            || serde_json::from_slice::<Value>(&bytes).is_ok_and(|answer| answer.get("jsonrpc").is_some())
        {
            Ok(bytes)
        } else {
            Err(Failure::Unasked(format!("it answers HTTP {}", status.as_u16())))
        }
    }
}

/// How clients begin to say that a contract reverted, or did what ends a call: burnt all gas, ran into what is no instruction, went on for too
/// long. A contract that would rather be unasked than refuse can do each of these.
const ENDED: [&str; 21] = [
    "execution reverted",
    "vm execution error",
    "reverted",
    "revert",
    "out of gas",
    "outofgas",
    "gas uint64 overflow",
    "invalid opcode",
    "badinstruction",
    "invalid code: must not begin with 0xef",
    "invalid jump",
    "bad jump destination",
    "invalidjump",
    "stack ",
    "stackunderflow",
    "stackoverflow",
    "max call depth exceeded",
    "write protection",
    "return data out of bounds",
    "execution aborted",
    "evm error",
];

/// Whether an error says that a contract was called, and how that ended. Clients have no common way to say so: Geth and Erigon use code 3 for
/// reverts and -32000 for the rest, Reth 3 and -32003, Besu -32000, Nethermind -32015 or -32000 with the word in the message or in the
/// data. All other errors (of limits, methods, parameters, states that are not there) are about the client and not about the contract.
fn is_revert(method: &str, error: &Value) -> bool {
    let ended = |field: &str| {
        let text = error.get(field).and_then(Value::as_str).unwrap_or_default();
        let text = text.trim_start().to_ascii_lowercase();
        ENDED.iter().any(|start| text.starts_with(start))
    };
    let code = error.get("code").and_then(Value::as_i64);
    method == "eth_call"
        && (code == Some(3)
            || (matches!(code, Some(-32000 | -32003 | -32015)) && (ended("message") || ended("data"))))
}

/// The beginning of what a client says, on one line.
fn words(said: &str) -> String {
    line(said, MAX_WORDS)
}

fn hex_text(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// Bytes in hexadecimal after `0x`.
fn data(value: &Value) -> Option<Vec<u8>> {
    hex::decode(value.as_str()?.strip_prefix("0x")?).ok()
}

/// A number in hexadecimal after `0x`.
fn quantity(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    // The parser would take a sign.
    digits
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then_some(())?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        sync::{Arc, Mutex},
        thread,
    };

    use super::*;

    #[test]
    fn one_that_does_not_answer_is_told_of_while_it_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let told = Arc::new(Mutex::new(String::new()));
        let heard = told.clone();
        let silent = thread::spawn(move || {
            let connection = listener.accept().unwrap();
            // It hangs up when it was told of.
            let began = std::time::Instant::now();
            while heard.lock().unwrap().is_empty() && began.elapsed() < 2 * ANSWER {
                thread::sleep(Duration::from_millis(10));
            }
            drop(connection);
        });
        let tell = |line: &str| line.clone_into(&mut told.lock().unwrap());
        let url = format!("http://user:hunter2@{address}/key");
        let client = ExecutionClient::new(&url, &tell).unwrap_or_else(|problem| panic!("{problem:?}"));
        let signature = WalletSignature {
            who: "operator 1".to_owned(),
            address: Address([1; 20]),
            digest: [2; 32],
            signature: vec![3; 65],
        };
        let problem = client.judge(&[signature], Network::by_name("hoodi").unwrap());
        assert_eq!(problem.unwrap_err().kind, Kind::NotAsked);
        silent.join().unwrap();
        let told = told.lock().unwrap();
        assert!(
            told.contains(&format!("http://{address} has not answered yet")) && !told.contains("hunter2"),
            "{told}"
        );
    }

    #[test]
    fn what_is_no_one_address_is_refused() {
        for url in [
            "",
            "localhost:8545",
            "ftp://a.example",
            "http://",
            "https://a.example,https://b.example",
            "https://a.example,b.example",
            "http://a.example:8545,http://b.example:8545",
            "http://127.0.0.1,127.0.0.2:8545",
        ] {
            let problem = ExecutionClient::new(url, &|_| ()).err().expect(url);
            assert_eq!(problem.kind, Kind::BadInput, "{url}");
            assert!(problem.what_to_do.contains("--execution-client"), "{url}");
        }
        for url in [
            "http://localhost:8545",
            "https://user:word@a.example/key?x=1,2",
            "http://[::1]:8545",
        ] {
            let client =
                ExecutionClient::new(url, &|_| ()).unwrap_or_else(|problem| panic!("{url}: {problem}"));
            assert!(
                !client.shown.contains("word") && !client.shown.contains("key"),
                "{url}"
            );
        }
    }
}
