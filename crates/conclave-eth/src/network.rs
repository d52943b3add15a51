//! Networks: what signatures, wallets and deposit files depend on.
//!
//! A definition names its network by the genesis fork version alone. What else depends on the network is known
//! here for the public ones and comes from a small TOML file for all others ([`Network::from_toml`]).

use std::borrow::Cow;

use serde::Deserialize;

use crate::recognise::why_no_toml;

/// Most bytes that a network file may have.
pub const MAX_FILE_BYTES: usize = 16 * 1024;

/// Most characters that the name of a custom network may have.
const MAX_NAME: usize = 32;
/// The last second of the year 9999: anything later is a mistake.
const MAX_TIME: u64 = 253_402_300_799;
/// No chain has slots of more than an hour.
const MAX_SLOT_SECONDS: u64 = 3600;
/// Most slots that an epoch may have; no preset has more.
pub const MAX_SLOTS_PER_EPOCH: u64 = 1024;

/// The one known network whose registrations were signed with another time than that of its genesis.
const HOLESKY_VERSION: [u8; 4] = [0x01, 0x01, 0x70, 0x00];
/// When that network's chain began.
const HOLESKY_START: u64 = 1_695_902_400;

/// A network, known or custom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The name as deposit files spell it, for example `mainnet`.
    pub name: Cow<'static, str>,
    /// The chain id of the execution layer (EIP-155); wallet signatures depend on it.
    pub chain_id: u64,
    /// `GENESIS_FORK_VERSION`, 4 bytes: deposits and registrations are signed for it.
    pub genesis_fork_version: [u8; 4],
    /// Genesis in Unix seconds: the timestamp of builder registrations.
    pub genesis_time: u64,
    /// `CAPELLA_FORK_VERSION`, 4 bytes: voluntary exits are signed for it for ever (EIP-7044).
    pub capella_fork_version: [u8; 4],
    /// Length of a slot in seconds.
    pub slot_seconds: u64,
    /// `SLOTS_PER_EPOCH`; none if a network file does not say it.
    pub slots_per_epoch: Option<u64>,
    /// `genesis_validators_root`, 32 bytes. A new chain's may depend on keys that a ceremony has yet to make.
    pub genesis_validators_root: Option<[u8; 32]>,
    /// Whether deposits on it cost real money: mainnet and Gnosis.
    pub real_money: bool,
    /// Whether the network is shut down: its files are read and verified, but no new ceremony is held for it.
    pub read_only: bool,
}

/// Why a network is refused. The text of the error has three lines: what, why, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// No known network has this name.
    #[error(
        "The network \"{name}\" is not known.\n\
         Known networks are {known}.\n\
         Choose one of these, or describe your own with --network-file."
    )]
    UnknownName {
        /// What was asked for, cut to a sane length.
        name: String,
        /// The names there are.
        known: String,
    },
    /// No known network has this genesis fork version.
    #[error(
        "The genesis fork version 0x{} is not one of a known network.\n\
         What is signed depends on values of the network that only a network file can tell.\n\
         Give the file that describes it with --network-file.",
        hex::encode(.0)
    )]
    UnknownForkVersion([u8; 4]),
    /// The network is shut down.
    #[error(
        "The network {0} is shut down.\n\
         Its files can still be read and verified, but a new validator there could never start.\n\
         Choose another network, for example hoodi for tests."
    )]
    ReadOnly(String),
    /// The file cannot be read as a network.
    #[error(
        "The network file is not usable.\n\
         {0}.\n\
         It must be TOML with name, genesis_fork_version, capella_fork_version, chain_id, genesis_time, \
         slot_seconds and, if they are known, genesis_validators_root and slots_per_epoch; nothing else."
    )]
    File(String),
    /// The file says something else about a known network than what is known.
    #[error(
        "The network file contradicts what is known of {known}.\n\
         It has the same {field}, but other values.\n\
         For {known} itself leave the network file out; another network needs another {field}."
    )]
    Contradiction {
        /// The known network.
        known: String,
        /// What is the same.
        field: &'static str,
    },
}

