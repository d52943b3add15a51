//! The command line: every command, every flag, and the environment variable that each flag can come from.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use libp2p::Multiaddr;

use super::given::{self, Several, Switch};
use super::sight::MonitoringAddress;

/// Key ceremonies for groups who validate together.
#[derive(Debug, Parser)]
#[command(name = "conclave", version = env!("CONCLAVE_VERSION"), max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 anything else, 2 usage, 3 bad input, 4 gave up waiting, 5 aborted by a fault, \
    6 verification failed, 7 the folder is in another state than needed, 8 the lock cannot be validated with, \
    9 the slashing protection database is missing, 10 another network, 11 a second copy of this folder runs, \
    12 the execution client could not be asked, 130 interrupted (Ctrl-C, SIGTERM, a closed terminal) or you said no; `run` ends \
    with 0 then. 129, 131, 137 and 143 are not conclave's: a signal ended it at once (SIGHUP, SIGQUIT, SIGKILL, SIGTERM)."
)]
pub struct Cli {
    /// The folder that holds your identity and gets the results
    #[arg(long, global = true, env = "CONCLAVE_DATA_DIR", default_value = ".", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: PathBuf,
    /// Print one JSON event per line instead of text, and ask nothing
    #[arg(long, global = true, env = "CONCLAVE_JSON", value_parser = Switch)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make or show who you are in a ceremony
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Write down what your group wants
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Turn a plan and everybody's records into the definition that all operators join
    Define(Box<DefineArgs>),
    /// Take part in a ceremony; the same command goes on after any interruption
    Join(JoinArgs),
    /// Validate with the shares of a finished ceremony, together with the other operators
    Run(Box<RunArgs>),
    /// Consent to the voluntary exit of a validator: the end of it, if enough operators do
    Exit(Box<ExitArgs>),
    /// Write a backup of this folder into an encrypted archive, also while conclave runs in it
    Backup(BackupArgs),
    /// Move to another machine: retire this folder and write what it holds into an encrypted archive
    Export(ExportArgs),
    /// Unpack an archive of export or backup into a new folder: once, and on one machine
    Import(ImportArgs),
    /// Show what the `run` in this folder is doing: who is here and takes part, how the validators fare
    Status(StatusArgs),
    /// Take what the shares have signed from other software, or give it to other software (EIP-3076)
    #[command(subcommand)]
    SlashingProtection(SlashingCommand),
    /// Hold a whole ceremony on this machine, one process for each operator
    Rehearse(RehearseArgs),
    /// Check everything that can be checked about results
    Verify(VerifyArgs),
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write the pages of all commands into a folder
    Man {
        /// The folder for one page per command
        #[arg(long, env = "CONCLAVE_MAN_OUT", value_name = "DIR", value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
    },
}

/// The flag of every command that needs a network.
#[derive(Debug, Args)]
pub struct OwnNetwork {
    /// A file that describes a network of your own
    #[arg(long, env = "CONCLAVE_NETWORK_FILE", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub network_file: Option<PathBuf>,
}

/// Wallets of creator and operators that are contracts, which have no key that a signature could be compared with.
#[derive(Debug, Args)]
pub struct ContractWallets {
    /// The address of a contract wallet (such as a Safe) whose signature is left unchecked, once for each
    #[arg(
        long = "contract-wallet",
        env = "CONCLAVE_CONTRACT_WALLETS",
        value_name = "ADDRESS",
        value_delimiter = '\n'
    )]
    pub contract_wallets: Vec<String>,
    /// An execution client that asks contract wallets whether they accept their signatures (ERC-1271), such as http://localhost:8545
    #[arg(long, env = "CONCLAVE_EXECUTION_CLIENT", value_name = "URL", value_hint = ValueHint::Url)]
    pub execution_client: Option<String>,
}

