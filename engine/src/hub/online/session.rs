//! One session with a hub: asks about every repository once and compares the answers with the lock file.

use indexmap::IndexMap;

use super::{Hub, HubError, LockResolution, PinChange, Secret, SubsetColumns, TOKEN_VARIABLE, find_token};
use crate::hub::lockfile::{Lockfile, Pin};
use crate::hub::pins;
use crate::hub::pins::RepositoryUse;
use crate::language::names::Declarations;
use crate::pipeline::repository::{PinnedFile, RepositoryKind, RepositoryRequest};
use crate::text::diagnostic::Sink;
use crate::text::place::Span;

/// A session with a hub about the repositories of one configuration.
pub(crate) struct Session<'a> {
    pub(super) hub: &'a dyn Hub,
    pub(super) world: &'a Declarations,
    pub(super) sink: &'a mut Sink,
    /// Where the pipeline declares the hub's token as a secret.
    pub(super) declared: Option<Span>,
    /// The token, if it is declared and set. An undeclared one is never sent.
    pub(super) token: Option<Secret>,
    /// The hub's answers by dataset.
    pub(super) columns: IndexMap<String, Result<SubsetColumns, HubError>>,
    /// Places of datasets and benchmarks whose columns cannot be checked, by reason.
    pub(super) unknown: IndexMap<String, Vec<Span>>,
    pub(super) update: bool,
}

/// A repository as the hub describes it.
struct FoundRepository {
    pin: Pin,
    /// The commit that the revision points to now.
    head: String,
    /// Files at the pin's commit.
    files: Vec<PinnedFile>,
}

impl<'a> Session<'a> {
    /// Starts a session about the repositories of `world`. Existing pins are kept unless `update` is set.
    pub(crate) fn new(hub: &'a dyn Hub, update: bool, world: &'a Declarations, sink: &'a mut Sink) -> Self {
        let declared = world.of_kind("secret").filter_map(|secret| secret.name_leaf());
        let declared = declared
            .into_iter()
            .find(|leaf| leaf.text() == Some(TOKEN_VARIABLE))
            .map(|leaf| leaf.span.clone());
        let token = declared.as_ref().and_then(|_| find_token(&[TOKEN_VARIABLE.to_owned()]));
        let (columns, unknown) = (IndexMap::new(), IndexMap::new());
        Self { hub, world, sink, declared, token, columns, unknown, update }
    }

    /// Asks about every repository, reports problems, and makes the new lock file.
    pub(crate) fn resolve(mut self, old: &Lockfile) -> LockResolution {
        // `pin_repositories` collects the same list later and reports malformed addresses then.
        let uses = pins::collect_repository_uses(self.world, &mut Sink::default());
        let mut groups: IndexMap<&RepositoryRequest, Vec<&RepositoryUse>> = IndexMap::new();
        uses.iter().for_each(|one| groups.entry(&one.asked).or_default().push(one));
        let mut answers = HubAnswers::for_lockfile(old);
        for (asked, uses) in groups {
            self.ask(asked, &uses, old, &mut answers);
        }
        if let Some((why, uses)) = &answers.unanswered {
            self.report_silence(why, uses);
        }
        self.report_unknown_columns();
        answers.into_resolution(old)
    }

    /// Asks about one repository, unless the hub has failed to answer before.
    fn ask<'u>(
        &mut self,
        asked: &RepositoryRequest,
        uses: &[&'u RepositoryUse],
        old: &Lockfile,
        answers: &mut HubAnswers<'u>,
    ) {
        let (before, errors) = (old.pins.get(asked), self.sink.errors());
        let found = match &answers.unanswered {
            // A hub that failed to answer is not asked again: every further request might wait for its timeout too.
            Some((why, _)) => Err(HubError::Unreachable(why.clone())),
            None => self.find_repository(asked, before),
        };
        match found {
            Ok(mut found) => match self.check_uses(uses, &mut found, before) {
                Ok(()) => {
                    if self.sink.errors() > errors {
                        answers.new.unresolved.insert(asked.clone());
                    }
                    answers.changes.push(build_pin_change(asked, before, &found));
                    answers.new.pins.insert(asked.clone(), found.pin);
                    return;
                }
                Err(HubError::Unreachable(why)) => {
                    answers.unanswered.get_or_insert((why, Vec::new())).1.extend(uses);
                }
                Err(error) => self.report_error(&error, uses, before, old),
            },
            Err(HubError::Unreachable(why)) => {
                answers.unanswered.get_or_insert((why, Vec::new())).1.extend(uses);
            }
            Err(error) => self.report_error(&error, uses, before, old),
        }
        // Keep the old pin: an error must not remove it from the lock file.
        answers.new.unresolved.insert(asked.clone());
        answers.new.pins.extend(before.map(|pin| (asked.clone(), pin.clone())));
    }