/// Every network that is known without a file.
static KNOWN: [Network; 7] = [
    Network {
        name: Cow::Borrowed("mainnet"),
        chain_id: 1,
        genesis_fork_version: [0x00, 0x00, 0x00, 0x00],
        genesis_time: 1_606_824_023,
        capella_fork_version: [0x03, 0x00, 0x00, 0x00],
        slot_seconds: 12,
        slots_per_epoch: Some(32),
        genesis_validators_root: Some(root(
            "4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95",
        )),
        real_money: true,
        read_only: false,
    },
    Network {
        name: Cow::Borrowed("gnosis"),
        chain_id: 100,
        genesis_fork_version: [0x00, 0x00, 0x00, 0x64],
        genesis_time: 1_638_993_340,
        capella_fork_version: [0x03, 0x00, 0x00, 0x64],
        slot_seconds: 5,
        slots_per_epoch: Some(16),
        genesis_validators_root: Some(root(
            "f5dcb5564e829aab27264b9becd5dfaa017085611224cb3036f573368dbb9d47",
        )),
        real_money: true,
        read_only: false,
    },
    Network {
        name: Cow::Borrowed("hoodi"),
        chain_id: 560_048,
        genesis_fork_version: [0x10, 0x00, 0x09, 0x10],
        genesis_time: 1_742_213_400,
        capella_fork_version: [0x40, 0x00, 0x09, 0x10],
        slot_seconds: 12,
        slots_per_epoch: Some(32),
        genesis_validators_root: Some(root(
            "212f13fc4df078b6cb7db228f1c8307566dcecf900867401a92023d7ba99cb5f",
        )),
        real_money: false,
        read_only: false,
    },
    Network {
        name: Cow::Borrowed("sepolia"),
        chain_id: 11_155_111,
        genesis_fork_version: [0x90, 0x00, 0x00, 0x69],
        genesis_time: 1_655_733_600,
        capella_fork_version: [0x90, 0x00, 0x00, 0x72],
        slot_seconds: 12,
        slots_per_epoch: Some(32),
        genesis_validators_root: Some(root(
            "d8ea171f3c94aea21ebc42a1ed61052acf3f9209c00e4efbaaddac09ed9b8078",
        )),
        real_money: false,
        read_only: false,
    },
    Network {
        name: Cow::Borrowed("chiado"),
        chain_id: 10_200,
        genesis_fork_version: [0x00, 0x00, 0x00, 0x6f],
        genesis_time: 1_665_396_300,
        capella_fork_version: [0x03, 0x00, 0x00, 0x6f],
        slot_seconds: 5,
        slots_per_epoch: Some(16),
        genesis_validators_root: Some(root(
            "9d642dac73058fbf39c0ae41ab1e34e4d889043cb199851ded7095bc99eb4c1e",
        )),
        real_money: false,
        read_only: false,
    },
    Network {
        name: Cow::Borrowed("holesky"),
        chain_id: 17_000,
        genesis_fork_version: [0x01, 0x01, 0x70, 0x00],
        // What registrations in existing files were signed with; the chain itself began at 1695902400.
        genesis_time: 1_696_000_704,
        capella_fork_version: [0x04, 0x01, 0x70, 0x00],
        slot_seconds: 12,
        slots_per_epoch: Some(32),
        genesis_validators_root: Some(root(
            "9143aa7c615a7f7115e2b6aac319c03529df8242ae705fba9df39b79c59fa8b1",
        )),
        real_money: false,
        read_only: true,
    },
    Network {
        name: Cow::Borrowed("goerli"),
        chain_id: 5,
        genesis_fork_version: [0x00, 0x00, 0x10, 0x20],
        genesis_time: 1_616_508_000,
        capella_fork_version: [0x03, 0x00, 0x10, 0x20],
        slot_seconds: 12,
        slots_per_epoch: Some(32),
        genesis_validators_root: Some(root(
            "043db0d9a83813551ee2f33450d23797757d430911a9320530ad8a0eabc43efb",
        )),
        real_money: false,
        read_only: true,
    },
];

/// Further names under which a known network goes: nobody else may take them.
const RESERVED: [&str; 4] = ["prater", "ethereum", "goerli-prater", "main"];

