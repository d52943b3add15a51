//! Keystores: secret keys encrypted under a password (EIP-2335, version 4).
//!
//! Deriving the key from the password is slow on purpose and does not need the secret. So it is a step of its own:
//! [`Derived::new`] can run long before there is a share, and [`Keystore::seal`] takes microseconds. With the
//! derived key still in memory [`Keystore::open_with`] checks what was written without deriving it again.
//!
//! A keystore from outside chooses how much time and memory its derivation takes, so both are bounded when it is
//! read ([`Keystore::from_json`]).

use aes::cipher::{KeyIvInit as _, StreamCipher as _};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use unicode_normalization::{UnicodeNormalization as _, char::canonical_combining_class};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::json;
use crate::recognise::{Content, without_bom};
use conclave_crypto::{
    bls::SecretKey,
    hash::sha256,
    pbkdf2::{self, LANES, Lane},
};

/// The path in every share's keystore. A share is not derived from a seed, so it says nothing; other software
/// wants one to be there.
pub const SHARE_PATH: &str = "m/12381/3600/0/0/0";
/// Most bytes that a keystore file may have.
pub const MAX_FILE_BYTES: usize = 64 * 1024;
/// Most bytes that a password may have before normalisation.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// PBKDF2 rounds that are written: what EIP-2335 shows and other tools write.
const PBKDF2_ROUNDS: u32 = 262_144;
/// Most PBKDF2 rounds that are accepted: about two seconds.
const MAX_PBKDF2_ROUNDS: u32 = 1 << 24;
/// scrypt parameters that are written, those of EIP-2335: 256 MiB of memory.
const SCRYPT: (u8, u32, u32) = (18, 8, 1);
/// Most memory that scrypt may take, in bytes.
const MAX_SCRYPT_MEMORY: u64 = 1 << 30;
/// Most work (n * r * p) that scrypt may take: eight times what is written.
const MAX_SCRYPT_WORK: u64 = 1 << 24;
/// Largest block size r and parallelism p of scrypt; both are small in every sane keystore.
const MAX_SCRYPT_R: u32 = 64;
const MAX_SCRYPT_P: u32 = 64;
/// Longest salt that is accepted, in bytes.
const MAX_SALT: usize = 256;
/// Largest dklen that is accepted. Only the first 32 bytes are ever used; both functions are such that these do
/// not depend on how many follow.
const MAX_DKLEN: u32 = 1024;

/// A password, normalised as EIP-2335 says: NFKD, without control characters (so a newline at the end of a file
/// does not count). Wiped from memory when dropped; it cannot be printed.
#[derive(ZeroizeOnDrop)]
pub struct Password(String);

impl Password {
    /// The password as old releases of the keystore library that Go programs use took it, if that is something else: they
    /// dropped all marks over and under letters.
    fn without_marks(&self) -> Option<Self> {
        let plain = || self.0.chars().filter(|c| canonical_combining_class(*c) == 0);
        let length = plain().map(char::len_utf8).sum();
        if length == self.0.len() || length == 0 {
            return None;
        }
        let mut password = Self(String::with_capacity(length));
        password.0.extend(plain());
        Some(password)
    }
}

/// Why a text is not taken as a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Nothing is left after normalisation.
    #[error("the password is empty")]
    Empty,
    /// Longer than [`MAX_PASSWORD_BYTES`].
    #[error("the password has more than {MAX_PASSWORD_BYTES} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("the password is not UTF-8 text")]
    NotText,
}

impl Password {
    /// A password that a person chose.
    ///
    /// # Errors
    /// [`PasswordError`] when it is empty or too long.
    pub fn new(text: &str) -> Result<Self, PasswordError> {
        if text.len() > MAX_PASSWORD_BYTES {
            return Err(PasswordError::TooLong);
        }
        let normal = || text.nfkd().filter(|c| !c.is_control());
        // Room for all of it at once: growing would leave copies behind in freed memory.
        let mut password = Self(String::with_capacity(normal().map(char::len_utf8).sum()));
        password.0.extend(normal());
        if password.0.is_empty() {
            Err(PasswordError::Empty)
        } else {
            Ok(password)
        }
    }

    /// The content of a password file; a byte order mark before it is none of its characters.
    ///
    /// # Errors
    /// [`PasswordError`] when it is empty, too long or not UTF-8.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PasswordError> {
        Self::new(std::str::from_utf8(without_bom(bytes)).map_err(|_| PasswordError::NotText)?)
    }

    /// A password made of 16 random bytes of the operating system: 32 hexadecimal characters.
    pub fn random_hex(random: &[u8; 16]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(32);
        for byte in random {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        Self(text)
    }

    /// The password as it goes into its file, without a newline. Never show it, never log it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// With which function a key is derived from a password, with the parameters that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kdf {
    /// PBKDF2 with HMAC-SHA-256, 262,144 rounds.
    #[default]
    Pbkdf2,
    /// scrypt with n = 2^18, r = 8, p = 1: 256 MiB.
    Scrypt,
}

/// Parameters of a derivation, within the bounds above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Params {
    Pbkdf2 { rounds: u32 },
    Scrypt { log_n: u8, r: u32, p: u32 },
}

