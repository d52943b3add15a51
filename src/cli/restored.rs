//! What `run` asks and is told before a folder that was restored from a backup goes on.

use std::collections::BTreeSet;

use conclave_ceremony::{
    files::has_name,
    folder::DataFolder,
    problem::{Kind, Problem},
    restored,
};
use conclave_monitor::overview::words;
use conclave_slashing::{Cluster, Guard, Mark};
use conclave_validator::group::Group;

use super::{
    Context,
    args::RunArgs,
    news::Event,
    output::printable,
    prompt::{self, Prompt},
    slashing,
};

/// Before anything is made or changed.
const ASK: Prompt = Prompt::before("the node did not start, and nothing was changed");
/// What a person types.
const WORDS: &str = "the original is gone";

/// Opens the slashing protection. Of a folder that was restored from a backup, once its operator has said that the original is gone, one
/// is made that knows nothing and says so; the folder's own mark goes when that is durable.
///
/// # Errors
/// With what went wrong, and its exit code.
pub(super) fn open_guard(
    context: &Context,
    args: &RunArgs,
    folder: &DataFolder,
    cluster: Cluster,
) -> Result<Guard, Problem> {
    if restored::is_marked(folder.disk(), folder.root())? {
        return make_guard(folder, &cluster, || {
            let number = restored::number(folder.disk(), folder.root())?;
            confirm(context, args.original_is_gone.as_deref(), &number)
        });
    }
    let path = folder.slashing_protection();
    slashing::open_guard(folder.disk(), &path, cluster, args.new_slashing_database)
}

/// The slashing protection of a folder that bears the mark. Whatever stops this, the mark stays until the database has it.
fn make_guard(
    folder: &DataFolder,
    cluster: &Cluster,
    confirm: impl FnOnce() -> Result<(), Problem>,
) -> Result<Guard, Problem> {
    let (disk, path) = (folder.disk(), folder.slashing_protection());
    let fail = |error| slashing::problem(&error);
    let open = || Guard::open(&path, cluster.clone()).map_err(fail);
    let there = has_name(&path)?;
    // An earlier start was told, and was stopped before it could take the folder's mark away.
    let said = there && open()?.mark().map_err(fail)? == Some(Mark::Restored);
    if !said {
        confirm()?;
    }
    if !there {
        let bytes = conclave_slashing::new_database(cluster, Some(Mark::Restored)).map_err(fail)?;
        slashing::place(disk, &path, &bytes)?;
    }
    let guard = open()?;
    guard.mark_restored().map_err(fail)?;
    restored::unmark(disk, folder.root())?;
    Ok(guard)
}

/// Has the operator say that nothing else will ever sign with this share: of this one folder, whose number that is, and which may be `given`
/// beforehand. What was said of another folder is no word about this one.
fn confirm(context: &Context, given: Option<&str>, number: &str) -> Result<(), Problem> {
    let out = &context.output;
    out.say(
        "This folder was restored from a backup, or turned out to be an old copy. What its share signed after that was made is not in it.\nIf the original runs, or is \
         ever started again, both sign, and that costs the deposit.\n",
    );
    let flag = format!(
        "--original-is-gone {number}, if the machine and the folder that the backup was made of can never start again"
    );
    match given.map(str::trim) {
        Some(given) if given.eq_ignore_ascii_case(number) => return Ok(()),
        Some(given) => {
            return Err(Problem::new(
                Kind::Usage,
                "the word that the original is gone is not about this folder",
                format!(
                    "--original-is-gone names {}, and the number of this restored folder is {number}",
                    printable(given)
                ),
                format!("give {flag}; else do not start this folder"),
            ));
        }
        None if !out.can_ask() => return Err(prompt::unanswered(&[&flag])),
        None => {}
    }
    ASK.words("If the original can never start again", WORDS)
}

/// Says of a folder that was restored what it will wait for, before anything else is waited for.
///
/// # Errors
/// If that cannot be known.
pub(super) fn tell(context: &Context, folder: &DataFolder, guard: Option<&Guard>) -> Result<(), Problem> {
    let mark = guard.map(Guard::mark).transpose();
    let mark = mark.map_err(|error| slashing::problem(&error))?.flatten();
    if mark == Some(Mark::Restored) || restored::is_marked(folder.disk(), folder.root())? {
        context.output.warn(
            "this folder was restored from a backup: nothing is signed before the other operators are connected and have told what they \
             remember of it, and two whole epochs more are over",
        );
    }
    Ok(())
}

/// An operator by number and name: `#2 (bob)`.
fn numbered(group: &Group, operator: u16) -> String {
    format!("#{operator} ({})", printable(group.name(operator)))
}

