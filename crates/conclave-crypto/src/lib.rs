#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
//!
//! | Module | What it is |
//! |---|---|
//! | [`hash`] | SHA-256, HKDF, HMAC-SHA-512, weights for batches |
//! | [`pbkdf2`] | keys from passwords, several at a time |
//! | [`scalar`] | numbers modulo the group order r |
//! | [`point`] | points of the curve, in the prime-order group or not, and the cofactored comparison |
//! | [`commit`] | polynomials, Feldman and Pedersen commitments, the check of shares |
//! | [`proof`] | a dealer's proof that it knows its polynomials |
//! | [`seal`] | HPKE, by which shares travel |
//! | [`bls`] | Ethereum's signatures |
//! | [`threshold`] | from t shares to the whole: signatures, keys; public shares |
//! | [`node`] | secp256k1 keys of operators' nodes |

pub mod bls;
pub mod commit;
pub mod hash;
pub mod node;
pub mod pbkdf2;
pub mod point;
pub mod proof;
mod raw;
pub mod scalar;
pub mod seal;
pub mod threshold;

/// Every domain string of the project: what separates one use of a hash from every other one.
pub mod domains {
    /// Prefix of the hash that names a network.
    pub const NET: &str = "conclave/net/1";
    /// Prefix of the hash that names an attempt at a definition.
    pub const CTX: &str = "conclave/ctx/1";
    /// Prefix of the hash that names a session.
    pub const SID: &str = "conclave/sid/1";
    /// Of the statement that a share is lost.
    pub const LOST: &str = "conclave/lost/1";
    /// Prefix of the hash that names an entry of the journal.
    pub const ENTRY: &str = "conclave/entry/1";
    /// Prefix of the HPKE `info` of sealed shares.
    pub const SHARE: &str = "conclave/share/1";
    /// Prefix of the hash T of a dealer's proof.
    pub const POK: &str = "conclave/pok/1";
    /// Prefix of the hashes that give a proof's weights rho.
    pub const RHO: &str = "conclave/rho/1";
    /// Prefix of the hash that gives a proof's challenge e.
    pub const E: &str = "conclave/e/1";
    /// Domain separation tag with which H, the second base of Pedersen commitments, is hashed to the curve
    /// (RFC 9380, suite `BLS12381G1_XMD:SHA-256_SSWU_RO_`). The message is empty.
    pub const PEDERSEN_H: &str = "conclave/pedersen-h/1_BLS12381G1_XMD:SHA-256_SSWU_RO_";
    /// Domain separation tag of Ethereum's BLS signatures (consensus specification, phase 0, "BLS signatures").
    pub const ETHEREUM_BLS: &str = "BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";
    /// Prefix of the hashes that give the weights of a batch; it never leaves one process.
    pub const WEIGHTS: &str = "conclave/weights/1";
    /// Prefix of the hash that an operator's node signs over its partial signatures.
    pub const RUN_PARTIALS: &str = "conclave/run/partials/1";
    /// Prefix of the hash that names a value that operators agree on.
    pub const RUN_VALUE: &str = "conclave/run/value/1";
    /// Prefix of the hash by which a running node signs proposals and votes.
    pub const RUN_AGREEMENT: &str = "conclave/run/agreement/1";
    /// Prefix of the hash by which a running node says that it is alive.
    pub const RUN_ALIVE: &str = "conclave/run/alive/1";
    /// Prefix of the hash by which an operator signs its part of a voluntary exit.
    pub const RUN_EXIT: &str = "conclave/run/exit/1";

    /// Labels of the expansions of an attempt's secret key (PRK). They are followed by what
    /// `docs/protocol.md` says.
    pub mod expand {
        /// X25519 key pairs, one for each dealer.
        pub const HPKE: &str = "hpke";
        /// Coefficients that carry the key.
        pub const A: &str = "a";
        /// Coefficients that blind the commitments.
        pub const B: &str = "b";
        /// Ephemeral keys of sealed shares.
        pub const ENC: &str = "enc";
        /// Nonces of the proof.
        pub const POK: &str = "pok";
    }
}
