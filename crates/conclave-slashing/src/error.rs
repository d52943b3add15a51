//! What can be wrong with a slashing protection database.

use std::path::PathBuf;

/// Why the guard cannot do its work. The text has three lines: what, why, what to do.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// There is no database.
    #[error(
        "There is no slashing protection database {}.\n\
         Without it nobody can tell what this share has signed.\n\
         Bring the file back from where this operator ran last, or import an EIP-3076 file; if that machine is gone for good, import your \
         backup into a new folder; only if this share never signed anything, start with --new-slashing-database.",
        .0.display()
    )]
    Missing(PathBuf),
    /// There is one already.
    #[error(
        "There is a slashing protection database {} already.\n\
         It is never overwritten: it is all that is known of what this share has signed.\n\
         Leave --new-slashing-database out.",
        .0.display()
    )]
    Exists(PathBuf),
    /// Another process holds it.
    #[error(
        "The slashing protection database {} is in use.\n\
         Another process holds it, and two that sign with one share get it slashed.\n\
         Stop the other process first.",
        .0.display()
    )]
    InUse(PathBuf),
    /// It cannot be read as what it was written as.
    #[error(
        "The slashing protection database {} is damaged.\n\
         {why}.\n\
         Nothing is signed with it. Check the disk, and leave the file where it is; import your backup into a new folder and start that \
         one instead of this (conclave --data-dir NEW-FOLDER import FILE). If you have no backup, make one of this folder first: conclave backup \
         FILE takes everything but this database.",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// A newer version of this program wrote it.
    #[error(
        "The slashing protection database {} is of a newer version.\n\
         It has format {found}, and this version of conclave knows formats up to {known}.\n\
         Use the newer version of conclave again.",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this version knows.
        known: u32,
    },
    /// It was made for another cluster.
    #[error(
        "The slashing protection database {} belongs to another cluster.\n\
         It was made for the lock 0x{}, and the lock here is 0x{}.\n\
         Leave it where it is until you know how it came here. If two folders were mixed up, put each back as it was; never put a copy in \
         the place of another one.",
        path.display(), hex::encode(pinned), hex::encode(found)
    )]
    OtherLock {
        /// The file.
        path: PathBuf,
        /// The lock hash in it, 32 bytes.
        pinned: [u8; 32],
        /// The lock hash of this folder, 32 bytes.
        found: [u8; 32],
    },
    /// It was made for another operator.
    #[error(
        "The slashing protection database {} belongs to another operator.\n\
         It was made for operator {pinned}, and this folder is that of operator {found}.\n\
         Leave it where it is until you know how it came here. If two folders were mixed up, put each back as it was; never put a copy in \
         the place of another one.",
        path.display()
    )]
    OtherOperator {
        /// The file.
        path: PathBuf,
        /// The operator in it, from 1.
        pinned: u16,
        /// The operator of this folder, from 1.
        found: u16,
    },
    /// It was used on another chain.
    #[error(
        "The slashing protection database belongs to another chain.\n\
         Its genesis validators root is 0x{}, and this chain's is 0x{}.\n\
         Check which network the beacon node follows.",
        hex::encode(pinned),
        hex::encode(found)
    )]
    OtherChain {
        /// The root in it, 32 bytes.
        pinned: [u8; 32],
        /// The root that was offered, 32 bytes.
        found: [u8; 32],
    },
    /// Nobody has said yet on which chain it is used.
    #[error(
        "The slashing protection database is not bound to a chain yet.\n\
         Its genesis validators root becomes known when a beacon node is first asked.\n\
         Name the network with --network-file; conclave run asks its beacon node, but is not to be started before a history of other \
         software is imported."
    )]
    NoChain,
    /// The file was replaced or removed while it was open.
    #[error(
        "The slashing protection database {} was replaced or removed.\n\
         What this process has signed is not in the file that is there now.\n\
         Stop this process. Start it again only with the file that it wrote to; if that is gone, import your backup into a new folder and \
         start that one instead (conclave --data-dir NEW-FOLDER import FILE).",
        .0.display()
    )]
    Replaced(PathBuf),
    /// The disk.
    #[error(
        "The slashing protection database {} cannot be written.\n\
         {why}.\n\
         Nothing is signed until it can: look at the disk's free space and health.",
        path.display()
    )]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the disk says.
        why: String,
    },
    /// The lock and the operator do not fit together.
    #[error(
        "This lock cannot be guarded.\n\
         {0}.\n\
         Check cluster-lock.json with conclave verify."
    )]
    BadCluster(String),
    /// Proofs of peers are small.
    #[error(
        "What an operator is remembered by is too large.\n\
         It has {0} bytes.\n\
         This is a bug: please report it."
    )]
    ProofTooLarge(usize),
    /// An interchange file cannot be used.
    #[error(transparent)]
    Interchange(#[from] super::interchange::InterchangeError),
}
