//! One conversation with a hub: every repository is asked for once, every answer is compared with the lock file.

use indexmap::IndexMap;

use super::{Change, Columns, Hub, Resolution, SECRET, Secret, Trouble};
use crate::hub::lockfile::{Lockfile, Pin, PinnedFile};
use crate::hub::pins;
use crate::hub::pins::Use;
use crate::language::names::World;
use crate::pipeline::repository::{Asked, Kind};
use crate::text::diagnostic::Sink;
use crate::text::environment;
use crate::text::place::Span;

/// What is known during a conversation.
pub struct Session<'a> {
    pub(super) hub: &'a dyn Hub,
    pub(super) world: &'a World,
    pub(super) sink: &'a mut Sink,
    /// Where the hub's secret is declared, if it is.
    pub(super) declared: Option<Span>,
    /// Its value, if it is declared and there.
    pub(super) token: Option<Secret>,
    /// Columns by dataset, asked for once.
    pub(super) columns: IndexMap<String, Result<Columns, Trouble>>,
    /// Datasets whose columns stay unknown, by reason.
    pub(super) unknown: IndexMap<String, Vec<Span>>,
    update: bool,
}

/// A repository as it was found.
struct Found {
    pin: Pin,
    /// What the revision stands for.
    head: String,
    /// Files at the pin's commit.
    files: Vec<PinnedFile>,
}

impl<'a> Session<'a> {
    /// A conversation about the repositories of `world`; pins stay unless `update` is set.
    pub fn new(hub: &'a dyn Hub, update: bool, world: &'a World, sink: &'a mut Sink) -> Self {
        let declared = world.of_kind("secret").filter_map(|secret| secret.name_leaf());
        let declared =
            declared.into_iter().find(|leaf| leaf.text() == Some(SECRET)).map(|leaf| leaf.span.clone());
        let token = declared.as_ref().and_then(|_| environment::read_secret(SECRET)).map(Secret::new);
        let (columns, unknown) = (IndexMap::new(), IndexMap::new());
        Self { hub, world, sink, declared, token, columns, unknown, update }
    }

    /// Asks for everything, tells what is wrong, and makes the new lock file.
    pub fn resolve(mut self, old: &Lockfile) -> Resolution {
        // Addresses that are none are told by the offline part.
        let uses = pins::uses(self.world, &mut Sink::default());
        let mut groups: IndexMap<&Asked, Vec<&Use>> = IndexMap::new();
        uses.iter().for_each(|one| groups.entry(&one.asked).or_default().push(one));
        let mut answers = Answers::beside(old);
        for (asked, uses) in groups {
            self.ask(asked, &uses, old, &mut answers);
        }
        if let Some((why, uses)) = &answers.silent {
            self.tell_silence(why, uses);
        }
        self.tell_unknown_columns();
        answers.resolution(old)
    }

    /// Asks about one repository, unless the hub does not answer.
    fn ask<'u>(&mut self, asked: &Asked, uses: &[&'u Use], old: &Lockfile, answers: &mut Answers<'u>) {
        let before = old.pins.get(asked);
        let found = match &answers.silent {
            // A hub that does not answer once is not asked again.
            Some((why, _)) => Err(Trouble::Unreachable(why.clone())),
            None => self.repository(asked, before),
        };
        match found {
            Ok(found) => {
                uses.iter().for_each(|one| self.look(one, &found.files));
                answers.changes.push(change(asked, before, &found));
                answers.new.pins.insert(asked.clone(), found.pin);
                return;
            }
            Err(Trouble::Unreachable(why)) => {
                answers.silent.get_or_insert((why, Vec::new())).1.extend(uses);
            }
            Err(trouble) => self.tell(&trouble, uses, before, old),
        }
        answers.new.unresolved.insert(asked.clone());
        answers.new.pins.extend(before.map(|pin| (asked.clone(), pin.clone())));
    }

    /// The repository at the commit that is pinned, or that is to be.
    fn repository(&self, asked: &Asked, before: Option<&Pin>) -> Result<Found, Trouble> {
        let head = self.hub.commit(asked, self.token.as_ref())?;
        let kept = before.filter(|_| !self.update);
        let commit = kept.map_or(&head, |pin| &pin.commit);
        let files = self.hub.files(asked, commit, self.token.as_ref())?;
        let pin = kept.cloned().unwrap_or_else(|| Pin::of(asked.kind, commit, &files));
        Ok(Found { pin, head, files })
    }

    /// Looks for what a node names in its repository.
    fn look(&mut self, one: &Use, files: &[PinnedFile]) {
        let Some(record) = self.world.records.get(one.record) else { return };
        match one.asked.kind {
            Kind::Model => self.look_for_checkpoint(one, record, files),
            Kind::Dataset => {
                self.look_for_files(one, record, files);
                self.look_for_columns(one, record);
            }
        }
    }
}

fn change(asked: &Asked, before: Option<&Pin>, found: &Found) -> Change {
    let new = found.pin.commit.clone();
    let head = (found.head != new).then(|| found.head.clone());
    Change { asked: asked.clone(), old: before.map(|pin| pin.commit.clone()), new: Some(new), head }
}

/// What the hub has answered so far.
struct Answers<'u> {
    new: Lockfile,
    changes: Vec<Change>,
    /// Why the hub does not answer, and what asked for it in vain.
    silent: Option<(String, Vec<&'u Use>)>,
}

impl Answers<'_> {
    /// Nothing yet, for the same file as an old lock file.
    fn beside(old: &Lockfile) -> Self {
        let (name, cure, broken) = (old.name.clone(), old.cure.clone(), old.broken);
        let new = Lockfile { name, cure, broken, ..Lockfile::default() };
        Self { new, changes: Vec::new(), silent: None }
    }

    /// The new lock file, and what became of every pin of the old one.
    fn resolution(self, old: &Lockfile) -> Resolution {
        let Self { new, mut changes, .. } = self;
        let gone = old.pins.iter().filter(|(asked, _)| !new.pins.contains_key(*asked));
        changes.extend(gone.map(|(asked, pin)| Change {
            asked: asked.clone(),
            old: Some(pin.commit.clone()),
            new: None,
            head: None,
        }));
        Resolution { changes, changed: new.pins != old.pins, lock: new }
    }
}
