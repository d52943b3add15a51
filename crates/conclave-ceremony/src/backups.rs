//! What people are told about backups: one advice, wherever it is given.

/// How a backup is made, and what it has and has not.
pub const MAKE: &str = "conclave backup FILE writes this folder into an encrypted file, also while conclave runs in it: the identity, the key \
                        shares, the lock and the ceremony, but not the slashing protection (slashing-protection.redb), which must never be copied";
/// What is to be copied as long as no backup can be made.
pub const BEFORE: &str = "until the ceremony is finished, copy charon-enr-private-key to a place that only you can open, and nothing else";
/// What a backup is for, and what it must not be used for.
pub const USE: &str = "A backup is for the day on which this machine and its folder are gone for good: conclave import makes a new folder of it, which \
                       waits for the other operators before it signs. It is no second copy to start beside this one, and to move to another machine \
                       there is conclave export";
/// What to do where something of a finished folder is lost or damaged.
pub const RESTORE: &str = "if you cannot mend it, import your backup into a new folder (conclave --data-dir NEW-FOLDER import FILE), and never start both";

/// What to do where a file of an unfinished ceremony is lost or damaged: there is no backup of one.
pub const PUT_BACK: &str =
    "put that file back if there is a copy of it, in a snapshot of the disk for example; delete nothing";
/// What to do where the identity is lost or damaged: it is what is to be copied by hand before there is a backup.
pub const PUT_BACK_IDENTITY: &str = "put back your copy of charon-enr-private-key; a new one does not help, as the definition names the old one";

/// How whoever joined with a wrong file starts again: with the identity that the right one names.
pub const START_ANEW: &str = "make a new folder, copy charon-enr-private-key and nothing else into it, and join there with the right file \
                              (--data-dir NEW-FOLDER); start nothing in the old folder any more, and delete nothing in it";

/// What to do where another ceremony is wanted in a folder that has the results of one: its identity stays with them.
pub const ANOTHER_CEREMONY: &str = "that ceremony has its results, and keeps its identity: make a new one in a new folder (conclave --data-dir \
                                    NEW-FOLDER identity new), and ask for a definition with its record";

/// For whom this folder is all there is of a share.
pub fn make_now() -> String {
    format!("Make a backup now, to a place that only you can open: {MAKE}.")
}