impl From<Kdf> for Params {
    fn from(kdf: Kdf) -> Self {
        let (log_n, r, p) = SCRYPT;
        match kdf {
            Kdf::Pbkdf2 => Self::Pbkdf2 {
                rounds: PBKDF2_ROUNDS,
            },
            Kdf::Scrypt => Self::Scrypt { log_n, r, p },
        }
    }
}

/// The key derived from a password: 32 bytes, wiped when dropped. Half encrypts, half makes the checksum.
pub struct Derived {
    key: Zeroizing<[u8; 32]>,
    params: Params,
    salt: Vec<u8>,
}

impl Derived {
    /// Derives the key. Takes tens of milliseconds of one core with PBKDF2, and half a second and 256 MiB with
    /// scrypt: call it on rayon, never on the async executor. `salt` is random, fresh for every keystore.
    pub fn new(password: &Password, kdf: Kdf, salt: [u8; 32]) -> Self {
        Self::one(password, kdf.into(), salt.to_vec())
    }

    fn one(password: &Password, params: Params, salt: Vec<u8>) -> Self {
        let key = Self::keys(params, &[(password, &salt)]).swap_remove(0);
        Self { key, params, salt }
    }

    /// Derives several keys, each from its own password and salt. With PBKDF2, [`LANES`] of them at a time cost little more
    /// than half as much each as one alone; more are for other cores.
    pub fn several(given: &[(Password, [u8; 32])], kdf: Kdf) -> Vec<Self> {
        let pairs: Vec<(&Password, &[u8])> = given
            .iter()
            .map(|(password, salt)| (password, salt.as_slice()))
            .collect();
        let derived = Self::keys(kdf.into(), &pairs).into_iter().zip(given);
        derived
            .map(|(key, (_, salt))| Self {
                key,
                params: kdf.into(),
                salt: salt.to_vec(),
            })
            .collect()
    }

    fn keys(params: Params, given: &[(&Password, &[u8])]) -> Vec<Zeroizing<[u8; 32]>> {
        let bytes = given
            .iter()
            .map(|(password, salt)| (password.0.as_bytes(), *salt));
        match params {
            Params::Pbkdf2 { rounds } => {
                let lanes: Vec<Lane<'_>> = bytes.map(|(password, salt)| Lane { password, salt }).collect();
                pbkdf2::derive(&lanes, rounds)
            }
            Params::Scrypt { log_n, r, p } => {
                // The bounds that `Params` keeps are far within those of scrypt itself.
                let params = scrypt::Params::new(log_n, r, p).expect("bounded scrypt parameters");
                bytes
                    .map(|(password, salt)| {
                        let mut key = Zeroizing::new([0; 32]);
                        scrypt::scrypt(password, salt, &params, &mut *key).expect("32 bytes can be derived");
                        key
                    })
                    .collect()
            }
        }
    }

    /// En- or decrypts: AES-128 in counter mode is its own inverse.
    fn apply_cipher(&self, iv: [u8; 16], bytes: &mut [u8; 32]) {
        let mut key = Zeroizing::new([0; 16]);
        key.copy_from_slice(&self.key[..16]);
        ctr::Ctr128BE::<aes::Aes128>::new((&*key).into(), &iv.into()).apply_keystream(bytes);
    }

    /// The checksum over the ciphertext, by which a wrong password is noticed.
    fn checksum(&self, ciphertext: &[u8; 32]) -> [u8; 32] {
        sha256(&[&self.key[16..], ciphertext])
    }
}

/// How many of so many keys to derive together on one core, when there are so many cores: all cores are to have work.
pub fn lanes_of_many(keys: usize, cores: usize) -> usize {
    keys.div_ceil(cores.max(1)).clamp(1, LANES)
}

/// An encrypted secret key. It holds nothing secret itself as long as the password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keystore {
    params: Params,
    salt: Vec<u8>,
    iv: [u8; 16],
    ciphertext: [u8; 32],
    checksum: [u8; 32],
    description: String,
    pubkey: Option<[u8; 48]>,
    path: String,
    uuid: String,
}

/// Why a keystore cannot be read or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeystoreError {
    /// Not an EIP-2335 keystore.
    #[error("it cannot be read as a keystore (EIP-2335, version 4): {0}")]
    Malformed(String),
    /// A version of the format that is not known here.
    #[error(
        "the keystore's version is {0}, later than 4, the latest that this conclave knows: update conclave"
    )]
    LaterVersion(u64),
    /// Its key derivation would take too much time or memory.
    #[error("the keystore asks for too much work to derive its key: {0}")]
    TooExpensive(String),
    /// The password is wrong, or ciphertext, checksum or salt are damaged: these cannot be told apart.
    #[error("the password does not open this keystore, or the file is damaged")]
    WrongPassword,
    /// The derived key was made with another salt or other parameters.
    #[error("the keystore was not sealed with this derived key")]
    OtherDerivation,
    /// What is inside is no BLS secret key.
    #[error("the keystore opens, but what is inside is not a secret key; the file is damaged")]
    NotAKey,
    /// The secret inside does not belong to the public key outside.
    #[error("the keystore opens, but the key inside is not that of its public key; the file is damaged")]
    OtherKey,
}