/// How the other operators are reached, and this one by them.
#[derive(Debug, Args)]
pub struct Reach {
    /// A complete address of another operator, or HOST:PORT
    #[arg(
        long = "peer",
        env = "CONCLAVE_PEERS",
        value_name = "ADDR",
        value_delimiter = ',',
        value_parser = given::addresses(given::address)
    )]
    pub peers: Vec<Several<Multiaddr>>,
    /// Where to listen, such as /ip4/0.0.0.0/tcp/9510 or /ip6/::/tcp/9510; kept in the folder for later starts
    #[arg(
        long = "listen",
        env = "CONCLAVE_LISTEN",
        value_name = "ADDR",
        value_delimiter = ',',
        value_parser = given::addresses(given::own_address)
    )]
    pub listen: Vec<Several<Multiaddr>>,
    /// An address under which the others reach you too, such as that of a router that forwards the port; kept, too
    #[arg(
        long = "announce",
        env = "CONCLAVE_ANNOUNCE",
        value_name = "ADDR",
        value_delimiter = ',',
        value_parser = given::addresses(given::address)
    )]
    pub announce: Vec<Several<Multiaddr>>,
}

impl Reach {
    /// The addresses of others.
    pub fn peers(&self) -> impl Iterator<Item = &Multiaddr> {
        given::all(&self.peers)
    }

    /// Where to listen.
    pub fn listen(&self) -> impl Iterator<Item = &Multiaddr> {
        given::all(&self.listen)
    }

    /// Where the others reach this node, too.
    pub fn announce(&self) -> impl Iterator<Item = &Multiaddr> {
        given::all(&self.announce)
    }
}

/// Beacon nodes, and what they are told with every request.
#[derive(Debug, Args)]
pub struct BeaconNodes {
    /// A beacon node; in the variable one a line
    #[arg(long = "beacon-node", env = "CONCLAVE_BEACON_NODES", value_name = "URL", value_delimiter = '\n', value_hint = ValueHint::Url)]
    pub beacon_nodes: Vec<String>,
    /// A file of HTTP headers for the beacon nodes, one a line, such as credentials
    #[arg(long, env = "CONCLAVE_BEACON_HEADERS", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub beacon_headers: Option<PathBuf>,
}

/// Where money may go.
#[derive(Debug, Args)]
pub struct PayeeArgs {
    /// Take addresses too from which nobody can spend, such as those of burnt money and of the deposit contract
    #[arg(long, env = "CONCLAVE_ANY_ADDRESS", value_parser = Switch)]
    pub any_address: bool,
}

/// How the keystores are written.
#[derive(Debug, Args)]
pub struct Keystores {
    /// How passwords protect the keystores
    #[arg(long, env = "CONCLAVE_KDF", value_enum, default_value = "pbkdf2")]
    pub kdf: KdfChoice,
}

/// The password of an archive.
#[derive(Debug, Args)]
pub struct ArchivePassword {
    /// A file with the password of the archive [default: asked for]
    #[arg(long, env = "CONCLAVE_ARCHIVE_PASSWORD_FILE", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub password_file: Option<PathBuf>,
}

/// `conclave identity`.
#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// Make a new identity in the data folder; one that is there is never overwritten
    New {
        /// What the others see: 1 to 32 letters
        #[arg(long, env = "CONCLAVE_NAME")]
        name: Option<String>,
    },
    /// Show the record to send to whoever makes the definition
    Show,
    /// Give the identity another name; the key stays
    Rename {
        /// What the others see: 1 to 32 letters
        #[arg(long, env = "CONCLAVE_NAME")]
        name: String,
    },
}

/// `conclave plan`.
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Answer a few questions, get a plan
    New(Box<PlanArgs>),
}