/// Says for whom this folder is not to wait, before anything is done about it.
pub(super) fn tell_excused(context: &Context, group: &Group, excused: &BTreeSet<u16>) {
    if excused.is_empty() {
        return;
    }
    let names: Vec<String> = excused.iter().map(|other| numbered(group, *other)).collect();
    let message = format!(
        "--without: if this is a restored folder, it does not wait for {}",
        names.join(", ")
    );
    context.output.say(format!("{message}."));
    context.output.line(&Event::Notice { message });
}

/// For whom a restored folder does not wait: those who were named. Nobody if the folder waits for nobody.
///
/// # Errors
/// If the database cannot be read.
pub(super) fn if_it_waits(
    context: &Context,
    excused: BTreeSet<u16>,
    guard: Option<&Guard>,
) -> Result<BTreeSet<u16>, Problem> {
    if excused.is_empty() {
        return Ok(excused);
    }
    // A dry run waits for nobody in any folder, and looks at no mark.
    let Some(guard) = guard else {
        return Ok(BTreeSet::new());
    };
    let mark = guard.mark().map_err(|error| slashing::problem(&error))?;
    if mark != Some(Mark::Restored) {
        context
            .output
            .warn("--without has no effect: this folder waits for nobody");
        return Ok(BTreeSet::new());
    }
    Ok(excused)
}