impl Network {
    /// All networks that are known without a file, real money first and those shut down last.
    pub fn known() -> &'static [Self] {
        &KNOWN
    }

    /// The known network of this name, in capitals or not.
    ///
    /// # Errors
    /// [`NetworkError::UnknownName`] names the networks there are.
    pub fn by_name(name: &str) -> Result<&'static Self, NetworkError> {
        KNOWN
            .iter()
            .find(|network| network.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| NetworkError::UnknownName {
                name: crate::text::line(name, 64),
                known: KNOWN
                    .iter()
                    .filter(|n| !n.read_only)
                    .map(|n| n.name.as_ref())
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    /// The known network of this genesis fork version (4 bytes).
    ///
    /// # Errors
    /// [`NetworkError::UnknownForkVersion`]: a network file is needed.
    pub fn by_fork_version(version: [u8; 4]) -> Result<&'static Self, NetworkError> {
        KNOWN
            .iter()
            .find(|network| network.genesis_fork_version == version)
            .ok_or(NetworkError::UnknownForkVersion(version))
    }

    /// When slot 0 began or begins, in Unix seconds.
    pub fn chain_start(&self) -> u64 {
        if self.genesis_fork_version == HOLESKY_VERSION {
            HOLESKY_START
        } else {
            self.genesis_time
        }
    }

    /// The slot at a time in Unix seconds; none before genesis.
    pub fn slot_at(&self, unix_seconds: u64) -> Option<u64> {
        Some(unix_seconds.checked_sub(self.chain_start())? / self.slot_seconds)
    }

    /// Refuses networks for which no new ceremony is held.
    ///
    /// # Errors
    /// [`NetworkError::ReadOnly`] when the network is shut down.
    pub fn accepts_ceremonies(&self) -> Result<(), NetworkError> {
        if self.read_only {
            Err(NetworkError::ReadOnly(self.name.to_string()))
        } else {
            Ok(())
        }
    }

    /// Reads a network file (TOML): `name`, `genesis_fork_version`, `capella_fork_version`, `chain_id`,
    /// `genesis_time`, `slot_seconds` and optionally `genesis_validators_root` and `slots_per_epoch`.
    ///
    /// A file that says exactly what is known of a known network gives that network.
    ///
    /// # Errors
    /// [`NetworkError::File`] for unknown keys and values out of range, [`NetworkError::Contradiction`] when the
    /// file claims the name or a fork version of a known network with other values: what is signed under it
    /// would be valid there.
    pub fn from_toml(text: &str) -> Result<Self, NetworkError> {
        if text.len() > MAX_FILE_BYTES {
            return Err(NetworkError::File(format!(
                "It has more than {MAX_FILE_BYTES} bytes"
            )));
        }
        let file: File = toml::from_str(text).map_err(|error| {
            let why = why_no_toml(text, &error);
            let (first, rest) = why.split_at(1);
            NetworkError::File(first.to_ascii_uppercase() + rest)
        })?;
        file.into_network()
    }

    /// Compares a custom network with the known ones; gives the known one when nothing differs.
    fn distinct(self) -> Result<Self, NetworkError> {
        let reserved = RESERVED.contains(&self.name.as_ref());
        if reserved {
            return Err(NetworkError::File(format!(
                "The name \"{}\" is that of another network",
                self.name
            )));
        }
        for known in &KNOWN {
            let same = Self {
                // These may be left out of a file.
                genesis_validators_root: self.genesis_validators_root.or(known.genesis_validators_root),
                slots_per_epoch: self.slots_per_epoch.or(known.slots_per_epoch),
                real_money: known.real_money,
                read_only: known.read_only,
                ..self.clone()
            };
            if same == *known {
                return Ok(known.clone());
            }
            let versions = [known.genesis_fork_version, known.capella_fork_version];
            let field = if known.name == self.name {
                "name"
            } else if versions.contains(&self.genesis_fork_version) {
                "genesis fork version"
            } else if versions.contains(&self.capella_fork_version) {
                "capella fork version"
            } else if self
                .genesis_validators_root
                .is_some_and(|root| known.genesis_validators_root == Some(root))
            {
                "genesis validators root"
            } else {
                continue;
            };
            return Err(NetworkError::Contradiction {
                known: known.name.to_string(),
                field,
            });
        }
        Ok(self)
    }
}

/// A network file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    genesis_fork_version: String,
    capella_fork_version: String,
    chain_id: u64,
    genesis_time: u64,
    slot_seconds: u64,
    slots_per_epoch: Option<u64>,
    genesis_validators_root: Option<String>,
}