/// `conclave plan new`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Name of the cluster
    #[arg(long, env = "CONCLAVE_CLUSTER_NAME")]
    pub name: Option<String>,
    /// How many operators: 2 to 64
    #[arg(long, env = "CONCLAVE_OPERATORS", value_name = "N", value_parser = given::number::<u32>)]
    pub operators: Option<u32>,
    /// How many operators must sign [default: two thirds, rounded up]
    #[arg(long, env = "CONCLAVE_THRESHOLD", value_name = "T", value_parser = given::number::<u32>)]
    pub threshold: Option<u32>,
    /// The network, such as mainnet or hoodi
    #[arg(long, env = "CONCLAVE_NETWORK")]
    pub network: Option<String>,
    /// A network that is not known here.
    #[command(flatten)]
    pub own_network: OwnNetwork,
    /// How many validators [default: 1]
    #[arg(long, env = "CONCLAVE_VALIDATORS", value_name = "V", value_parser = given::number::<u32>)]
    pub validators: Option<u32>,
    /// Where stake and rewards are withdrawn to; can be left to `define`
    #[arg(long, env = "CONCLAVE_WITHDRAWAL_ADDRESS", value_name = "ADDRESS")]
    pub withdrawal_address: Option<String>,
    /// Who gets the fees of proposed blocks; can be left to `define`
    #[arg(long, env = "CONCLAVE_FEE_RECIPIENT_ADDRESS", value_name = "ADDRESS")]
    pub fee_recipient_address: Option<String>,
    /// Which addresses are taken.
    #[command(flatten)]
    pub payees: PayeeArgs,
    /// Deposits of each validator in whole ETH, comma-separated [default: 32]
    #[arg(long, env = "CONCLAVE_AMOUNTS", value_name = "ETH", value_delimiter = ',', value_parser = given::numbers())]
    pub amounts: Vec<Several<u64>>,
    /// Compounding (0x02) credentials: up to 2048 ETH on one validator
    #[arg(long, env = "CONCLAVE_COMPOUNDING", value_parser = Switch)]
    pub compounding: bool,
    /// Gas limit asked of block builders [default: 60000000]
    #[arg(long, env = "CONCLAVE_TARGET_GAS_LIMIT", value_name = "GAS", value_parser = given::number::<u64>)]
    pub target_gas_limit: Option<u64>,
    /// Where to write the plan [default: plan.toml in the data folder]
    #[arg(long, env = "CONCLAVE_PLAN_OUT", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<PathBuf>,
}

/// `conclave define`.
#[derive(Debug, Args)]
pub struct DefineArgs {
    /// The plan, a TOML file
    #[arg(env = "CONCLAVE_PLAN", value_hint = ValueHint::FilePath)]
    pub plan: PathBuf,
    /// Name and record of an operator, once for each; the order gives the share indices
    #[arg(
        long = "operator",
        env = "CONCLAVE_OPERATOR_RECORDS",
        value_name = "NAME=ENR",
        allow_hyphen_values = true
    )]
    pub operators: Vec<String>,
    /// A file with the names and records of all operators, one NAME=ENR a line
    #[arg(long, env = "CONCLAVE_OPERATORS_FILE", value_name = "FILE", conflicts_with = "operators", value_hint = ValueHint::FilePath)]
    pub operators_file: Option<PathBuf>,
    /// Where stake and rewards are withdrawn to, for validators without one in the plan
    #[arg(long, env = "CONCLAVE_WITHDRAWAL_ADDRESS", value_name = "ADDRESS")]
    pub withdrawal_address: Option<String>,
    /// Who gets the fees of proposed blocks, for validators without one in the plan
    #[arg(long, env = "CONCLAVE_FEE_RECIPIENT_ADDRESS", value_name = "ADDRESS")]
    pub fee_recipient_address: Option<String>,
    /// Which addresses are taken.
    #[command(flatten)]
    pub payees: PayeeArgs,
    /// Another network than that of the plan
    #[arg(long, env = "CONCLAVE_NETWORK")]
    pub network: Option<String>,
    /// A network that is not known here.
    #[command(flatten)]
    pub own_network: OwnNetwork,
}

