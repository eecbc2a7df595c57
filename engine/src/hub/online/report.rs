//! Diagnostics for repositories that a hub does not give access to.

use super::session::Session;
use super::{HubError, TOKEN_VARIABLE, clean_hub_text};
use crate::hub::lockfile::{Lockfile, Pin};
use crate::hub::pins::{self, RepositoryUse};
use crate::pipeline::repository::{RepositoryKind, RepositoryRequest};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::place::Span;

impl Session<'_> {
    /// Reports an error of one repository, once for all nodes that name it.
    pub(super) fn report_error(
        &mut self,
        error: &HubError,
        uses: &[&RepositoryUse],
        before: Option<&Pin>,
        lock: &Lockfile,
    ) {
        let uses = pins::drop_repeated_places(uses);
        let (first, others) = uses.split_first().expect("a repository is looked up because nodes use it");
        let diagnostic = match error {
            HubError::NoRepository => self.no_repository(first),
            HubError::NoRevision => self.no_revision(first, before, lock),
            HubError::Gated => self.gated(first),
            HubError::BadToken => self.bad_token(first),
            HubError::BadCard(why) => bad_card(first, why),
            HubError::Refused(why) | HubError::Unreachable(why) => self.refused(first, why),
        };
        let revision = *error == HubError::NoRevision;
        let place = |one: &&RepositoryUse| if revision { one.place().clone() } else { one.from.clone() };
        let places: Vec<Span> = others.iter().map(place).collect();
        self.sink
            .push(places.iter().fold(diagnostic, |diagnostic, place| diagnostic.also(place, "and here")));
    }

    fn no_repository(&self, one: &RepositoryUse) -> Diagnostic {
        let RepositoryRequest { kind, name, .. } = &one.asked;
        let public = if self.token.is_some() { "" } else { " public" };
        let message = format!("no{public} {} `{name}` was found on the hub", kind.word());
        let help = match self.other_kind(&one.asked) {
            Some(other) => format!(
                "there is a {} of this name: declare it with `{} \"...\" from=\"hf:{name}\"`",
                other.word(),
                other.node()
            ),
            None if self.token.is_some() => {
                format!("correct the name, or ask its owner to give the account of `{TOKEN_VARIABLE}` access")
            }
            None => format!("correct the name; if it is private, {}", self.token_help()),
        };
        Diagnostic::new(Code::RepositoryNotFound, message).at(&one.from, "not found").help(help)
    }

    /// The other kind of repository, if the hub has one of this name, such as a dataset that is declared as a `fetch`.
    fn other_kind(&self, asked: &RepositoryRequest) -> Option<RepositoryKind> {
        let kind = RepositoryKind::ALL.into_iter().find(|kind| *kind != asked.kind)?;
        let other = RepositoryRequest { kind, name: asked.name.clone(), revision: None };
        self.hub.commit(&other, self.token.as_ref()).is_ok().then_some(kind)
    }

    fn no_revision(&self, one: &RepositoryUse, before: Option<&Pin>, lock: &Lockfile) -> Diagnostic {
        let RepositoryRequest { kind, name, revision } = &one.asked;
        let page = self.page(*kind, name);
        if let Some(pin) = before {
            let message =
                format!("`{}` pins commit {} of `{name}`, which no longer exists", lock.name, pin.commit);
            return Diagnostic::new(Code::RevisionNotFound, message)
                .at(one.place(), "pinned to that commit")
                .help(format!("run `{} --update` to pin its current commit", lock.update_command));
        }
        let message = match revision {
            Some(revision) => format!("`{name}` has no revision `{revision}`"),
            None => format!("`{name}` has no branch"),
        };
        Diagnostic::new(Code::RevisionNotFound, message).at(one.place(), "not a branch, tag or commit").help(
            format!("{page}/tree/main lists its revisions; without `revision`, its default branch is used"),
        )
    }

    fn gated(&self, one: &RepositoryUse) -> Diagnostic {
        let RepositoryRequest { kind, name, .. } = &one.asked;
        let page = self.page(*kind, name);
        let help = match self.token {
            Some(_) => format!("accept its terms at {page} with the account of `{TOKEN_VARIABLE}`"),
            None => format!("accept its terms at {page}, then {}", self.token_help()),
        };
        let message = match self.token {
            Some(_) => format!("`{name}` is gated, and the account of `{TOKEN_VARIABLE}` has no access"),
            None => format!("`{name}` is gated, and no account was given"),
        };
        Diagnostic::new(Code::AccessDenied, message).at(&one.from, "no access").help(help)
    }

    fn bad_token(&self, one: &RepositoryUse) -> Diagnostic {
        let message = format!("the hub does not accept the token in `{TOKEN_VARIABLE}`");
        let place = self.declared.as_ref().unwrap_or(&one.from);
        Diagnostic::new(Code::AccessDenied, message)
            .at(place, "mistyped, revoked or expired")
            .also(&one.from, "sent to get this")
            .help(format!(
                "create a token at {}/settings/tokens, then `export {TOKEN_VARIABLE}=...`",
                self.hub.address()
            ))
    }

    fn refused(&self, one: &RepositoryUse, why: &str) -> Diagnostic {
        let help = match self.token {
            Some(_) => format!("see {}", self.page(one.asked.kind, &one.asked.name)),
            None => format!("if it needs an account, {}", self.token_help()),
        };
        Diagnostic::new(
            Code::AccessDenied,
            format!("the hub refuses `{}`: {}", one.asked.name, clean_hub_text(why)),
        )
        .at(&one.from, "refused")
        .help(help)
    }

    /// Reports a hub that does not answer: one error, with all repositories that could not be checked.
    pub(super) fn report_silence(&mut self, why: &str, uses: &[&RepositoryUse]) {
        let message = format!("{} gave no usable answer: {}", self.hub.address(), clean_hub_text(why));
        let uses = pins::drop_repeated_places(uses);
        let mut diagnostic = Diagnostic::new(Code::HubUnreachable, message);
        for (at, one) in uses.iter().enumerate() {
            diagnostic = match at {
                0 => diagnostic.at(&one.from, "asked about this"),
                _ => diagnostic.also(&one.from, "not checked"),
            };
        }
        let help = "check the network, `HF_ENDPOINT`, `HTTPS_PROXY` and `SSL_CERT_FILE`, then try again; `--offline` asks no hub";
        self.sink.push(diagnostic.help(help));
    }

    fn token_help(&self) -> String {
        match self.declared {
            Some(_) => format!("set the environment variable: `export {TOKEN_VARIABLE}=...`"),
            None => format!("declare `secret \"{TOKEN_VARIABLE}\"` and `export {TOKEN_VARIABLE}=...`"),
        }
    }

    /// URL of a repository's web page.
    fn page(&self, kind: RepositoryKind, name: &str) -> String {
        let folder = if kind == RepositoryKind::Dataset { "datasets/" } else { "" };
        format!("{}/{folder}{name}", self.hub.address())
    }
}

fn bad_card(one: &RepositoryUse, why: &str) -> Diagnostic {
    let message =
        format!("the card of `{}` (README.md) cannot be used: {}", one.asked.name, clean_hub_text(why));
    Diagnostic::new(Code::NoFiles, message)
        .at(&one.from, "which files?")
        .help("choose files without the card: `files=\"data/*.jsonl\"`")
}
