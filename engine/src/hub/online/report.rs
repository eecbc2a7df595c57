//! What is wrong with a repository, at the place that names it, with what to do.

use super::session::Session;
use super::{HubError, TOKEN_VARIABLE, clean_hub_text};
use crate::hub::lockfile::{Lockfile, Pin};
use crate::hub::pins::RepositoryUse;
use crate::pipeline::repository::{RepositoryKind, RepositoryRequest};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::place::Span;

impl Session<'_> {
    /// Tells one repository's trouble, once for all nodes that name it.
    pub(super) fn report_error(
        &mut self,
        trouble: &HubError,
        uses: &[&RepositoryUse],
        before: Option<&Pin>,
        lock: &Lockfile,
    ) {
        let (first, others) = uses.split_first().expect("a repository is asked about because nodes use it");
        let diagnostic = match trouble {
            HubError::NoRepository => self.no_repository(first),
            HubError::NoRevision => self.no_revision(first, before, lock),
            HubError::Gated => self.gated(first),
            HubError::BadToken => self.bad_token(first),
            HubError::Refused(why) | HubError::Unreachable(why) => self.refused(first, why),
        };
        let revision = *trouble == HubError::NoRevision;
        let place = |one: &&RepositoryUse| if revision { one.place().clone() } else { one.from.clone() };
        let places: Vec<Span> = others.iter().map(place).collect();
        self.sink
            .push(places.iter().fold(diagnostic, |diagnostic, place| diagnostic.also(place, "and here")));
    }

    fn no_repository(&self, one: &RepositoryUse) -> Diagnostic {
        let RepositoryRequest { kind, name, .. } = &one.asked;
        let public = if self.token.is_some() { "" } else { " to everybody" };
        let message = format!("the hub shows no {} `{name}`{public}", kind.word());
        let help = match self.other_kind(&one.asked) {
            Some(other) => format!(
                "a {} has this name; it is declared with `{} \"...\" from=\"hf:{name}\"`",
                other.word(),
                other.node()
            ),
            None if self.token.is_some() => {
                format!("correct the name, or have its owner open it to the account of `{TOKEN_VARIABLE}`")
            }
            None => format!("correct the name; if it is private, {}", self.token_help()),
        };
        Diagnostic::new(Code::RepositoryNotFound, message).at(&one.from, "not found").help(help)
    }

    /// The other kind of repository, if one of this name is there.
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
                format!("`{name}` has no commit {} any more, which `{}` pins", pin.commit, lock.name);
            return Diagnostic::new(Code::RevisionNotFound, message)
                .at(one.place(), "pinned to it")
                .help(format!("`{} --update` pins the commit that it stands for now", lock.update_command));
        }
        let message = match revision {
            Some(revision) => format!("`{name}` has no revision `{revision}`"),
            None => format!("`{name}` has no branch"),
        };
        Diagnostic::new(Code::RevisionNotFound, message)
            .at(one.place(), "no branch, tag or commit of it")
            .help(format!(
                "{page}/tree/main lists what it has; without `revision` its default branch is taken"
            ))
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
            None => format!("`{name}` is gated, and the hub was asked without an account"),
        };
        Diagnostic::new(Code::AccessDenied, message).at(&one.from, "no access").help(help)
    }

    fn bad_token(&self, one: &RepositoryUse) -> Diagnostic {
        let message = format!("the hub does not know the token in `{TOKEN_VARIABLE}`");
        let place = self.declared.as_ref().unwrap_or(&one.from);
        Diagnostic::new(Code::AccessDenied, message)
            .at(place, "mistyped, revoked or expired")
            .also(&one.from, "sent for this")
            .help(format!(
                "make a token at {}/settings/tokens, then `export {TOKEN_VARIABLE}=...`",
                self.hub.address()
            ))
    }

    fn refused(&self, one: &RepositoryUse, why: &str) -> Diagnostic {
        let help = match self.token {
            Some(_) => format!("look at {}", self.page(one.asked.kind, &one.asked.name)),
            None => format!("if it needs an account, {}", self.token_help()),
        };
        Diagnostic::new(
            Code::AccessDenied,
            format!("the hub refuses `{}`: {}", one.asked.name, clean_hub_text(why)),
        )
        .at(&one.from, "refused")
        .help(help)
    }

    /// One error for all repositories that a silent hub was not asked about.
    pub(super) fn report_silence(&mut self, why: &str, uses: &[&RepositoryUse]) {
        let message = format!("{} gives no usable answer: {}", self.hub.address(), clean_hub_text(why));
        let mut diagnostic = Diagnostic::new(Code::HubUnreachable, message);
        for (at, one) in uses.iter().enumerate() {
            diagnostic = match at {
                0 => diagnostic.at(&one.from, "asked for this"),
                _ => diagnostic.also(&one.from, "not asked for"),
            };
        }
        let help = "look at the network, `HF_ENDPOINT`, `HTTPS_PROXY` and `SSL_CERT_FILE`, then repeat; `--offline` asks nobody";
        self.sink.push(diagnostic.help(help));
    }

    fn token_help(&self) -> String {
        match self.declared {
            Some(_) => format!("set the environment variable: `export {TOKEN_VARIABLE}=...`"),
            None => format!("declare `secret \"{TOKEN_VARIABLE}\"` and `export {TOKEN_VARIABLE}=...`"),
        }
    }

    /// The page of a repository for people.
    fn page(&self, kind: RepositoryKind, name: &str) -> String {
        let folder = if kind == RepositoryKind::Dataset { "datasets/" } else { "" };
        format!("{}/{folder}{name}", self.hub.address())
    }
}