/// How the key of a keystore is derived from its password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KdfChoice {
    /// PBKDF2 with 262144 rounds, as other software writes
    Pbkdf2,
    /// scrypt
    Scrypt,
}

/// `conclave join`.
#[derive(Debug, Args)]
#[command(mut_arg("peers", |peers| peers.help("A complete address of another operator, as printed by its `join`")))]
pub struct JoinArgs {
    /// The definition that your group agreed on [default: the one in the data folder]
    #[arg(env = "CONCLAVE_DEFINITION", value_hint = ValueHint::FilePath)]
    pub definition: Option<PathBuf>,
    /// Where the others are.
    #[command(flatten)]
    pub reach: Reach,
    /// Give up after this time, such as 90s, 30m, 2h or 1d; a number alone means seconds [default: wait for ever]
    #[arg(long, env = "CONCLAVE_WAIT", value_name = "DURATION", value_parser = parse_duration)]
    pub wait: Option<Duration>,
    /// Begin so many further attempts without asking, after faults that blame nobody
    #[arg(long, env = "CONCLAVE_RETRIES", value_name = "K", default_value_t = 0, value_parser = given::number::<u32>)]
    pub retries: u32,
    /// Begin further attempts, up to this one, where the one before cannot be finished: the answer to the question, given beforehand
    #[arg(long, env = "CONCLAVE_ATTEMPT", value_name = "K", default_value_t = 1, value_parser = given::number::<u32>)]
    pub attempt: u32,
    /// Finish with the cluster-lock.json of another operator, if it is the lock of the keys that you confirmed
    #[arg(long, env = "CONCLAVE_LOCK", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub lock: Option<PathBuf>,
    /// How keystores are written.
    #[command(flatten)]
    pub keystores: Keystores,
    /// A network that is not known here.
    #[command(flatten)]
    pub own_network: OwnNetwork,
    /// Wallets that are contracts.
    #[command(flatten)]
    pub wallets: ContractWallets,
    /// Which addresses are taken.
    #[command(flatten)]
    pub payees: PayeeArgs,
    /// Do not ask whether the definition is right
    #[arg(long, env = "CONCLAVE_YES", value_parser = Switch)]
    pub yes: bool,
}

/// `conclave rehearse`.
#[derive(Debug, Args)]
pub struct RehearseArgs {
    /// The plan, a TOML file [default: four friends, one validator]
    #[arg(env = "CONCLAVE_PLAN", value_hint = ValueHint::FilePath)]
    pub plan: Option<PathBuf>,
    /// How many operators, instead of the plan's
    #[arg(long, env = "CONCLAVE_OPERATORS", value_name = "N", value_parser = given::number::<u32>)]
    pub operators: Option<u32>,
    /// How many operators must sign, instead of the plan's
    #[arg(long, env = "CONCLAVE_THRESHOLD", value_name = "T", value_parser = given::number::<u32>)]
    pub threshold: Option<u32>,
    /// How many validators, instead of the plan's
    #[arg(long, env = "CONCLAVE_VALIDATORS", value_name = "V", value_parser = given::number::<u32>)]
    pub validators: Option<u32>,
    /// A test network, instead of the plan's
    #[arg(long, env = "CONCLAVE_NETWORK")]
    pub network: Option<String>,
    /// A network that is not known here.
    #[command(flatten)]
    pub own_network: OwnNetwork,
    /// The folder for one folder per operator [default: a new rehearsal-DATE-TIME here]
    #[arg(long, env = "CONCLAVE_REHEARSAL_OUT", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// How keystores are written.
    #[command(flatten)]
    pub keystores: Keystores,
}