    /// Asks for the repository at the commit that is pinned, or else at the one to pin.
    fn find_repository(
        &self,
        asked: &RepositoryRequest,
        before: Option<&Pin>,
    ) -> Result<FoundRepository, HubError> {
        let head = self.hub.commit(asked, self.token.as_ref())?;
        let kept = before.filter(|_| !self.update);
        let commit = kept.map_or(&head, |pin| &pin.commit);
        let files = self.hub.files(asked, commit, self.token.as_ref())?;
        // Made anew even if it is kept: an older program may have written less about the same commit.
        let pin = Pin::from_files(asked.kind, commit, &files);
        Ok(FoundRepository { pin, head, files })
    }

    /// Checks that the repository has the files and columns that each node names, and adds the files of datasets to the pin.
    fn check_uses(
        &mut self,
        uses: &[&RepositoryUse],
        found: &mut FoundRepository,
        before: Option<&Pin>,
    ) -> Result<(), HubError> {
        for one in uses {
            let record = self.world.at(&one.record);
            if one.asked.kind == RepositoryKind::Model {
                self.check_checkpoint_files(one, record, &found.files);
                continue;
            }
            if !self.check_file_pattern(one, record, &found.files) {
                continue;
            }
            let kept = before.and_then(|pin| pin.selections.get(&one.part));
            let Some(selection) = self.select_files(one, &found.pin.commit, &found.files, kept)? else {
                continue;
            };
            match one.benchmark {
                Some(benchmark) => self.check_benchmark_columns(one, benchmark),
                None => self.check_dataset_columns(one, record, selection.subset.as_deref()),
            }
            found.pin.selections.insert(one.part.clone(), selection);
        }
        Ok(())
    }
}

fn build_pin_change(asked: &RepositoryRequest, before: Option<&Pin>, found: &FoundRepository) -> PinChange {
    let new = found.pin.commit.clone();
    let head = (found.head != new).then(|| found.head.clone());
    PinChange { asked: asked.clone(), old: before.map(|pin| pin.commit.clone()), new: Some(new), head }
}

/// The hub's answers so far.
struct HubAnswers<'u> {
    new: Lockfile,
    changes: Vec<PinChange>,
    /// Why the hub does not answer, and the nodes that could not be checked.
    unanswered: Option<(String, Vec<&'u RepositoryUse>)>,
}

impl HubAnswers<'_> {
    /// No answers yet; the new lock file goes to the same path as the old one.
    fn for_lockfile(old: &Lockfile) -> Self {
        let (name, update_command, broken) = (old.name.clone(), old.update_command.clone(), old.broken);
        let new = Lockfile { name, update_command, broken, ..Lockfile::default() };
        Self { new, changes: Vec::new(), unanswered: None }
    }

    /// Returns the new lock file and the change of every pin, including removed ones.
    fn into_resolution(self, old: &Lockfile) -> LockResolution {
        let Self { new, mut changes, .. } = self;
        let gone = old.pins.iter().filter(|(asked, _)| !new.pins.contains_key(*asked));
        changes.extend(gone.map(|(asked, pin)| PinChange {
            asked: asked.clone(),
            old: Some(pin.commit.clone()),
            new: None,
            head: None,
        }));
        LockResolution { changes, changed: new.pins != old.pins, lock: new }
    }
}