impl File {
    fn into_network(self) -> Result<Network, NetworkError> {
        let refuse = |why: String| Err(NetworkError::File(why));
        let sane = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if self.name.is_empty() || self.name.len() > MAX_NAME || !self.name.chars().all(sane) {
            return refuse(format!(
                "The name must be 1 to {MAX_NAME} lower-case letters, digits, - or _"
            ));
        }
        for (key, value, max) in [
            // Software that reads numbers as floating point is exact up to here.
            ("chain_id", self.chain_id, (1 << 53) - 1),
            ("genesis_time", self.genesis_time, MAX_TIME),
            ("slot_seconds", self.slot_seconds, MAX_SLOT_SECONDS),
            (
                "slots_per_epoch",
                self.slots_per_epoch.unwrap_or(1),
                MAX_SLOTS_PER_EPOCH,
            ),
        ] {
            if value == 0 || value > max {
                return refuse(format!("{key} must be between 1 and {max}, not {value}"));
            }
        }
        Network {
            genesis_fork_version: hex_value("genesis_fork_version", &self.genesis_fork_version)?,
            capella_fork_version: hex_value("capella_fork_version", &self.capella_fork_version)?,
            genesis_validators_root: self
                .genesis_validators_root
                .map(|text| hex_value("genesis_validators_root", &text))
                .transpose()?,
            name: Cow::Owned(self.name),
            chain_id: self.chain_id,
            genesis_time: self.genesis_time,
            slot_seconds: self.slot_seconds,
            slots_per_epoch: self.slots_per_epoch,
            real_money: false,
            read_only: false,
        }
        .distinct()
    }
}

/// Reads `0x` and exactly N bytes in hexadecimal.
fn hex_value<const N: usize>(key: &str, text: &str) -> Result<[u8; N], NetworkError> {
    let mut bytes = [0; N];
    match text
        .strip_prefix("0x")
        .map(|digits| hex::decode_to_slice(digits, &mut bytes))
    {
        Some(Ok(())) => Ok(bytes),
        _ => Err(NetworkError::File(format!(
            "{key} must be 0x and {} hexadecimal digits, in quotes",
            2 * N
        ))),
    }
}