/// `conclave verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Data folders, locks, definitions, deposit files, keystores, transcripts, evidence; in the variable one a line
    #[arg(required = true, env = "CONCLAVE_VERIFY", value_delimiter = '\n', value_parser = given::path(), value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    /// A file with the password of the keystores [default: the .txt beside each]
    #[arg(long, env = "CONCLAVE_PASSWORD_FILE", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub password_file: Option<PathBuf>,
    /// Wallets that are contracts.
    #[command(flatten)]
    pub wallets: ContractWallets,
    /// A network that is not known here.
    #[command(flatten)]
    pub own_network: OwnNetwork,
}

/// `conclave run`.
#[derive(Debug, Args)]
#[command(
    mut_arg("beacon_nodes", |nodes| {
        nodes
            .help(
                "Your beacon node, such as http://localhost:5052; once for each of several, in order of preference (in the \
                 variable one a line)",
            )
            .required(true)
    }),
    mut_arg("peers", |peers| {
        peers.help("A complete address of another operator, where those of the ceremony are no longer right")
    })
)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct RunArgs {
    /// Where the chain is told.
    #[command(flatten)]
    pub beacon: BeaconNodes,
    /// Where the others are.
    #[command(flatten)]
    pub reach: Reach,
    /// Log into this file, which is appended to [default: warnings on standard error]; CONCLAVE_LOG says what
    #[arg(long, env = "CONCLAVE_LOG_FILE", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub log_file: Option<PathBuf>,
    /// Begin with an empty slashing protection database: only for a share that never signed anything
    #[arg(long, env = "CONCLAVE_NEW_SLASHING_DATABASE", value_parser = Switch)]
    pub new_slashing_database: bool,
    /// Of the restored folder with this number: say that the original can never start again, without being asked. A start without it
    /// tells the number
    #[arg(long, env = "CONCLAVE_ORIGINAL_IS_GONE", value_name = "NUMBER")]
    pub original_is_gone: Option<String>,
    /// Of a folder that was restored from a backup: do not wait for this operator (its name, or its number: '#2', in quotes), who is gone too; once for each of
    /// several (in the variable one a line). As many others as make a signature together must answer all the same
    #[arg(long, env = "CONCLAVE_WITHOUT", value_name = "NAME", value_delimiter = '\n')]
    pub without: Vec<String>,
    /// Take blocks of external builders too (blinded blocks), and register the validators with them
    #[arg(long, env = "CONCLAVE_BUILDER", value_parser = Switch)]
    pub builder: bool,
    /// What your blocks say: up to 32 bytes
    #[arg(
        long,
        env = "CONCLAVE_GRAFFITI",
        value_name = "TEXT",
        default_value = "conclave"
    )]
    pub graffiti: String,
    /// Where to show the status page, /metrics and /health: an IP address and a port, or none
    #[arg(
        long,
        env = "CONCLAVE_MONITORING_ADDRESS",
        value_name = "ADDR",
        default_value = "127.0.0.1:3620"
    )]
    pub monitoring_address: MonitoringAddress,
    /// Watch without signing: no votes, no partial signatures, no slashing protection
    #[arg(long, env = "CONCLAVE_DRY_RUN", value_parser = Switch)]
    pub dry_run: bool,
    /// A network that is not known here.
    #[command(flatten)]
    pub own_network: OwnNetwork,
}