impl Keystore {
    /// Encrypts a share. `iv` and `uuid` are random, fresh for every keystore.
    pub fn seal(derived: &Derived, secret: &SecretKey, iv: [u8; 16], uuid: [u8; 16]) -> Self {
        let pubkey = secret.public_key().to_bytes();
        Self::seal_bytes(derived, &secret.to_bytes(), iv, uuid, pubkey)
    }

    fn seal_bytes(
        derived: &Derived,
        secret: &[u8; 32],
        iv: [u8; 16],
        uuid: [u8; 16],
        pubkey: [u8; 48],
    ) -> Self {
        let mut buffer = Zeroizing::new(*secret);
        derived.apply_cipher(iv, &mut buffer);
        let ciphertext = *buffer;
        Self {
            params: derived.params,
            salt: derived.salt.clone(),
            iv,
            ciphertext,
            checksum: derived.checksum(&ciphertext),
            description: String::new(),
            pubkey: Some(pubkey),
            path: SHARE_PATH.to_owned(),
            uuid: uuid_text(uuid),
        }
    }

    /// The public key (48 bytes) that the keystore names; other software may leave it out.
    pub fn pubkey(&self) -> Option<[u8; 48]> {
        self.pubkey
    }

    /// Decrypts. Derives the key from the password first, which is slow: see [`Derived::new`].
    ///
    /// # Errors
    /// [`KeystoreError::WrongPassword`], or what is wrong inside.
    pub fn open(&self, password: &Password) -> Result<SecretKey, KeystoreError> {
        let opened = self.open_with(&Derived::one(password, self.params, self.salt.clone()));
        self.or_without_marks(opened, password)
    }

    /// Tries the password as old software took it, if it does not open as it is.
    fn or_without_marks(
        &self,
        opened: Result<SecretKey, KeystoreError>,
        password: &Password,
    ) -> Result<SecretKey, KeystoreError> {
        match (opened, password.without_marks()) {
            (Err(KeystoreError::WrongPassword), Some(password)) => {
                self.open_with(&Derived::one(&password, self.params, self.salt.clone()))
            }
            (opened, _) => opened,
        }
    }

    /// Whether opening it takes no more than what is usual with PBKDF2: such a keystore may be tried with several passwords.
    pub fn opens_cheaply(&self) -> bool {
        matches!(self.params, Params::Pbkdf2 { rounds } if rounds <= PBKDF2_ROUNDS)
    }

    /// Decrypts many, on all cores, and gives each secret to `keep`. In the order in which they are given, what `keep` made
    /// of it or what [`Self::open`] would say.
    pub fn open_all<T: Send>(
        given: &[(&Keystore, &Password)],
        keep: impl Fn(SecretKey) -> T + Sync,
    ) -> Vec<Result<T, KeystoreError>> {
        let size = lanes_of_many(given.len(), rayon::current_num_threads());
        given
            .par_chunks(size)
            // What is derived together has to have the same parameters.
            .flat_map_iter(|some| some.chunk_by(|(a, _), (b, _)| a.params == b.params))
            .flat_map_iter(|same| {
                let Some(params) = same.first().map(|(keystore, _)| keystore.params) else {
                    return Vec::new();
                };
                let pairs: Vec<(&Password, &[u8])> = same
                    .iter()
                    .map(|(keystore, password)| (*password, keystore.salt.as_slice()))
                    .collect();
                let keys = Derived::keys(params, &pairs).into_iter().zip(same);
                keys.map(|(key, (keystore, password))| {
                    let salt = keystore.salt.clone();
                    let opened = keystore.open_with(&Derived { key, params, salt });
                    keystore.or_without_marks(opened, password).map(&keep)
                })
                .collect()
            })
            .collect()
    }

    /// Decrypts with a key that was derived before.
    ///
    /// # Errors
    /// [`KeystoreError::OtherDerivation`] when it was derived for another keystore, or what [`Self::open`] says.
    pub fn open_with(&self, derived: &Derived) -> Result<SecretKey, KeystoreError> {
        if (derived.params, &derived.salt) != (self.params, &self.salt) {
            return Err(KeystoreError::OtherDerivation);
        }
        if !bool::from(derived.checksum(&self.ciphertext).ct_eq(&self.checksum)) {
            return Err(KeystoreError::WrongPassword);
        }
        let mut secret = Zeroizing::new(self.ciphertext);
        derived.apply_cipher(self.iv, &mut secret);
        let key = SecretKey::from_bytes(&secret).ok_or(KeystoreError::NotAKey)?;
        match self.pubkey {
            Some(pubkey) if pubkey != key.public_key().to_bytes() => Err(KeystoreError::OtherKey),
            _ => Ok(key),
        }
    }