/// Decodes a constant root when the program is compiled, where a mistake cannot be missed.
const fn root(text: &str) -> [u8; 32] {
    const fn digit(byte: u8) -> u8 {
        match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => panic!("not a digit"),
        }
    }
    let text = text.as_bytes();
    assert!(text.len() == 64, "a root has 32 bytes");
    let mut bytes = [0; 32];
    let mut i = 0;
    while i < 32 {
        bytes[i] = digit(text[2 * i]) << 4 | digit(text[2 * i + 1]);
        i += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const KURTOSIS: &str = r#"
name = "kurtosis"
genesis_fork_version = "0x10000038"
capella_fork_version = "0x40000038"
chain_id = 3151908
genesis_time = 1750000000
slot_seconds = 12
"#;

    fn with(old: &str, new: &str) -> Result<Network, NetworkError> {
        assert!(KURTOSIS.contains(old), "{old}");
        Network::from_toml(&KURTOSIS.replace(old, new))
    }

    #[test]
    fn known_networks_are_distinct_and_found() {
        let mut seen = HashSet::new();
        for network in Network::known() {
            assert_eq!(Network::by_name(&network.name).unwrap(), network);
            assert_eq!(
                Network::by_fork_version(network.genesis_fork_version).unwrap(),
                network
            );
            assert!(seen.insert(network.genesis_fork_version));
            assert!(seen.insert(network.capella_fork_version));
            assert!(network.genesis_validators_root.is_some());
        }
        let real: Vec<_> = Network::known()
            .iter()
            .filter(|n| n.real_money)
            .map(|n| n.name.as_ref())
            .collect();
        assert_eq!(real, ["mainnet", "gnosis"]);
        let closed: Vec<_> = Network::known()
            .iter()
            .filter(|n| n.read_only)
            .map(|n| n.name.as_ref())
            .collect();
        assert_eq!(closed, ["holesky", "goerli"]);
        assert!(Network::by_name("hoodi").unwrap().accepts_ceremonies().is_ok());
        assert!(Network::by_name("holesky").unwrap().accepts_ceremonies().is_err());
    }

    #[test]
    fn unknown_networks_are_refused_with_the_known_ones() {
        let error = Network::by_name("Mainnet\u{1b}[2J").unwrap_err().to_string();
        assert!(error.contains("hoodi") && !error.contains("holesky") && !error.contains('\u{1b}'));
        assert!(
            Network::by_fork_version([1, 2, 3, 4])
                .unwrap_err()
                .to_string()
                .contains("0x01020304")
        );
    }

    #[test]
    fn a_network_file_is_read() {
        let network = Network::from_toml(KURTOSIS).unwrap();
        assert_eq!(network.name, "kurtosis");
        assert_eq!(network.genesis_fork_version, [0x10, 0, 0, 0x38]);
        assert_eq!(
            (network.chain_id, network.genesis_time),
            (3_151_908, 1_750_000_000)
        );
        assert_eq!(network.genesis_validators_root, None);
        assert!(!network.real_money && !network.read_only);
        let root = format!(
            "slot_seconds = 12\ngenesis_validators_root = \"0x{}\"",
            "ab".repeat(32)
        );
        assert_eq!(
            with("slot_seconds = 12", &root).unwrap().genesis_validators_root,
            Some([0xab; 32])
        );
    }

    #[test]
    fn a_wrong_network_file_is_refused() {
        for (old, new) in [
            ("chain_id = 3151908", ""),
            ("chain_id = 3151908", "chain_id = 0"),
            ("chain_id = 3151908", "chain_id = -1"),
            ("chain_id = 3151908", "chain_id = \"1\""),
            ("chain_id = 3151908", "chain_id = 9007199254740992"),
            ("slot_seconds = 12", "slot_seconds = 12\nslots = 3"),
            ("slot_seconds = 12", "slot_seconds = 3601"),
            ("slot_seconds = 12", "slot_seconds = 0"),
            ("genesis_time = 1750000000", "genesis_time = 253402300800"),
            ("\"0x10000038\"", "\"10000038\""),
            ("\"0x10000038\"", "\"0x1000003\""),
            ("\"0x10000038\"", "\"0x1000003800\""),
            ("\"0x10000038\"", "\"0x1000003g\""),
            ("\"kurtosis\"", "\"\""),
            ("\"kurtosis\"", "\"Kurtosis\""),
            ("\"kurtosis\"", "\"kurt osis\""),
            ("\"kurtosis\"", "\"prater\""),
            ("\"kurtosis\"", "\"kurtosiskurtosiskurtosiskurtosis1\""),
            ("name", "[name"),
        ] {
            let error = with(old, new).unwrap_err();
            assert!(matches!(error, NetworkError::File(_)), "{new}: {error:?}");
            assert_eq!(error.to_string().lines().count(), 3, "{error}");
        }
        let long = format!("{KURTOSIS}#{}", "x".repeat(MAX_FILE_BYTES));
        assert!(Network::from_toml(&long).is_err());
        assert!(
            with("slot_seconds = 12", "slots = 3")
                .unwrap_err()
                .to_string()
                .contains("Line 7")
        );
    }

    #[test]
    fn a_file_cannot_pose_as_a_known_network() {
        for (old, new) in [
            ("\"kurtosis\"", "\"mainnet\""),
            ("\"kurtosis\"", "\"holesky\""),
            ("\"0x10000038\"", "\"0x00000000\""),
            ("\"0x10000038\"", "\"0x10000910\""),
            ("\"0x10000038\"", "\"0x03000000\""),
            ("\"0x40000038\"", "\"0x03000000\""),
            (
                "slot_seconds = 12",
                "slot_seconds = 12\ngenesis_validators_root = \"0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95\"",
            ),
        ] {
            let error = with(old, new).unwrap_err();
            assert!(
                matches!(error, NetworkError::Contradiction { .. }),
                "{new}: {error:?}"
            );
        }
    }

    #[test]
    fn a_file_that_repeats_what_is_known_gives_the_known_network() {
        let text = r#"
name = "mainnet"
genesis_fork_version = "0x00000000"
capella_fork_version = "0x03000000"
chain_id = 1
genesis_time = 1606824023
slot_seconds = 12
"#;
        assert_eq!(
            &Network::from_toml(text).unwrap(),
            Network::by_name("mainnet").unwrap()
        );
        assert!(Network::from_toml(&text.replace("1606824023", "1606824024")).is_err());
    }
}