/// Operators that were given by number or name. `#2` is always a number; what is one operator's number and another one's name is nobody's.
///
/// # Errors
/// If one is none of the others, or may be several; if fewer than t others would be left to answer.
pub(super) fn named(group: &Group, operator: u16, given: &[String]) -> Result<BTreeSet<u16>, Problem> {
    let others = || (1..=group.size()).filter(|other| *other != operator);
    let list = |operators: &BTreeSet<u16>| {
        let names: Vec<String> = operators.iter().map(|other| numbered(group, *other)).collect();
        names.join(", ")
    };
    let mut excused = BTreeSet::new();
    for text in given {
        let text = text.trim();
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse().ok().filter(|_| digits);
            number.filter(|number| others().any(|other| other == *number))
        };
        let found: BTreeSet<u16> = match text.strip_prefix('#').and_then(number) {
            Some(number) => [number].into(),
            // Our own name, too: whoever gives it means somebody else by that.
            None => (1..=group.size())
                .filter(|other| number(text) == Some(*other) || group.name(*other) == text)
                .collect(),
        };
        match found.first() {
            Some(one) if found.len() == 1 && *one != operator => excused.insert(*one),
            Some(_) if found.len() > 1 => {
                return Err(Problem::bad_input(
                    format!("{} may be one of several operators", printable(text)),
                    format!("by name or by number it is {}", list(&found)),
                    "give --without the number of the one that is meant, with # before it and in quotes: --without '#2'",
                ));
            }
            _ => {
                return Err(Problem::bad_input(
                    format!("{} names none of the other operators", printable(text)),
                    format!("they are {}", list(&others().collect())),
                    "give --without one of their names, or the number, with # before it and in quotes: --without '#2'",
                ));
            }
        };
    }
    let most = others().count().saturating_sub(usize::from(group.threshold));
    if excused.len() > most {
        let (n, threshold) = (usize::from(group.size()), group.threshold);
        return Err(Problem::bad_input(
            "so many operators cannot be done without",
            format!(
                "at least {threshold} of the others must tell what they remember, so at most {most} may be missing"
            ),
            format!(
                "have more of them start their nodes; until then nothing is signed here. If they never can: {}",
                words::if_gone_for_good(n, threshold)
            ),
        ));
    }
    Ok(excused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_ceremony::{
        files::{Disk, crashing_disk},
        restored::RESTORED,
    };
    use conclave_crypto::node::NodeKey;
    use conclave_slashing::ValidatorKeys;
    use conclave_validator::group::Operator;

    fn cluster() -> Cluster {
        let keys = ValidatorKeys {
            distributed: [1; 48],
            share: [2; 48],
        };
        Cluster::new([7; 32], 1, vec![keys]).unwrap()
    }

    fn refuse() -> Result<(), Problem> {
        Err(Problem::new(Kind::Usage, "nobody says so", "", ""))
    }

    /// Wherever the machine stops or the disk is full: the folder bears the mark, or its database does; and nothing is made
    /// before the original is said to be gone.
    #[test]
    fn the_mark_is_never_lost_between_the_folder_and_its_database() {
        for (old, steps) in [(None, 6), (Some(None), 1), (Some(Some(Mark::Moved)), 1)] {
            for k in 0.. {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join(conclave_slashing::FILE);
                restored::mark(&Disk::new(), dir.path()).unwrap();
                if let Some(mark) = old {
                    std::fs::write(&path, conclave_slashing::new_database(&cluster(), mark).unwrap())
                        .unwrap();
                }
                {
                    let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
                    make_guard(&folder, &cluster(), refuse).unwrap_err();
                    assert!(dir.path().join(RESTORED).exists() && path.exists() == old.is_some());
                }
                // The folder itself is opened well: what is interrupted comes after that.
                let (disk, counted) = crashing_disk(usize::MAX);
                drop(DataFolder::open(&disk, dir.path()).unwrap());
                let before = counted.load(std::sync::atomic::Ordering::SeqCst);
                let (disk, _) = crashing_disk(before + k);
                let folder = DataFolder::open(&disk, dir.path()).unwrap();
                let done = make_guard(&folder, &cluster(), || Ok(())).is_ok();
                drop(folder);
                let mark = || Guard::open(&path, cluster()).unwrap().mark().unwrap();
                let in_folder = dir.path().join(RESTORED).exists();
                assert!(in_folder || mark() == Some(Mark::Restored), "{old:?} {k}");
                assert!(!done || !in_folder);
                // The next start goes on; whoever was told is not asked again.
                let told = path.exists() && mark() == Some(Mark::Restored);
                if in_folder {
                    let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
                    let again = make_guard(&folder, &cluster(), refuse);
                    assert_eq!(again.is_ok(), told, "{old:?} {k}");
                }
                if done {
                    assert!(k >= steps, "{old:?} {k}");
                    break;
                }
            }
        }
    }

    fn group(names: &[&str], threshold: u16) -> Group {
        let key = NodeKey::from_bytes(&[1; 32]).unwrap().public();
        let operators = names.iter().map(|name| Operator {
            name: (*name).to_owned(),
            key,
        });
        Group {
            lock_hash: [7; 32],
            threshold,
            operators: operators.collect(),
            validators: Vec::new(),
        }
    }

    #[test]
    fn others_are_excused_by_name_and_never_too_many() {
        let five = group(&["ana", "ben", "cleo", "3", "ben"], 3);
        let named = |group: &Group, given: &[&str]| {
            let given: Vec<String> = given.iter().map(ToString::to_string).collect();
            super::named(group, 1, &given)
        };
        assert_eq!(named(&five, &["cleo"]).unwrap(), [3].into());
        assert_eq!(named(&five, &[" cleo ", "cleo"]).unwrap(), [3].into());
        assert_eq!(named(&five, &["5"]).unwrap(), [5].into());
        assert_eq!(named(&five, &["#5"]).unwrap(), [5].into());
        // What is one's number and another's name is neither; with # it is the number.
        assert_eq!(named(&five, &["#3"]).unwrap(), [3].into());
        assert_eq!(named(&five, &["#4"]).unwrap(), [4].into());
        for (word, several) in [("3", "#3 (cleo), #4 (3)"), ("ben", "#2 (ben), #5 (ben)")] {
            let problem = named(&five, &[word]).unwrap_err();
            assert!(
                problem.what.contains("may be one of several") && problem.why.contains(several),
                "{word}: {problem:?}"
            );
            assert!(problem.what_to_do.contains("with # before it"), "{problem:?}");
        }
        // Numbers are names of others, and of oneself.
        let numbers = group(&["2", "1", "#2", "4", "x"], 3);
        assert_eq!(named(&numbers, &["#2"]).unwrap(), [2].into());
        assert_eq!(named(&numbers, &["4"]).unwrap(), [4].into());
        assert!(
            named(&numbers, &["2"])
                .unwrap_err()
                .why
                .contains("#1 (2), #2 (1)")
        );
        assert_eq!(
            named(&numbers, &["1"]).unwrap(),
            [2].into(),
            "its name; #1 is oneself"
        );
        for wrong in ["ana", "1", "Cleo", "6", "0", "", "#", "#1", "#6", "+5", "dora"] {
            let problem = named(&five, &[wrong]).unwrap_err();
            assert!(
                problem.what.contains("none of the other operators"),
                "{wrong}: {problem:?}"
            );
        }
        let problem = named(&five, &["cleo", "5"]).unwrap_err();
        assert!(
            problem.why.contains("at least 3") && problem.why.contains("at most 1"),
            "{problem:?}"
        );
        assert!(
            problem
                .what_to_do
                .contains("1 at most: if more are, this share can never attest"),
            "{problem:?}"
        );
        let four = group(&["ana", "ben", "cleo", "dora"], 3);
        let problem = named(&four, &["dora"]).unwrap_err();
        assert!(problem.why.contains("at most 0"), "{problem:?}");
        assert!(
            problem
                .what_to_do
                .contains("in a group of 4 of whom 3 must sign, none of the others can be left out")
                && problem.what_to_do.contains("conclave exit"),
            "{problem:?}"
        );
    }
}
