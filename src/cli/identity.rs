//! `conclave identity`: make, show and name who you are in a ceremony.

use conclave_ceremony::files::Disk;
use conclave_ceremony::folder::{DataFolder, refuse_within};
use conclave_ceremony::identity::{Identity, check_new_name};
use conclave_ceremony::problem::Problem;
use conclave_ceremony::progress::Event;
use conclave_ceremony::retirement;

use super::given::is_quoted;
use super::output::printable;
use super::{
    Context,
    prompt::{self, Prompt},
};

/// The one question.
const ASK: Prompt = Prompt::before("no identity was made");

pub(super) fn new(context: &Context, name: Option<String>) -> Result<(), Problem> {
    refuse_within(&context.data_dir)?;
    let folder = DataFolder::open_or_create(&Disk::new(), &context.data_dir)?;
    // Before anything is asked.
    Identity::refuse_another(folder.root())?;
    let name = match name {
        Some(name) => name,
        None if context.output.can_ask() => ASK.text(
            "Your name, as the others will see it",
            None,
            false,
            check_typed_name,
        )?,
        None => return Err(prompt::unanswered(&["--name NAME"])),
    };
    let identity = Identity::create(&folder, &name)?;
    context.output.say(format!(
        "Made the identity of {name} in {}. Keep that file secret and back it up: without it you cannot take part.\n",
        folder.identity().display()
    ));
    announce(context, &identity)
}

/// Where no shell takes quotes away, nobody means them.
fn check_typed_name(name: &str) -> Result<(), Problem> {
    if is_quoted(name) {
        return Err(Problem::bad_input(
            "there are quotes around the name",
            "they would be a part of it",
            "type it without them",
        ));
    }
    check_new_name(name)
}

pub(super) fn show(context: &Context) -> Result<(), Problem> {
    announce(context, &Identity::load(&Disk::new(), &context.data_dir)?)
}

pub(super) fn rename(context: &Context, name: &str) -> Result<(), Problem> {
    let folder = DataFolder::open(&Disk::new(), &context.data_dir)?;
    retirement::refuse(folder.disk(), folder.root())?;
    Identity::load(folder.disk(), folder.root())?;
    Identity::rename(&folder, name)?;
    context.output.say(format!(
        "Your name is {name} now. Send the record below again to whoever makes the definition.\n"
    ));
    announce(context, &Identity::load(folder.disk(), folder.root())?)
}

fn announce(context: &Context, identity: &Identity) -> Result<(), Problem> {
    let (disk, root) = (Disk::new(), &context.data_dir);
    let enr = identity.enr();
    let name = identity.name();
    let moved = retirement::said(&disk, root)?;
    for said in Identity::damaged_name(&disk, root)
        .into_iter()
        .chain(moved.clone())
    {
        context.output.warn(&printable(&said));
    }
    context.output.event(&Event::Identity {
        name: name.map(str::to_owned),
        enr: enr.text().to_owned(),
    });
    let what_for = if moved.is_some() || Identity::has_results(root) {
        "This is who the folder is in its cluster. For another ceremony make another identity, in a new folder: conclave --data-dir NEW-FOLDER \
         identity new"
    } else {
        "Send this to whoever makes the definition. It is public; send it in a way that shows that it is really from you."
    };
    context.output.say(format!(
        "{what_for}\n\n--operator '{}={}'",
        name.unwrap_or("NAME").replace('\'', "'\\''"),
        enr.text()
    ));
    Ok(())
}