    /// The file: fields in the usual order, one blank per level, no newline at the end.
    pub fn to_json(&self) -> Vec<u8> {
        let (function, mut params) = match self.params {
            Params::Pbkdf2 { rounds } => (
                "pbkdf2",
                KdfParams {
                    c: Some(rounds),
                    prf: Some("hmac-sha256".to_owned()),
                    ..KdfParams::default()
                },
            ),
            Params::Scrypt { log_n, r, p } => (
                "scrypt",
                KdfParams {
                    n: Some(1 << log_n),
                    r: Some(r),
                    p: Some(p),
                    ..KdfParams::default()
                },
            ),
        };
        params.dklen = 32;
        params.salt = hex::encode(&self.salt);
        json::write(&File {
            crypto: Crypto {
                checksum: Module {
                    function: "sha256".to_owned(),
                    message: hex::encode(self.checksum),
                    params: NoParams {},
                },
                cipher: Module {
                    function: "aes-128-ctr".to_owned(),
                    message: hex::encode(self.ciphertext),
                    params: CipherParams {
                        iv: hex::encode(self.iv),
                    },
                },
                kdf: Module {
                    function: function.to_owned(),
                    message: String::new(),
                    params,
                },
            },
            description: Some(self.description.clone()),
            pubkey: self.pubkey.map(hex::encode),
            path: Some(self.path.clone()),
            uuid: Some(self.uuid.clone()),
            version: 4,
        })
    }

    /// Reads any EIP-2335 keystore of a BLS key, with either derivation function. Labels (description, path, UUID) and the public
    /// key may be missing, as other software leaves them out.
    ///
    /// # Errors
    /// [`KeystoreError::Malformed`] for anything else, [`KeystoreError::TooExpensive`] when opening it would take
    /// absurd time (2^24 PBKDF2 rounds) or memory (1 GiB with scrypt).
    pub fn from_json(bytes: &[u8]) -> Result<Self, KeystoreError> {
        // First, since another version has other fields.
        let Version { version } =
            json::read(bytes, MAX_FILE_BYTES, &Content::Keystore).map_err(KeystoreError::Malformed)?;
        match version {
            0..=3 => return Err(KeystoreError::Malformed(format!("its version is {version}"))),
            4 => {}
            5.. => return Err(KeystoreError::LaterVersion(version)),
        }
        let file: File =
            json::read(bytes, MAX_FILE_BYTES, &Content::Keystore).map_err(KeystoreError::Malformed)?;
        let Crypto {
            checksum,
            cipher,
            kdf,
        } = file.crypto;
        let malformed = KeystoreError::Malformed;
        expect(&checksum.function, "sha256", "checksum function")?;
        expect(&cipher.function, "aes-128-ctr", "cipher function")?;
        expect(&kdf.message, "", "kdf message")?;
        let pubkey = file.pubkey.filter(|text| !text.is_empty()).map(|text| {
            json::hex_array("pubkey", text.strip_prefix("0x").unwrap_or(&text)).map_err(malformed)
        });
        let salt = hex::decode(&kdf.params.salt)
            .ok()
            .filter(|salt| (1..=MAX_SALT).contains(&salt.len()))
            .ok_or_else(|| malformed(format!("its salt is not 1 to {MAX_SALT} bytes in hexadecimal")))?;
        Ok(Self {
            params: kdf.params.check(&kdf.function)?,
            salt,
            iv: json::hex_array("iv", &cipher.params.iv).map_err(malformed)?,
            ciphertext: json::hex_array("cipher message", &cipher.message).map_err(malformed)?,
            checksum: json::hex_array("checksum message", &checksum.message).map_err(malformed)?,
            description: file.description.unwrap_or_default(),
            pubkey: pubkey.transpose()?,
            path: file.path.unwrap_or_default(),
            uuid: file.uuid.unwrap_or_default(),
        })
    }
}

/// The file as it is written; the order of the fields is the order in the file. Unknown fields are ignored: other software adds a name, and
/// whatever changed what the password opens would show in the checksum, or in the key.
#[derive(Serialize, Deserialize)]
struct File {
    crypto: Crypto,
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pubkey: Option<String>,
    path: Option<String>,
    uuid: Option<String>,
    version: u64,
}

/// What decides how the rest is read.
#[derive(Deserialize)]
struct Version {
    version: u64,
}

#[derive(Serialize, Deserialize)]
struct Crypto {
    checksum: Module<NoParams>,
    cipher: Module<CipherParams>,
    kdf: Module<KdfParams>,
}

#[derive(Serialize, Deserialize)]
#[serde(bound(deserialize = "P: Deserialize<'de> + Default"))]
struct Module<P> {
    function: String,
    // Left out or null where there is nothing to say.
    #[serde(default, deserialize_with = "json::or_default")]
    message: String,
    #[serde(default, deserialize_with = "json::or_default")]
    params: P,
}

#[derive(Serialize, Deserialize, Default)]
struct NoParams {}

#[derive(Serialize, Deserialize, Default)]
struct CipherParams {
    iv: String,
}

/// The parameters of both functions; which must be there depends on the function.
#[derive(Serialize, Deserialize, Default)]
struct KdfParams {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    c: Option<u32>,
    dklen: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prf: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    r: Option<u32>,
    salt: String,
}

