//! `conclave identity`: make, show and name who you are in a ceremony.

use crate::ceremony::files::Disk;
use crate::ceremony::folder::DataFolder;
use crate::ceremony::identity::{Identity, check_name};
use crate::ceremony::problem::Problem;
use crate::ceremony::progress::Event;

use super::{Context, prompt};

pub(super) fn new(context: &Context, name: Option<String>) -> Result<(), Problem> {
    let folder = DataFolder::open_or_create(&Disk::new(), &context.data_dir)?;
    let name = match name {
        Some(name) => name,
        None if context.output.can_ask() => {
            prompt::text("Your name, as the others will see it", None, false, check_name)?
        }
        None => return Err(prompt::unanswered(&["--name NAME"])),
    };
    let identity = Identity::create(&folder, &name)?;
    context.output.say(format!(
        "Made the identity of {name} in {}. Keep that file secret and back it up: without it you cannot take part.\n",
        folder.identity().display()
    ));
    announce(context, &identity);
    Ok(())
}

pub(super) fn show(context: &Context) -> Result<(), Problem> {
    let identity = Identity::load(&Disk::new(), &context.data_dir)?;
    announce(context, &identity);
    Ok(())
}

pub(super) fn rename(context: &Context, name: &str) -> Result<(), Problem> {
    let folder = DataFolder::open(&Disk::new(), &context.data_dir)?;
    Identity::load(folder.disk(), folder.root())?;
    Identity::rename(&folder, name)?;
    announce(context, &Identity::load(folder.disk(), folder.root())?);
    Ok(())
}

fn announce(context: &Context, identity: &Identity) {
    let enr = identity.enr();
    let name = identity.name();
    context.output.event(&Event::Identity {
        name: name.map(str::to_owned),
        enr: enr.text().to_owned(),
    });
    context.output.say(format!(
        "Send this to whoever makes the definition. It is public; send it in a way that shows that it is really from you.\n\n\
         --operator '{}={}'",
        name.unwrap_or("NAME").replace('\'', "'\\''"),
        enr.text()
    ));
}
