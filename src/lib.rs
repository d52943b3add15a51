//! Key ceremonies for groups who validate together.
//!
//! Read the crate from the bottom up; dependencies point downwards only.
//!
//! | Module | What it is |
//! |---|---|
//! | [`cli`] | what a person types and sees |
//! | [`ceremony`] | one ceremony as an operator lives it: plan, conductor, journal on disk, outputs |
//! | [`validator`] | `run`: duties, agreement, slashing protection, threshold signing |
//! | [`p2p`] | the libp2p node and the synchronisation of journals |
//! | [`dkg`] | the protocol: a pure state machine over signed entries |
//! | [`cluster`] | cluster definition and lock, ENR, EIP-712, hashes |
//! | [`ethereum`] | networks, signing domains, deposits, registrations, exits, keystores |
//! | [`recognise`] | what a file is by its content, and what is wrong with one that cannot be read |
//! | [`text`] | what others wrote, before anybody sees it |
//! | [`crypto`] | scalars and points, commitments, proofs, threshold signatures, sealing |

pub mod ceremony;
pub mod cli;
pub mod cluster;
pub mod crypto;
pub mod dkg;
pub mod ethereum;
pub mod p2p;
pub mod recognise;
pub mod secret_text;
pub mod text;
pub mod validator;