/// `conclave exit`.
#[derive(Debug, Args)]
#[command(mut_arg("beacon_nodes", |nodes| {
    nodes.help("A beacon node, for --partial-out and --submit; a running node has its own")
}))]
pub struct ExitArgs {
    /// The public key of a validator of the lock; several one after the other [default: the only one]
    #[arg(
        long = "validator",
        env = "CONCLAVE_EXIT_VALIDATORS",
        value_name = "KEY",
        value_delimiter = ',',
        value_parser = given::keys()
    )]
    pub validators: Vec<Several<String>>,
    /// All validators of the lock that can still exit
    #[arg(long, env = "CONCLAVE_EXIT_ALL", conflicts_with_all = ["validators", "combine", "validator_index"], value_parser = Switch)]
    pub all: bool,
    /// The exit is valid from this epoch on; all who consent must say the same
    #[arg(long, env = "CONCLAVE_EXIT_EPOCH", value_name = "EPOCH", default_value_t = 0, value_parser = given::number::<u64>)]
    pub epoch: u64,
    /// Sign into this new file, without a running node; t such files make the exit. In a folder, one file for each validator
    #[arg(long, env = "CONCLAVE_EXIT_PARTIAL_OUT", value_name = "FILE|DIR", conflicts_with = "combine", value_hint = ValueHint::AnyPath)]
    pub partial_out: Option<PathBuf>,
    /// The validator's index on the chain, where no beacon node is asked; only with --partial-out
    #[arg(long, env = "CONCLAVE_EXIT_VALIDATOR_INDEX", value_name = "INDEX", value_parser = given::number::<u64>)]
    pub validator_index: Option<u64>,
    /// Parts that came as files: the node that runs in this folder takes them in and tells the others; without one, or
    /// with --out or --submit, at least t parts make the signed exit here, those that a node received counted
    #[arg(long, env = "CONCLAVE_EXIT_COMBINE", value_name = "FILE", num_args = 1.., value_delimiter = '\n', value_parser = given::path(), value_hint = ValueHint::FilePath)]
    pub combine: Vec<PathBuf>,
    /// The new file for the signed exit [default: in the folder exits of the data folder]
    #[arg(long, env = "CONCLAVE_EXIT_OUT", value_name = "FILE", requires = "combine", value_hint = ValueHint::FilePath)]
    pub out: Option<PathBuf>,
    /// Give the combined exit to the beacon node
    #[arg(long, env = "CONCLAVE_EXIT_SUBMIT", requires = "combine", value_parser = Switch)]
    pub submit: bool,
    /// Where the chain is told.
    #[command(flatten)]
    pub beacon: BeaconNodes,
    /// A network that is not known here.
    #[command(flatten)]
    pub own_network: OwnNetwork,
    /// Consent without being asked
    #[arg(long, env = "CONCLAVE_YES", value_parser = Switch)]
    pub yes: bool,
}

/// `conclave backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The new file, or the folder for it: not in the data folder
    #[arg(env = "CONCLAVE_ARCHIVE", value_name = "FILE|DIR", value_hint = ValueHint::AnyPath)]
    pub file: PathBuf,
    /// What the archive is encrypted with.
    #[command(flatten)]
    pub password: ArchivePassword,
    /// A network that is not known here.
    #[command(flatten)]
    pub own_network: OwnNetwork,
}

/// `conclave export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The new file, or the folder for it
    #[arg(env = "CONCLAVE_ARCHIVE", value_name = "FILE|DIR", value_hint = ValueHint::AnyPath)]
    pub file: PathBuf,
    /// What the archive is encrypted with.
    #[command(flatten)]
    pub password: ArchivePassword,
    /// A network that is not known here.
    #[command(flatten)]
    pub own_network: OwnNetwork,
    /// Retire the folder without being asked
    #[arg(long, env = "CONCLAVE_YES", value_parser = Switch)]
    pub yes: bool,
}

/// `conclave import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The archive; the data folder must be empty or new
    #[arg(env = "CONCLAVE_ARCHIVE", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// What the archive is encrypted with.
    #[command(flatten)]
    pub password: ArchivePassword,
    /// A network that is not known here.
    #[command(flatten)]
    pub own_network: OwnNetwork,
}

/// `conclave status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show nothing, and tell by the exit code whether it is so: 0 if it is
    #[arg(long, env = "CONCLAVE_STATUS_IS", value_name = "WHAT", value_enum)]
    pub is: Option<Is>,
}

/// What a running node can be asked about itself by programs that look only at exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Is {
    /// It can do its part, or merely waits as after every start: what /health says
    Healthy,
    /// Its own work goes on, whatever it can do for the group: what /health/live says
    Live,
}

