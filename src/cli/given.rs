//! What was given on the command line and in the environment, before anything is made of it.
//!
//! * An environment variable that is empty is as good as none: compose files and units have many of those. Line ends around a value are gone
//!   already (see `environment`).
//! * Quotes around a value, and a comma after it, are never meant. They are named, whatever it is a value of.
//! * Addresses of the network are understood as multiaddresses and as `HOST:PORT`, and judged here, where the flag is known.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};
use std::num::{IntErrorKind, ParseIntError};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::{OsStringValueParser, Resettable, StringValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use zeroize::Zeroizing;

use conclave_ceremony::files::may_be_there;
use conclave_ceremony::problem::{Kind, Problem};
use conclave_eth::recognise::without_bom;
use conclave_eth::secret_text::Secret;
use conclave_net::node::{can_dial, can_listen};

use super::{
    args::{self, Cli},
    pasted,
};

/// Values that are free text: on a command line, where the shell has taken its quotes away, what remains is meant.
const FREE_TEXT: [&str; 3] = ["name", "graffiti", "without"];
/// Node records are cleaned by themselves, of more than this.
const RECORDS: &str = "operators";

/// The command line as it is understood in this environment.
pub(super) fn command() -> Command {
    without_empty_variables(Cli::command())
}

fn without_empty_variables(command: Command) -> Command {
    let empty = |variable: &OsStr| {
        std::env::var_os(variable)
            .is_some_and(|value| value.to_str().is_some_and(|text| text.trim().is_empty()))
    };
    command
        .mut_args(|argument| {
            if argument.get_env().is_some_and(empty) {
                argument.env(Resettable::<clap::builder::OsStr>::Reset)
            } else {
                argument
            }
        })
        .mut_subcommands(without_empty_variables)
}

/// The variables that stand for flags of a command or of those below it.
fn variables(command: &Command) -> BTreeSet<OsString> {
    let own = command
        .get_arguments()
        .filter_map(Arg::get_env)
        .map(OsStr::to_owned);
    own.chain(command.get_subcommands().flat_map(variables)).collect()
}

/// Flags that stand in lines which `conclave` prints for others, who paste them.
const PRINTED: [&str; 2] = ["--operator", "--peer"];

/// The arguments. Of a printed line that was pasted after its flag, the flag is left out; one that was pasted within quotes, so that flag and value
/// are one word, is two.
pub(super) fn arguments() -> Vec<OsString> {
    taken_apart(std::env::args_os())
}

fn taken_apart(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let apart = |argument: OsString| -> Vec<OsString> {
        let words = argument
            .to_str()
            .and_then(|text| text.trim_start().split_once(pasted::is_blank));
        match words {
            Some((flag, value)) if PRINTED.contains(&flag) => vec![flag.into(), value.trim().into()],
            _ => vec![argument],
        }
    };
    let mut arguments: Vec<OsString> = arguments.flat_map(apart).collect();
    arguments.dedup_by(|next, before| next == before && PRINTED.iter().any(|flag| next == flag));
    arguments
}

/// Whether events are wanted, where the command line was not understood.
pub(super) fn wants_json() -> bool {
    let variable = std::env::var("CONCLAVE_JSON").unwrap_or_default();
    yes_or_no(&variable) == Some(true) || std::env::args_os().any(|argument| argument == "--json")
}

/// A flag without a value, whose variable says yes or no. Nothing else counts as either: such flags consent to what cannot be undone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Switch;

impl TypedValueParser for Switch {
    type Value = bool;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<bool, clap::Error> {
        if let Some(meant) = value.to_str().and_then(yes_or_no) {
            return Ok(meant);
        }
        // The flag itself takes no value.
        let variable = argument.and_then(Arg::get_env).unwrap_or_default();
        let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(command);
        for (kind, text) in [
            (ContextKind::InvalidArg, variable),
            (ContextKind::InvalidValue, value),
        ] {
            error.insert(kind, ContextValue::String(text.to_string_lossy().into_owned()));
        }
        let words = ["true", "false"].map(str::to_owned).to_vec();
        error.insert(ContextKind::ValidValue, ContextValue::Strings(words));
        Err(error)
    }
}

/// What a word in a variable means, whatever line end or blanks are around it.
fn yes_or_no(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "y" | "yes" | "t" | "true" | "on" | "1" => Some(true),
        "n" | "no" | "f" | "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Refuses quotes around values, and commas after the last, that were understood all the same.
///
/// # Errors
/// Names the flag or the variable.
pub(super) fn judge(matches: &ArgMatches) -> Result<(), Problem> {
    fn look(command: &Command, matches: &ArgMatches) -> Result<(), Problem> {
        for argument in command.get_arguments() {
            let id = argument.get_id().as_str();
            let is_given = matches.try_contains_id(id).unwrap_or(false);
            if id == RECORDS || !is_given || matches.value_source(id) == Some(ValueSource::DefaultValue) {
                continue;
            }
            let given_by_variable = matches.value_source(id) == Some(ValueSource::EnvVariable);
            let is_free_text = FREE_TEXT.contains(&id);
            if is_free_text && !given_by_variable {
                continue;
            }
            let variable = argument.get_env().filter(|_| given_by_variable);
            let name = || {
                variable.map_or_else(
                    || flag(argument),
                    |variable| variable.to_string_lossy().into_owned(),
                )
            };
            for value in matches.get_raw(id).into_iter().flatten() {
                if let Some(problem) = unfit(id, &name(), value) {
                    return Err(problem);
                }
                if argument.get_value_delimiter() == Some(',') && is_blank(value) {
                    return Err(empty(&name()));
                }
                if let Some(mut problem) = mistake(&name(), value) {
                    if is_free_text {
                        // They may be meant.
                        let meant = format!(
                            ". If they are meant, give the value with {}, where they stay",
                            flag(argument)
                        );
                        problem.what_to_do.push_str(&meant);
                    }
                    return Err(problem);
                }
            }
        }
        match matches.subcommand() {
            Some((name, matches)) => match command.find_subcommand(name) {
                Some(command) => look(command, matches),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }
    look(&Cli::command(), matches)
}

/// Values of these flags name files with a secret in them. Whoever gives the secret itself instead must not see it repeated.
const SECRET_FILES: [&str; 2] = ["password_file", "beacon_headers"];
/// A file that is given is looked at if it is no larger: larger ones are no secret that was taken for something else.
const LOOKED_AT: u64 = 64 * 1024;
/// In these files, which people write themselves, a secret may be a word among others.
const WRITTEN: [&str; 2] = ["plan", "operators_file"];

/// Refuses secrets in the place of values, before anything repeats a value: on the command line and in the variables.
///
/// # Errors
/// Names the flag or the variable, and not the secret.
pub(super) fn refuse_secrets() -> Result<(), Problem> {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    // Others may be meant for whatever starts this program: a compose file has the hash of an image in one.
    let known = variables(&Cli::command());
    let ours = |(name, value): (OsString, OsString)| {
        known
            .contains(&name)
            .then(|| Some((name.to_str()?.to_owned(), value.to_string_lossy().into_owned())))?
    };
    let variables: Vec<(String, String)> = std::env::vars_os().filter_map(ours).collect();
    match secret_in(&arguments, &variables) {
        Some((name, secret)) => Err(not_a_secret(
            Kind::Usage,
            &format!("the value of {name} looks like {secret}"),
            secret,
        )),
        None => Ok(()),
    }
}

/// The first secret, and the name of what it is the value of.
fn secret_in(arguments: &[String], variables: &[(String, String)]) -> Option<(String, Secret)> {
    let flag_of = |place: usize| {
        let itself = arguments.get(place)?;
        if itself.starts_with("--") {
            let name = itself.split('=').next();
            return name.filter(|name| Secret::within(name).is_none());
        }
        let before = arguments.get(place.checked_sub(1)?)?;
        (before.starts_with("--") && !before.contains('=')).then_some(before.as_str())
    };
    for (place, argument) in arguments.iter().enumerate() {
        let flag = flag_of(place).unwrap_or("an argument");
        if let Some(secret) = secret_value(flag.trim_start_matches('-'), argument) {
            return Some((flag.to_owned(), secret));
        }
    }
    for (name, value) in variables {
        let id = name.trim_start_matches("CONCLAVE_").to_lowercase();
        if let Some(secret) = secret_value(&id, value) {
            return Some((name.clone(), secret));
        }
    }
    // Words that no quotes hold together.
    let words = Secret::within(&arguments.join(" ")).filter(|secret| *secret == Secret::Words);
    words.map(|secret| ("several arguments".to_owned(), secret))
}

/// Whether a value, or a line of it, looks like a secret. Names of files that are there, and parts of the addresses of files and servers, are what
/// they are.
fn secret_value(flag: &str, value: &str) -> Option<Secret> {
    Secret::within(value)?;
    let place = value
        .trim_start()
        .strip_prefix("--")
        .and_then(|rest| rest.split_once('='))
        .filter(|(name, _)| Secret::within(name).is_none());
    let value = place.map_or(value, |(_, value)| value);
    let is_multiaddr = |line: &str| {
        ["/ip4/", "/ip6/", "/dns"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let is_place = |line: &str| {
        line.contains("://")
            || line.contains(['/', '\\', '.']) && !is_multiaddr(line)
            || !line.is_empty() && Path::new(line).exists()
    };
    let without = |is_meant: &dyn Fn(&str) -> bool| {
        let lines: Vec<&str> = value.lines().filter(|line| !is_meant(line.trim())).collect();
        Secret::within(&lines.join("\n"))
    };
    if without(&is_place) == Some(Secret::Key) {
        return Some(Secret::Key);
    }
    // A name of 32 digits is a name, if a strange one; so are parts of names of hosts.
    let password = without(&|line| is_place(line) || is_multiaddr(line) || flag == "graffiti");
    password
        .filter(|secret| *secret == Secret::Password)
        .or_else(|| Secret::within(value).filter(|secret| *secret == Secret::Words))
}

/// A file that is given, and holds a secret instead of what is wanted.
fn secret_file(id: &str, value: &OsStr) -> Option<Secret> {
    let path = Path::new(value);
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > LOOKED_AT {
        return None;
    }
    let bytes = Zeroizing::new(std::fs::read(path).ok()?);
    let text = std::str::from_utf8(without_bom(&bytes)).ok()?;
    let whole = Zeroizing::new(pasted::word(text));
    let is_one = whole.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'x');
    // Locks and definitions, which have hashes, are told as what they are.
    let is_json = text.trim_start().starts_with('{');
    let looked_at =
        WRITTEN.contains(&id) && !is_json || is_one || Secret::within(text) == Some(Secret::Words);
    looked_at.then(|| Secret::within(text)).flatten()
}

/// What is said of a secret that was given instead of something else.
fn not_a_secret(kind: Kind, what: &str, secret: Secret) -> Problem {
    Problem::new(kind, what, secret.why(), secret.what_to_do())
}

/// What is wrong with a value by itself, whatever it would be used for.
fn unfit(id: &str, name: &str, value: &OsStr) -> Option<Problem> {
    if !SECRET_FILES.contains(&id) {
        let secret = secret_file(id, value)?;
        let what = format!(
            "the file that {name} names holds what looks like {secret}: {}",
            conclave_eth::text::printable(&value.to_string_lossy())
        );
        return Some(not_a_secret(Kind::BadInput, &what, secret));
    }
    // Of what cannot be looked at, whoever reads it says why.
    if may_be_there(Path::new(value)) {
        return None;
    }
    Some(Problem::bad_input(
        format!("the file that {name} names is missing"),
        "it takes the name of a file, not the secret itself; what was given is not shown here, as it may be that",
        format!(
            "write the secret into a file that only you can read, and name that file with {name}{}",
            if id == "password_file" {
                "; or leave it out, and type the password when you are asked"
            } else {
                ""
            }
        ),
    ))
}

fn flag(argument: &Arg) -> String {
    match argument.get_long() {
        Some(long) => format!("--{long}"),
        None => argument.get_id().as_str().to_uppercase(),
    }
}

/// What nobody means in a value, whatever it is a value of: quotes around it, a comma after it. A file may have such a name.
pub(super) fn mistake(name: &str, value: &OsStr) -> Option<Problem> {
    let text = value.to_str()?;
    let problem = if is_quoted(text) {
        quotes(name)
    } else if text.trim_end().ends_with(',') {
        comma(name)
    } else {
        return None;
    };
    (!may_be_there(Path::new(value))).then_some(problem)
}

/// What is wrong with a value that was not understood, if it is one of the usual things.
pub(super) fn usual_mistake(error: &clap::Error) -> Option<Problem> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let value = context(ContextKind::InvalidValue)?;
    let argument = context(ContextKind::InvalidArg)?;
    let flag = argument.split(' ').next().unwrap_or(argument);
    let variable = variable_of(flag);
    let flag = variable.as_deref().unwrap_or(flag);
    if is_quoted(value) || value.starts_with(is_quote) || value.ends_with(is_quote) {
        Some(quotes(flag))
    } else if value.trim().is_empty() {
        Some(empty(flag))
    } else if value.trim_end().ends_with(',') {
        Some(comma(flag))
    } else {
        None
    }
}

fn comma(name: &str) -> Problem {
    Problem::new(
        Kind::Usage,
        format!("there is a comma at the end of the value of {name}"),
        "it is read as a part of the value",
        "leave it out. Where several values can be given, each has its own flag, or its own line in the variable",
    )
}

fn empty(name: &str) -> Problem {
    Problem::new(
        Kind::Usage,
        format!("a value of {name} is empty"),
        "there is nothing in it, or a comma with nothing before or after it",
        format!("leave out the comma, or {name} altogether"),
    )
}

fn quotes(name: &str) -> Problem {
    Problem::new(
        Kind::Usage,
        format!("there are quotes around the value of {name}"),
        "they came as a part of it: docker compose and systemd do not remove them everywhere, as a shell does",
        "write the value without them",
    )
}

/// Quotes of keyboards, and of programs that think to know better.
pub(super) fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`') || conclave_eth::text::is_typographic_quote(c)
}

pub(super) fn is_quoted(text: &str) -> bool {
    let text = text.trim();
    text.chars().count() > 1 && text.starts_with(is_quote) && text.ends_with(is_quote)
}

/// One path of several, each in a line of its own; empty for an empty line, which [`tidy`] leaves out.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Leaves out empty lines of lists that have a line for each value.
///
/// # Errors
/// Names the flag if nothing remains of what was given.
pub(super) fn tidy(cli: &mut Cli) -> Result<(), Problem> {
    match &mut cli.command {
        args::Command::Run(args) => {
            lines("--beacon-node", &mut args.beacon.beacon_nodes)?;
            lines("--without", &mut args.without)
        }
        args::Command::Exit(args) => {
            lines("--beacon-node", &mut args.beacon.beacon_nodes)?;
            lines("--combine", &mut args.combine)
        }
        args::Command::Verify(args) => {
            lines("--contract-wallet", &mut args.wallets.contract_wallets)?;
            lines("PATH", &mut args.paths)
        }
        args::Command::Join(args) => lines("--contract-wallet", &mut args.wallets.contract_wallets),
        _ => Ok(()),
    }
}

fn lines<T: AsRef<OsStr>>(name: &str, given: &mut Vec<T>) -> Result<(), Problem> {
    let any = !given.is_empty();
    given.retain(|line| !is_blank(line.as_ref()));
    if any && given.is_empty() {
        return Err(empty(name));
    }
    Ok(())
}

fn is_blank(text: &OsStr) -> bool {
    text.to_str().is_some_and(|text| text.trim().is_empty())
}

/// What was given at once: several values where each is in a line of its own, as in variables.
#[derive(Debug, Clone)]
pub struct Several<T>(pub(super) Vec<T>);

/// All values.
pub(super) fn all<T>(given: &[Several<T>]) -> impl Iterator<Item = &T> {
    given.iter().flat_map(|several| &several.0)
}

/// One value or several, each in a line of its own. `begins` tells, of what came before it in the same value and a line, whether that line
/// begins another value or is the rest of one that was broken on its way.
fn several<T: Clone + Send + Sync + 'static>(
    begins: fn(&str, &str) -> bool,
    read: fn(&str) -> Result<T, String>,
) -> impl TypedValueParser<Value = Several<T>> {
    StringValueParser::new().try_map(move |text| {
        let values = in_lines(&text, begins);
        let named = |value: &String, error| match values.len() {
            1 => error,
            _ => format!("{}: {error}", pasted::word(value)),
        };
        let read = |value: &String| read(value).map_err(|error| named(value, error));
        values
            .iter()
            .map(read)
            .collect::<Result<_, String>>()
            .map(Several)
    })
}

/// The values in a text, as they are written there; one, if there are none.
fn in_lines(text: &str, begins: fn(&str, &str) -> bool) -> Vec<String> {
    let mut values: Vec<String> = Vec::new();
    for line in text.split(['\n', '\r']) {
        let word = pasted::word(line);
        match values.last_mut() {
            _ if word.is_empty() => {}
            Some(last) if !begins(&pasted::word(last), &word) => {
                last.push('\n');
                last.push_str(line);
            }
            _ => values.push(line.to_owned()),
        }
    }
    if values.is_empty() {
        values.push(text.to_owned());
    }
    values
}

/// Addresses of the network.
pub(super) fn addresses(
    read: fn(&str) -> Result<Multiaddr, String>,
) -> impl TypedValueParser<Value = Several<Multiaddr>> {
    several(begins_address, read)
}

/// A multiaddress may be broken anywhere; `HOST:PORT` is too short for that, and is never put together from two lines: that could make
/// another name.
fn begins_address(before: &str, line: &str) -> bool {
    match line.strip_prefix('/').and_then(|rest| rest.split('/').next()) {
        Some(first) => matches!(first, "ip4" | "ip6" | "dns" | "dns4" | "dns6" | "dnsaddr"),
        None => !before.starts_with('/') || (line.contains(':') && !line.contains('/')),
    }
}

/// Whole numbers.
pub(super) fn numbers() -> impl TypedValueParser<Value = Several<u64>> {
    several(|_, _| true, number::<u64>)
}

/// Public keys of validators.
pub(super) fn keys() -> impl TypedValueParser<Value = Several<String>> {
    several(begins_key, |text| Ok(pasted::word(text)))
}

fn begins_key(before: &str, line: &str) -> bool {
    /// Hexadecimal digits of 48 bytes.
    const DIGITS: usize = 96;
    line.starts_with("0x") || before.len() >= DIGITS
}

/// A whole number, however small.
pub(super) fn number<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|error: ParseIntError| {
        match error.kind() {
            IntErrorKind::PosOverflow => "it is too large",
            _ => "write a whole number with digits only: no commas, blanks, signs or units",
        }
        .to_owned()
    })
}

/// The variable that a flag's value came from, if it did not come from the command line.
pub(super) fn variable_of(flag: &str) -> Option<String> {
    fn look(command: &Command, flag: &str) -> Option<String> {
        let set = |argument: &Arg| {
            let variable = argument.get_env().filter(|_| self::flag(argument) == flag)?;
            std::env::var_os(variable).map(|_| variable.to_string_lossy().into_owned())
        };
        command
            .get_arguments()
            .find_map(set)
            .or_else(|| command.get_subcommands().find_map(|command| look(command, flag)))
    }
    let typed = std::env::args_os().any(|argument| {
        argument
            .to_str()
            .is_some_and(|text| text.split('=').next() == Some(flag))
    });
    if typed { None } else { look(&Cli::command(), flag) }
}

/// Where another operator is, or where the others reach this one.
pub(super) fn address(text: &str) -> Result<Multiaddr, String> {
    let address = multiaddr(text)?;
    if can_dial(&address) {
        return Ok(address);
    }
    let port = address
        .iter()
        .any(|part| matches!(part, Protocol::Tcp(1..) | Protocol::Udp(1..)));
    Err(if port {
        "nobody can be reached there; it should look like /ip4/203.0.113.7/tcp/9510 or 203.0.113.7:9510"
            .to_owned()
    } else {
        "it has no port; it should look like /ip4/203.0.113.7/tcp/9510 or 203.0.113.7:9510".to_owned()
    })
}

/// Where to listen.
pub(super) fn own_address(text: &str) -> Result<Multiaddr, String> {
    let address = multiaddr(text)?;
    // Whoever copies the whole of what `join` printed means the address.
    let address: Multiaddr = address
        .iter()
        .filter(|part| !matches!(part, Protocol::P2p(_)))
        .collect();
    if can_listen(&address) {
        return Ok(address);
    }
    let named = matches!(
        address.iter().next(),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_))
    );
    Err(if named {
        "a name cannot be listened on: give an IP address of this machine, or 0.0.0.0 for all".to_owned()
    } else {
        "it should look like /ip4/0.0.0.0/tcp/9510 or 0.0.0.0:9510, or with /udp/9510/quic-v1".to_owned()
    })
}

/// A multiaddress, or `HOST:PORT` for TCP.
fn multiaddr(text: &str) -> Result<Multiaddr, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("nothing was given, or there is a comma with nothing after it".to_owned());
    }
    if text.starts_with(is_quote) || text.ends_with(is_quote) {
        return Err("there are quotes around it: leave them out".to_owned());
    }
    let text = &pasted::word(text);
    if text.starts_with('/') {
        return text.parse().map_err(|error| {
            let before = text
                .split_once("/p2p/")
                .map(|(before, _)| before.parse::<Multiaddr>());
            if let Some(Ok(_)) = before {
                "what comes after /p2p/ is cut off or mistyped: copy the whole line again".to_owned()
            } else {
                format!("{error}; it should look like /ip4/203.0.113.7/tcp/9510")
            }
        });
    }
    let number = text.rsplit_once(':').map(|(_, port)| port.parse::<u64>());
    if let Some(Ok(65_536..)) = number {
        return Err("a port is a number up to 65535".to_owned());
    }
    host_and_port(text).ok_or_else(|| {
        "it should look like /ip4/203.0.113.7/tcp/9510, 203.0.113.7:9510 or name.example:9510".to_owned()
    })
}

fn host_and_port(text: &str) -> Option<Multiaddr> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        let host = match socket.ip() {
            IpAddr::V4(ip) => Protocol::Ip4(ip),
            IpAddr::V6(ip) => Protocol::Ip6(ip),
        };
        return Some(Multiaddr::empty().with(host).with(Protocol::Tcp(socket.port())));
    }
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let letters = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let plain = host.strip_suffix('.').unwrap_or(host);
    // A name of numbers only is an IP address with a mistake in it.
    let named = plain.len() <= 253
        && plain.split('.').all(letters)
        && plain
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().any(|b| b.is_ascii_alphabetic()));
    named.then(|| {
        Multiaddr::empty()
            .with(Protocol::Dns(host.into()))
            .with(Protocol::Tcp(port))
    })
}

#[cfg(test)]
mod tests {
    use conclave_ceremony::files::Disk;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_looked_at_is_not_called_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let judged = || unfit("password_file", "--password-file", path.as_os_str());
        assert!(judged().unwrap().what.contains("is missing"));
        std::os::unix::fs::symlink(&path, &path).unwrap();
        assert_eq!(judged().map(|problem| problem.what), None);
        let file = Disk::new().read_secret(&path, 10).unwrap_err();
        assert!(!file.is_missing());
    }

    #[test]
    fn addresses_are_understood_in_both_forms_and_judged() {
        let peer = libp2p::PeerId::random();
        for (text, meant) in [
            ("203.0.113.7:9510", "/ip4/203.0.113.7/tcp/9510".to_owned()),
            (
                "/ip4/203.0.113.7/tcp/9510/p2p/\r\n> 16Uiu2HAm\u{ad}1JVBaHtLnLQhwwPgJQi7b9RvKrNbDRNzQoBqhyvhDBFS",
                "/ip4/203.0.113.7/tcp/9510/p2p/16Uiu2HAm1JVBaHtLnLQhwwPgJQi7b9RvKrNbDRNzQoBqhyvhDBFS"
                    .to_owned(),
            ),
            (" [2001:db8::7]:9510 ", "/ip6/2001:db8::7/tcp/9510".to_owned()),
            ("alice.example:9510", "/dns/alice.example/tcp/9510".to_owned()),
            ("localhost:9510", "/dns/localhost/tcp/9510".to_owned()),
            (
                "/ip4/203.0.113.7/udp/1/quic-v1",
                "/ip4/203.0.113.7/udp/1/quic-v1".to_owned(),
            ),
            (
                &format!("/dns4/a.example/tcp/9/p2p/{peer}"),
                format!("/dns4/a.example/tcp/9/p2p/{peer}"),
            ),
        ] {
            assert_eq!(address(text), Ok(meant.parse().unwrap()), "{text}");
        }
        for (text, why) in [
            ("/ip4/203.0.113.7", "no port"),
            ("/ip4/203.0.113.7/tcp/0", "no port"),
            ("203.0.113.7", "should look like"),
            ("203.0.113.300:9510", "should look like"),
            ("203.0.113.7:99999", "up to 65535"),
            (
                "/ip4/203.0.113.7/tcp/9510/p2p/16Uiu2HAm1JVBaHtLnLQ",
                "after /p2p/ is cut off",
            ),
            ("http://alice.example:9510", "should look like"),
            ("alice@example:9510", "should look like"),
            ("/ip4/203.0.113.7/tcp/9510/ws", "nobody can be reached"),
            ("0.0.0.0:9510", "nobody can be reached"),
            ("/ip4/203.0.113/tcp/9510", "should look like"),
            ("\"/ip4/203.0.113.7/tcp/9510\"", "quotes"),
            ("“203.0.113.7:9510”", "quotes"),
            ("", "comma"),
        ] {
            let error = address(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        for (text, meant) in [
            ("0.0.0.0:9510", "/ip4/0.0.0.0/tcp/9510".to_owned()),
            ("[::]:0", "/ip6/::/tcp/0".to_owned()),
            (
                &format!("/ip4/1.2.3.4/tcp/9/p2p/{peer}"),
                "/ip4/1.2.3.4/tcp/9".to_owned(),
            ),
            (
                "/ip4/0.0.0.0/udp/9/quic-v1",
                "/ip4/0.0.0.0/udp/9/quic-v1".to_owned(),
            ),
        ] {
            assert_eq!(own_address(text), Ok(meant.parse().unwrap()), "{text}");
        }
        for (text, why) in [
            ("alice.example:9510", "a name"),
            ("/dns4/alice.example/tcp/9510", "a name"),
            ("/ip4/0.0.0.0", "should look like"),
            ("/ip4/0.0.0.0/udp/9", "should look like"),
            ("/memory/7", "should look like"),
            ("", "comma"),
        ] {
            let error = own_address(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_printed_line_is_one_flag_and_one_value_however_it_was_pasted() {
        for line in [
            &["--peer", "/ip4/1.2.3.4/tcp/9"][..],
            &["--peer", "--peer", "/ip4/1.2.3.4/tcp/9"],
            &["--peer /ip4/1.2.3.4/tcp/9"],
            &["--peer", "--peer  /ip4/1.2.3.4/tcp/9 "],
        ] {
            let given = line.iter().map(OsString::from);
            assert_eq!(taken_apart(given), ["--peer", "/ip4/1.2.3.4/tcp/9"], "{line:?}");
        }
        let others = ["--name", "--peer", "--name a b", "peer x"];
        assert_eq!(taken_apart(others.iter().map(OsString::from)), others);
    }

    #[test]
    fn several_addresses_have_a_line_each_and_one_that_was_broken_is_put_together() {
        let peer = "16Uiu2HAm1JVBaHtLnLQhwwPgJQi7b9RvKrNbDRNzQoBqhyvhDBFS";
        let (one, other) = (
            format!("/ip4/203.0.113.7/tcp/9510/p2p/{peer}"),
            format!("/dns4/alice.example/udp/9510/quic-v1/p2p/{peer}"),
        );
        let read = |text: &str| -> Result<Vec<Multiaddr>, String> {
            in_lines(text, begins_address)
                .iter()
                .map(|value| address(value))
                .collect()
        };
        let meant = |texts: &[&str]| {
            Ok(texts
                .iter()
                .map(|text| text.parse().unwrap())
                .collect::<Vec<Multiaddr>>())
        };
        for between in ["\n", "\r\n", "\n\n> ", "\n  \u{200b}"] {
            let text = format!(
                "\n{one}{between}{other}{between}bob.example:9{between}203.0.113.9:9{between}[2001:db8::7]:9\n"
            );
            let all = [
                one.as_str(),
                &other,
                "/dns/bob.example/tcp/9",
                "/ip4/203.0.113.9/tcp/9",
                "/ip6/2001:db8::7/tcp/9",
            ];
            assert_eq!(read(&text), meant(&all), "{text}");
        }
        // Wherever mail broke it.
        for at in 4..one.len() {
            let (first, rest) = one.split_at(at);
            let text = format!("{other}\n{first}\r\n> {rest}\n{other}");
            assert_eq!(read(&text), meant(&[&other, &one, &other]), "{text}");
        }
        // No name is ever made of two.
        for text in [
            "alice.example\nbob.example:9510",
            "alice.exam\nple:9510",
            "203.0.113.7\n203.0.113.8:9510",
            "203.0.113.7:9\n510",
        ] {
            assert!(read(text).unwrap_err().contains("should look like"), "{text}");
        }
        assert!(read("").unwrap_err().contains("nothing was given"));
        // Numbers and keys.
        let key = |digit: char| digit.to_string().repeat(96);
        let text = format!("0x{}\n{}\n0x{}\n> {}", key('a'), key('b'), key('c'), "\n\n");
        assert_eq!(in_lines(&text, begins_key).len(), 3);
        let text = format!("0x{}", key('a'));
        let broken = format!("{}\n> {}", &text[..40], &text[40..]);
        let put_together: Vec<String> = in_lines(&broken, begins_key)
            .iter()
            .map(|key| pasted::word(key))
            .collect();
        assert_eq!(put_together, [text]);
    }

    #[test]
    fn every_list_takes_a_line_for_each_value() {
        use clap::Parser;

        fn look(command: &Command, found: &mut Vec<String>) {
            let lists = command
                .get_arguments()
                .filter(|argument| argument.get_value_delimiter() == Some(','));
            found.extend(lists.map(|argument| argument.get_id().to_string()));
            command.get_subcommands().for_each(|command| look(command, found));
        }
        let mut lists = Vec::new();
        look(&Cli::command(), &mut lists);
        lists.sort();
        lists.dedup();
        // What is not among these is not tried below.
        assert_eq!(lists, ["amounts", "announce", "listen", "peers", "validators"]);
        let given = |arguments: &[&str]| {
            let mut words = vec!["conclave"];
            words.extend(arguments);
            Cli::try_parse_from(words).unwrap().command
        };
        let ways = "203.0.113.7:1\n203.0.113.8:1, 203.0.113.9:1,\n/ip4/203.0.113.10/tcp/1";
        let args::Command::Join(join) =
            given(&["join", "--peer", ways, "--listen", ways, "--announce", ways])
        else {
            panic!()
        };
        let reach = &join.reach;
        assert_eq!(
            (
                reach.peers().count(),
                reach.listen().count(),
                reach.announce().count()
            ),
            (4, 4, 4)
        );
        let args::Command::Plan(args::PlanCommand::New(plan)) =
            given(&["plan", "new", "--amounts", "1\n 32 \n\n8,\n2"])
        else {
            panic!()
        };
        assert_eq!(all(&plan.amounts).collect::<Vec<_>>(), [&1, &32, &8, &2]);
        let args::Command::Exit(exit) = given(&["exit", "--validator", "0x0a\n> 0x0b,0x0c"]) else {
            panic!()
        };
        assert_eq!(
            all(&exit.validators).collect::<Vec<_>>(),
            ["0x0a", "0x0b", "0x0c"]
        );
        // The line that is wrong is named.
        let error = Cli::try_parse_from(["conclave", "join", "--peer", "203.0.113.7:1\nalice"]).unwrap_err();
        assert!(
            error.to_string().contains("alice: it should look like"),
            "{error}"
        );
    }

    #[test]
    fn a_number_is_told_in_plain_words() {
        assert_eq!(
            (number::<u32>(" 4 "), number::<u64>("60000000")),
            (Ok(4), Ok(60_000_000))
        );
        for text in ["60,000,000", "four", "", "-1", "32 ETH", "5.6"] {
            assert!(number::<u32>(text).unwrap_err().contains("digits only"), "{text}");
        }
        assert!(number::<u32>("4294967296").unwrap_err().contains("too large"));
    }

    #[test]
    fn only_what_is_around_a_value_are_quotes_of_it() {
        for text in ["\"a\"", "'a'", " “a” ", "‘a’", "«a»", "\"\""] {
            assert!(is_quoted(text), "{text}");
        }
        for text in ["", "\"", "a", "a\"b", "/it's/here", "\"a"] {
            assert!(!is_quoted(text), "{text}");
        }
    }

    #[test]
    fn no_word_but_a_yes_is_a_yes() {
        for yes in ["y", "Yes", "t", "TRUE", "on", "1", " true\r\n"] {
            assert_eq!(yes_or_no(yes), Some(true), "{yes:?}");
        }
        for no in ["n", "NO", "f", "False", "off", "0", "false\r", "false\n", "off "] {
            assert_eq!(yes_or_no(no), Some(false), "{no:?}");
        }
        for neither in [
            "", " ", "disabled", "2", "00", "tru", "yes no", "\"true\"", "null",
        ] {
            assert_eq!(yes_or_no(neither), None, "{neither:?}");
        }
    }

    #[test]
    fn lines_are_kept_and_empty_ones_are_not() {
        let mut some = vec!["a", "", "b, c", " "];
        lines("--x", &mut some).unwrap();
        assert_eq!(some, ["a", "b, c"]);
        lines("--x", &mut Vec::<String>::new()).unwrap();
        assert_eq!(lines("--x", &mut vec!["", " "]).unwrap_err().kind, Kind::Usage);
    }
}