impl KdfParams {
    fn check(&self, function: &str) -> Result<Params, KeystoreError> {
        let malformed = |why: &str| Err(KeystoreError::Malformed(why.to_owned()));
        let expensive = |why: String| Err(KeystoreError::TooExpensive(why));
        if !(32..=MAX_DKLEN).contains(&self.dklen) {
            return malformed("its dklen is not between 32 and 1024");
        }
        match (function, self) {
            (
                "pbkdf2",
                Self {
                    c: Some(rounds),
                    prf: Some(prf),
                    n: None,
                    r: None,
                    p: None,
                    ..
                },
            ) => {
                expect(prf, "hmac-sha256", "prf")?;
                match *rounds {
                    0 => malformed("it has no PBKDF2 rounds"),
                    rounds if rounds > MAX_PBKDF2_ROUNDS => {
                        expensive(format!("{rounds} PBKDF2 rounds, more than {MAX_PBKDF2_ROUNDS}"))
                    }
                    rounds => Ok(Params::Pbkdf2 { rounds }),
                }
            }
            (
                "scrypt",
                &Self {
                    n: Some(n),
                    r: Some(r),
                    p: Some(p),
                    c: None,
                    prf: None,
                    ..
                },
            ) => {
                if n < 2 || !n.is_power_of_two() || r == 0 || p == 0 {
                    return malformed("its scrypt parameters are not n = a power of two, r and p at least 1");
                }
                let work = n
                    .checked_mul(u64::from(r))
                    .and_then(|nr| nr.checked_mul(u64::from(p)));
                let memory = n.checked_mul(u64::from(r)).and_then(|nr| nr.checked_mul(128));
                let (Some(work), Some(memory)) = (work, memory) else {
                    return expensive(format!("scrypt with n = {n}, r = {r}, p = {p}"));
                };
                if r > MAX_SCRYPT_R
                    || p > MAX_SCRYPT_P
                    || work > MAX_SCRYPT_WORK
                    || memory > MAX_SCRYPT_MEMORY
                {
                    return expensive(format!("scrypt with n = {n}, r = {r}, p = {p}"));
                }
                // At most 23 here, since n is.
                let log_n = u8::try_from(n.trailing_zeros()).unwrap_or(u8::MAX);
                Ok(Params::Scrypt { log_n, r, p })
            }
            ("pbkdf2" | "scrypt", _) => malformed("its kdf parameters are not those of its function"),
            _ => malformed("its kdf function is neither pbkdf2 nor scrypt"),
        }
    }
}

fn expect(found: &str, expected: &str, what: &str) -> Result<(), KeystoreError> {
    if found == expected {
        Ok(())
    } else {
        Err(KeystoreError::Malformed(format!(
            "its {what} is not \"{expected}\""
        )))
    }
}