/// `conclave slashing-protection`.
#[derive(Debug, Subcommand)]
pub enum SlashingCommand {
    /// Take over a file of another client: records are only ever raised; makes the database if there is none
    Import(SlashingImportArgs),
    /// Write everything that these shares have signed into a new file
    Export(SlashingArgs),
}

/// `conclave slashing-protection import`.
#[derive(Debug, Args)]
pub struct SlashingImportArgs {
    /// What to do with entries of the file that lie in the future, which refuse it otherwise: keep them (those keys sign
    /// nothing until that time has come) or drop them (only if they are certainly wrong)
    #[arg(long, env = "CONCLAVE_IMPORT_FUTURE", value_name = "WORD")]
    pub future: Option<FutureWord>,
    /// What both have.
    #[command(flatten)]
    pub common: SlashingArgs,
}

/// What becomes of entries that cannot have been signed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FutureWord {
    /// They were really signed: take them over.
    Keep,
    /// They are wrong: leave them out.
    Drop,
}

/// `conclave slashing-protection import` and `export`.
#[derive(Debug, Args)]
pub struct SlashingArgs {
    /// An EIP-3076 interchange file, version 5
    #[arg(env = "CONCLAVE_INTERCHANGE_FILE", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// A network that is not known here.
    #[command(flatten)]
    pub own_network: OwnNetwork,
}

/// Reads `90s`, `30m`, `2h`, `1d` or whole seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("use s, m, h or d, for example 30m".to_owned()),
    };
    let count: u64 = digits
        .parse()
        .map_err(|_| "give a whole number and a unit, for example 30m".to_owned())?;
    let seconds = count
        .checked_mul(unit)
        .filter(|seconds| *seconds <= 10 * 365 * 86_400);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "that is more than ten years: leave it out".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_exit_codes_of_the_help_of_the_reference_and_of_the_program_are_the_same() {
        use std::collections::BTreeSet;

        use conclave_ceremony::problem::Kind;
        /// Codes with which a shell tells of a signal.
        const SIGNALS: [u8; 4] = [129, 131, 137, 143];

        let help = Cli::command().get_after_help().unwrap().to_string();
        let numbers = |text: &str| -> Vec<u8> {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric());
            words.filter_map(|word| word.parse().ok()).collect()
        };
        // `run` ends with 0 after an interruption, which says it twice.
        let in_help: BTreeSet<u8> = numbers(&help).into_iter().collect();
        let reference = include_str!("../../docs/reference.md");
        let table = reference.split("| Exit code | Meaning |").nth(1).unwrap();
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let mut in_reference: Vec<u8> = rows
            .flat_map(|row| numbers(row.split('|').nth(1).unwrap()))
            .collect();
        let mut all: Vec<u8> = Kind::ALL.iter().map(|kind| kind.exit_code()).chain([0]).collect();
        all.extend(SIGNALS);
        all.sort_unstable();
        in_reference.sort_unstable();
        assert_eq!(in_reference, all, "once each");
        assert_eq!(in_help.into_iter().collect::<Vec<_>>(), all, "{help}");
    }

    #[test]
    fn every_flag_has_an_environment_variable_and_passwords_have_no_flag() {
        fn look(command: &clap::Command) {
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                if ["help", "version", "shell"].contains(&id) {
                    continue;
                }
                let variable = argument
                    .get_env()
                    .unwrap_or_else(|| panic!("{id} of {}", command.get_name()));
                assert!(variable.to_str().unwrap().starts_with("CONCLAVE_"));
                assert!(!id.contains("password") || id == "password_file");
            }
            command.get_subcommands().for_each(look);
        }
        look(&Cli::command());
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in [
            "",
            "h",
            "-1s",
            "1w",
            "1.5h",
            "99999999999999999999s",
            "18446744073709551615d",
            "1é",
            "é",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
