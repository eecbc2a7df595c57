//! One conversation with a hub: every repository is asked for once, every answer is compared with the lock file.

use indexmap::IndexMap;

use super::{Change, Columns, Hub, Resolution, SECRET, Secret, Trouble};
use crate::diagnostic::Sink;
use crate::file;
use crate::lockfile::{Lockfile, Pin, PinnedFile};
use crate::pipeline::Span;
use crate::repository::{self, Asked, Kind, Use};
use crate::resolve::World;

/// What is known during a conversation.
pub(super) struct Session<'a> {
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
    pub(super) fn new(hub: &'a dyn Hub, update: bool, world: &'a World, sink: &'a mut Sink) -> Self {
        let declared = world.of_kind("secret").filter_map(|secret| secret.name_leaf());
        let declared =
            declared.into_iter().find(|leaf| leaf.text() == Some(SECRET)).map(|leaf| leaf.span.clone());
        let token = declared.as_ref().and_then(|_| file::secret(SECRET)).map(Secret::new);
        let (columns, unknown) = (IndexMap::new(), IndexMap::new());
        Self { hub, world, sink, declared, token, columns, unknown, update }
    }

    /// Asks for everything, tells what is wrong, and makes the new lock file.
    pub(super) fn resolve(mut self, old: &Lockfile) -> Resolution {
        // Addresses that are none are told by the offline part.
        let uses = repository::uses(self.world, &mut Sink::default());
        let mut groups: IndexMap<&Asked, Vec<&Use>> = IndexMap::new();
        uses.iter().for_each(|one| groups.entry(&one.asked).or_default().push(one));
        let mut new = Lockfile {
            name: old.name.clone(),
            cure: old.cure.clone(),
            broken: old.broken,
            ..Lockfile::default()
        };
        let mut changes = Vec::new();
        let mut silent: Option<(String, Vec<&Use>)> = None;
        for (asked, uses) in groups {
            let before = old.pins.get(asked);
            let found = match &silent {
                Some((why, _)) => Err(Trouble::Unreachable(why.clone())),
                None => self.repository(asked, before),
            };
            match found {
                Ok(found) => {
                    uses.iter().for_each(|one| self.look(one, &found.files));
                    changes.push(change(asked, before, &found));
                    new.pins.insert(asked.clone(), found.pin);
                    continue;
                }
                // A hub that does not answer once is not asked again.
                Err(Trouble::Unreachable(why)) => silent.get_or_insert((why, Vec::new())).1.extend(uses),
                Err(trouble) => self.tell(&trouble, &uses, before, old),
            }
            new.unresolved.insert(asked.clone());
            new.pins.extend(before.map(|pin| (asked.clone(), pin.clone())));
        }
        if let Some((why, uses)) = silent {
            self.tell_silence(&why, &uses);
        }
        self.tell_unknown_columns();
        let gone = old.pins.iter().filter(|(asked, _)| !new.pins.contains_key(*asked));
        changes.extend(gone.map(|(asked, pin)| Change {
            asked: asked.clone(),
            old: Some(pin.commit.clone()),
            new: None,
            head: None,
        }));
        Resolution { changes, changed: new.pins != old.pins, lock: new }
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
