//! No secret gets into a file by a crash.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Lets the operating system write no memory of this process, and of those that it starts, into a core dump: neither into a file nor
/// to a program that collects them, and lets no other process of the same user look into it. For the first moment of every command.
///
/// # Errors
/// What the operating system says; the command can go on.
pub(super) fn forbid() -> std::io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // A collector to which dumps are piped does not ask for the limit, so both are needed, and each is tried whatever comes of the other.
    let limited = setrlimit(Resource::Core, none);
    #[cfg(target_os = "linux")]
    let limited =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).and(limited);
    Ok(limited?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_dumped_any_more() {
        forbid().unwrap();
        let limit = rustix::process::getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        #[cfg(target_os = "linux")]
        assert_eq!(
            rustix::process::dumpable_behavior().unwrap(),
            rustix::process::DumpableBehavior::NotDumpable
        );
        // Another command of the same process, as in a test.
        forbid().unwrap();
    }
}