/// A UUID of version 4 (RFC 4122) made of 16 random bytes, six bits of which say so, as upper-case groups of 8-4-4-4-12 digits.
fn uuid_text(bytes: [u8; 16]) -> String {
    uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .hyphenated()
        .encode_upper(&mut uuid::Uuid::encode_buffer())
        .to_owned()
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;
    use proptest::prelude::*;

    use super::*;

    /// Password, secret, salt and initialisation vector of the test cases of EIP-2335.
    const PASSWORD: &str = "𝔱𝔢𝔰𝔱𝔭𝔞𝔰𝔰𝔴𝔬𝔯𝔡🔑";
    const SECRET: [u8; 32] = hex!("000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f");
    const SALT: [u8; 32] = hex!("d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3");
    const IV: [u8; 16] = hex!("264daa3f303d7259501c93d997d84fe6");

    const SCRYPT_CASE: &str = r#"{
    "crypto": {
        "kdf": {
            "function": "scrypt",
            "params": {
                "dklen": 32,
                "n": 262144,
                "p": 1,
                "r": 8,
                "salt": "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"
            },
            "message": ""
        },
        "checksum": {
            "function": "sha256",
            "params": {},
            "message": "d2217fe5f3e9a1e34581ef8a78f7c9928e436d36dacc5e846690a5581e8ea484"
        },
        "cipher": {
            "function": "aes-128-ctr",
            "params": { "iv": "264daa3f303d7259501c93d997d84fe6" },
            "message": "06ae90d55fe0a6e9c5c3bc5b170827b2e5cce3929ed3f116c2811e6366dfe20f"
        }
    },
    "description": "This is a test keystore that uses scrypt to secure the secret.",
    "pubkey": "9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07",
    "path": "m/12381/60/3141592653/589793238",
    "uuid": "1d85ae20-35c5-4611-98e8-aa14a633906f",
    "version": 4
}"#;

    const PBKDF2_CASE: &str = r#"{
    "crypto": {
        "kdf": {
            "function": "pbkdf2",
            "params": {
                "dklen": 32,
                "c": 262144,
                "prf": "hmac-sha256",
                "salt": "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"
            },
            "message": ""
        },
        "checksum": {
            "function": "sha256",
            "params": {},
            "message": "8a9f5d9912ed7e75ea794bc5a89bca5f193721d30868ade6f73043c6ea6febf1"
        },
        "cipher": {
            "function": "aes-128-ctr",
            "params": { "iv": "264daa3f303d7259501c93d997d84fe6" },
            "message": "cee03fde2af33149775b7223e7845e4fb2c8ae1792e5f99fe9ecf474cc8c16ad"
        }
    },
    "description": "This is a test keystore that uses PBKDF2 to secure the secret.",
    "pubkey": "9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07",
    "path": "m/12381/60/0/0",
    "uuid": "64625def-3331-4eea-ab6f-782f3ed16a83",
    "version": 4
}"#;

    /// A keystore with few rounds, so that tests are quick.
    fn quick(salt: u8) -> (Derived, SecretKey, Keystore) {
        let password = Password::new("correct horse").unwrap();
        let derived = Derived::one(&password, Params::Pbkdf2 { rounds: 16 }, vec![salt; 32]);
        let secret = SecretKey::from_bytes(&SECRET).unwrap();
        let keystore = Keystore::seal(&derived, &secret, IV, [0xab; 16]);
        (derived, secret, keystore)
    }

    #[test]
    fn the_test_cases_of_the_eip_open() {
        let password = Password::new(PASSWORD).unwrap();
        assert_eq!(
            password.expose().as_bytes(),
            hex!("7465737470617373776f7264f09f9491")
        );
        for case in [SCRYPT_CASE, PBKDF2_CASE] {
            let keystore = Keystore::from_json(case.as_bytes()).unwrap();
            assert_eq!(*keystore.open(&password).unwrap().to_bytes(), SECRET);
        }
    }

    #[test]
    fn what_other_software_adds_to_a_keystore_is_ignored() {
        for case in [SCRYPT_CASE, PBKDF2_CASE] {
            let plain = format!("{:?}", Keystore::from_json(case.as_bytes()));
            for (old, more) in [
                ("\"version\"", "\"name\": \"a\", \"version\""),
                ("\"kdf\"", "\"note\": {}, \"kdf\""),
                ("\"dklen\"", "\"hint\": null, \"dklen\""),
                ("\"iv\"", "\"nonce_source\": [1], \"iv\""),
                ("\"function\"", "\"comment\": \"x\", \"function\""),
            ] {
                assert!(case.contains(old), "{old}");
                let read = Keystore::from_json(case.replacen(old, more, 1).as_bytes());
                assert_eq!(format!("{read:?}"), plain, "{more}");
            }
        }
    }

    #[test]
    fn null_is_absent_in_a_keystore() {
        for case in [SCRYPT_CASE, PBKDF2_CASE] {
            let file = serde_json::from_str(case).unwrap();
            let optional = crate::testing::null_is_absent(&file, |value| {
                Keystore::from_json(value.to_string().as_bytes()).ok()
            });
            for place in [
                "/description",
                "/pubkey",
                "/crypto/kdf/message",
                "/crypto/checksum/params",
            ] {
                assert!(optional.contains(&place.to_owned()), "{optional:?}");
            }
        }
    }

    #[test]
    fn sealing_gives_the_test_cases_of_the_eip() {
        let password = Password::new(PASSWORD).unwrap();
        let secret = SecretKey::from_bytes(&SECRET).unwrap();
        for (kdf, case) in [(Kdf::Scrypt, SCRYPT_CASE), (Kdf::Pbkdf2, PBKDF2_CASE)] {
            let sealed = Keystore::seal(&Derived::new(&password, kdf, SALT), &secret, IV, [0; 16]);
            let expected = Keystore::from_json(case.as_bytes()).unwrap();
            let Keystore {
                params,
                salt,
                iv,
                ciphertext,
                checksum,
                pubkey,
                ..
            } = expected;
            assert_eq!((sealed.params, &sealed.salt, sealed.iv), (params, &salt, iv));
            assert_eq!(
                (sealed.ciphertext, sealed.checksum, sealed.pubkey),
                (ciphertext, checksum, pubkey)
            );
        }
    }

    #[test]
    fn the_file_is_byte_for_byte_what_other_software_writes() {
        let (_, _, keystore) = quick(0x11);
        let expected = format!(
            r#"{{
 "crypto": {{
  "checksum": {{
   "function": "sha256",
   "message": "{}",
   "params": {{}}
  }},
  "cipher": {{
   "function": "aes-128-ctr",
   "message": "{}",
   "params": {{
    "iv": "264daa3f303d7259501c93d997d84fe6"
   }}
  }},
  "kdf": {{
   "function": "pbkdf2",
   "message": "",
   "params": {{
    "c": 16,
    "dklen": 32,
    "prf": "hmac-sha256",
    "salt": "{}"
   }}
  }}
 }},
 "description": "",
 "pubkey": "{}",
 "path": "m/12381/3600/0/0/0",
 "uuid": "ABABABAB-ABAB-4BAB-ABAB-ABABABABABAB",
 "version": 4
}}"#,
            hex::encode(keystore.checksum),
            hex::encode(keystore.ciphertext),
            "11".repeat(32),
            hex::encode(keystore.pubkey().unwrap()),
        );
        assert_eq!(String::from_utf8(keystore.to_json()).unwrap(), expected);
        assert_eq!(Keystore::from_json(expected.as_bytes()).unwrap(), keystore);
        let scrypt = Keystore::from_json(SCRYPT_CASE.as_bytes()).unwrap();
        assert_eq!(Keystore::from_json(&scrypt.to_json()).unwrap(), scrypt);
    }

    #[test]
    fn passwords_are_normalised() {
        let text = |text: &str| Password::new(text).map(|password| password.expose().to_owned());
        assert_eq!(text("pass\u{7f}w\u{0}ord\r\n\u{85}").unwrap(), "password");
        assert_eq!(text("Å").unwrap(), "A\u{30a}");
        assert_eq!(text("\n"), Err(PasswordError::Empty));
        assert_eq!(text(""), Err(PasswordError::Empty));
        assert_eq!(
            text(&"x".repeat(MAX_PASSWORD_BYTES + 1)),
            Err(PasswordError::TooLong)
        );
        assert_eq!(Password::from_bytes(&[0xff]).err(), Some(PasswordError::NotText));
        let random = Password::random_hex(&hex!("00ff0123456789abcdef102030405060"));
        assert_eq!(random.expose(), "00ff0123456789abcdef102030405060");
    }

    #[test]
    fn what_was_derived_before_opens() {
        let (derived, secret, keystore) = quick(1);
        assert_eq!(
            keystore.open_with(&derived).unwrap().to_bytes(),
            secret.to_bytes()
        );
        assert_eq!(
            keystore.open_with(&quick(2).0).err(),
            Some(KeystoreError::OtherDerivation)
        );
        let wrong = Password::new("wrong").unwrap();
        assert_eq!(keystore.open(&wrong).err(), Some(KeystoreError::WrongPassword));
    }

    #[test]
    fn many_open_as_one_by_one() {
        let right = Password::new("correct horse").unwrap();
        let wrong = Password::new("battery staple").unwrap();
        let (all, secrets): (Vec<_>, Vec<_>) = (1..=11)
            .map(|i| {
                let (_, secret, mut keystore) = quick(i);
                // Neither the same rounds for all, nor whole groups of the same.
                if i % 4 == 0 {
                    let derived = Derived::one(&right, Params::Pbkdf2 { rounds: 5 }, vec![i; 9]);
                    keystore = Keystore::seal(&derived, &secret, IV, [0; 16]);
                }
                (keystore, secret)
            })
            .unzip();
        let given: Vec<_> = all
            .iter()
            .enumerate()
            .map(|(i, keystore)| (keystore, if i == 6 { &wrong } else { &right }))
            .collect();
        let opened = Keystore::open_all(&given, |secret| secret);
        assert_eq!(opened.len(), all.len());
        for (i, (opened, secret)) in opened.into_iter().zip(secrets).enumerate() {
            match opened {
                Ok(opened) => assert_eq!((opened.to_bytes(), i == 6), (secret.to_bytes(), false)),
                Err(error) => assert_eq!((error, i), (KeystoreError::WrongPassword, 6)),
            }
        }
        assert!(Keystore::open_all(&[], |_| ()).is_empty());
        assert_eq!(
            [1, 2, 3, 5, 100].map(|keys| lanes_of_many(keys, 2)),
            [1, 1, 2, 3, LANES]
        );
        assert_eq!(lanes_of_many(0, 0), 1);
    }

    #[test]
    fn what_is_derived_together_is_what_is_derived_alone() {
        let given: Vec<(Password, [u8; 32])> = (0..3)
            .map(|i| (Password::random_hex(&[i; 16]), [i; 32]))
            .collect();
        let several = Derived::several(&given, Kdf::Pbkdf2);
        assert_eq!(several.len(), 3);
        for (derived, (password, salt)) in several.iter().zip(&given) {
            let alone = Derived::new(password, Kdf::Pbkdf2, *salt);
            assert_eq!((&*derived.key, &derived.salt), (&*alone.key, &alone.salt));
        }
    }

    #[test]
    fn every_damaged_part_is_noticed() {
        let (derived, _, keystore) = quick(1);
        let password = Password::new("correct horse").unwrap();
        let damaged = |damage: fn(&mut Keystore)| {
            let mut damaged = keystore.clone();
            damage(&mut damaged);
            damaged.open(&password).err()
        };
        assert_eq!(
            damaged(|k| k.ciphertext[31] ^= 1),
            Some(KeystoreError::WrongPassword)
        );
        assert_eq!(
            damaged(|k| k.checksum[0] ^= 1),
            Some(KeystoreError::WrongPassword)
        );
        assert_eq!(damaged(|k| k.salt[0] ^= 1), Some(KeystoreError::WrongPassword));
        assert_eq!(
            damaged(|k| k.params = Params::Pbkdf2 { rounds: 17 }),
            Some(KeystoreError::WrongPassword)
        );
        assert!(damaged(|k| k.iv[15] ^= 1).is_some());
        assert_eq!(
            damaged(|k| k.pubkey = Some([0xaa; 48])),
            Some(KeystoreError::OtherKey)
        );
        assert_eq!(damaged(|k| k.pubkey = None), None);
        let zero = Keystore::seal_bytes(&derived, &[0; 32], IV, [0; 16], [0; 48]);
        assert_eq!(zero.open_with(&derived).err(), Some(KeystoreError::NotAKey));
        let above_r = Keystore::seal_bytes(&derived, &[0xff; 32], IV, [0; 16], [0; 48]);
        assert_eq!(above_r.open_with(&derived).err(), Some(KeystoreError::NotAKey));
    }

    #[test]
    fn absurd_work_is_refused_unread() {
        for (case, old, new) in [
            (PBKDF2_CASE, "262144", "16777217"),
            (PBKDF2_CASE, "262144", "4294967295"),
            (SCRYPT_CASE, "262144", "16777216"),
            (SCRYPT_CASE, "262144", "9223372036854775808"),
            (SCRYPT_CASE, "\"p\": 1", "\"p\": 9"),
            (SCRYPT_CASE, "\"p\": 1", "\"p\": 4294967295"),
            (SCRYPT_CASE, "\"r\": 8", "\"r\": 65"),
            (SCRYPT_CASE, "\"r\": 8", "\"r\": 4294967295"),
        ] {
            let changed = case.replace(old, new);
            let result = Keystore::from_json(changed.as_bytes());
            assert!(
                matches!(result, Err(KeystoreError::TooExpensive(_))),
                "{new}: {result:?}"
            );
        }
        // The most that is allowed is still read.
        assert!(Keystore::from_json(PBKDF2_CASE.replace("262144", "16777216").as_bytes()).is_ok());
        assert!(Keystore::from_json(SCRYPT_CASE.replace("262144", "1048576").as_bytes()).is_ok());
    }

    #[test]
    fn other_forms_are_refused() {
        for (case, old, new) in [
            (PBKDF2_CASE, "\"version\": 4", "\"version\": 3"),
            (PBKDF2_CASE, "\"version\": 4", "\"version\": \"4\""),
            (PBKDF2_CASE, "262144", "0"),
            (PBKDF2_CASE, "262144", "-1"),
            (PBKDF2_CASE, "262144", "4294967296"),
            (PBKDF2_CASE, "hmac-sha256", "hmac-sha512"),
            (PBKDF2_CASE, "\"dklen\": 32", "\"dklen\": 31"),
            (PBKDF2_CASE, "\"dklen\": 32", "\"dklen\": 4294967295"),
            (PBKDF2_CASE, "\"dklen\": 32", "\"dklen\": 32, \"n\": 2"),
            (PBKDF2_CASE, "\"dklen\": 32", "\"dklen\": 32, \"DKlen\": 31"),
            (PBKDF2_CASE, "\"dklen\": 32", "\"dklen\": 32, \"dklen\": 32"),
            (
                PBKDF2_CASE,
                "\"function\": \"pbkdf2\"",
                "\"function\": \"scrypt\"",
            ),
            (
                PBKDF2_CASE,
                "\"function\": \"pbkdf2\"",
                "\"function\": \"argon2\"",
            ),
            (PBKDF2_CASE, "\"message\": \"\"", "\"message\": \"00\""),
            (PBKDF2_CASE, "sha256\",", "sha512\","),
            (PBKDF2_CASE, "aes-128-ctr", "aes-256-ctr"),
            (PBKDF2_CASE, "264daa", "4daa"),
            (PBKDF2_CASE, "264daa", "00264daa"),
            (PBKDF2_CASE, "cee03f", "e03f"),
            (PBKDF2_CASE, "8a9f5d", "8a9f5g"),
            (PBKDF2_CASE, "d4e56740", "4e56740"),
            (PBKDF2_CASE, "9612d7", "12d7"),
            (SCRYPT_CASE, "262144", "262143"),
            (SCRYPT_CASE, "262144", "1"),
            (SCRYPT_CASE, "262144", "0"),
            (SCRYPT_CASE, "\"r\": 8", "\"r\": 0"),
            (SCRYPT_CASE, "\"p\": 1,", ""),
        ] {
            assert!(case.contains(old), "{old}");
            let changed = case.replacen(old, new, 1);
            let result = Keystore::from_json(changed.as_bytes());
            assert!(
                matches!(result, Err(KeystoreError::Malformed(_))),
                "{new}: {result:?}"
            );
        }
        assert!(Keystore::from_json(&vec![b' '; MAX_FILE_BYTES + 1]).is_err());
        // A field that other software adds.
        assert!(Keystore::from_json(PBKDF2_CASE.replacen('{', "{\"name\": \"x\",", 1).as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic_and_never_give_another_key(at in 0_usize..800, byte: u8) {
            let (_, secret, keystore) = quick(1);
            let mut file = keystore.to_json();
            if let Some(place) = file.get_mut(at) {
                *place = byte;
            }
            if let Ok(read) = Keystore::from_json(&file)
                // A digit added to the number of rounds is fine to read, but slow.
                && read.params == keystore.params
                && let Ok(opened) = read.open(&Password::new("correct horse").unwrap())
            {
                prop_assert_eq!(opened.to_bytes(), secret.to_bytes());
            }
        }

        #[test]
        fn every_key_comes_back(scalar: [u8; 31], salt: [u8; 32], iv: [u8; 16], uuid: [u8; 16], text in ".{1,40}") {
            let mut bytes = [0; 32];
            bytes[1..].copy_from_slice(&scalar);
            let (Some(secret), Ok(password)) = (SecretKey::from_bytes(&bytes), Password::new(&text)) else {
                return Ok(());
            };
            let derived = Derived::one(&password, Params::Pbkdf2 { rounds: 1 }, salt.to_vec());
            let sealed = Keystore::seal(&derived, &secret, iv, uuid);
            let read = Keystore::from_json(&sealed.to_json()).unwrap();
            prop_assert_eq!(&read, &sealed);
            prop_assert_eq!(*read.open(&password).unwrap().to_bytes(), bytes);
        }
    }
}
