//! Messages, and what begins with a slash instead of being one.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::session::ChatSession;
use crate::cli::CommandContext;
use crate::cli::asking::{SamplerWords, read_constraint};
use crate::error::{Error, Result};
use crate::pipeline::config::ConstraintSource;
use crate::pipeline::message::Speaker;
use crate::text::escape::show_path;
use crate::text::suggest;

/// The commands and what they do.
const COMMANDS: &[(&str, &str)] = &[
    ("/sampler [WORDS]", "show or change the sampler, such as `/sampler threshold threshold=0.9`"),
    ("/passes N", "passes of the sampler (also /steps)"),
    ("/temp X", "temperature of the sampler"),
    ("/length N", "largest number of new tokens; for /infill also a range such as 4..16"),
    ("/grow [N]", "by how many tokens the gap of /infill may grow, or not at all"),
    ("/seed N", "seed of the draws"),
    ("/regex [PATTERN]", "what answers have to match, or nothing"),
    ("/infill BEFORE [...] AFTER", "write the gap between two texts, or several, outside the conversation"),
    ("/system [TEXT]", "set the system turn, or remove it"),
    ("/save FILE", "write the conversation as JSON; with one more question, `generate --turns` reads it"),
    ("/undo", "remove the last turn of the user and its answer"),
    ("/help", "this list"),
    ("/quit", "end the chat (also /exit, Ctrl-D)"),
];

/// Marks of a gap.
const GAPS: &[&str] = &["[...]", "[…]"];

/// Answers a message, or does what it says after a slash.
pub(super) fn take_text(session: &mut ChatSession, text: &str, context: &CommandContext<'_>) -> Result<()> {
    let Some(command) = text.strip_prefix('/') else { return session.answer(text, context) };
    let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let value = rest.trim();
    match word {
        "help" => context.output.message(&render_help()),
        "sampler" if value.is_empty() => {
            context.output.message(&format!("{}\n", session.sampler.describe()));
        }
        "sampler" => change(session, context, |session| {
            session.sampler = SamplerWords::parse(&[value.to_owned()])?;
            Ok(())
        })?,
        "passes" | "steps" => change(session, context, |session| session.sampler.replace("passes", value))?,
        "temp" | "temperature" => {
            change(session, context, |session| session.sampler.replace("temperature", value))?;
        }
        "length" => change(session, context, |session| {
            session.length = value.to_owned();
            Ok(())
        })?,
        "seed" => {
            session.seed =
                value.parse().map_err(|_| usage("`/seed` takes a whole number", "write `/seed 7`"))?;
        }
        "grow" => session.grow = read_growth(value)?,
        "regex" => change(session, context, |session| set_pattern(session, value))?,
        "infill" => infill(session, rest, context)?,
        "system" => session.set_system(Some(value).filter(|text| !text.is_empty())),
        "save" => save(session, Path::new(value), context)?,
        "undo" => undo(session)?,
        _ => return Err(unknown(word)),
    }
    Ok(())
}

fn read_growth(value: &str) -> Result<Option<u32>> {
    let number = || value.parse().map_err(|_| usage("`/grow` takes a whole number", "write `/grow 32`"));
    if value.is_empty() { Ok(None) } else { number().map(Some) }
}

fn set_pattern(session: &mut ChatSession, pattern: &str) -> Result<()> {
    session.constraint = match pattern {
        "" => None,
        _ => Some(read_constraint("`/regex`", ConstraintSource::Regex(pattern.to_owned()))?),
    };
    Ok(())
}

/// Fills the gaps between texts, which are taken as they are, with their blanks.
fn infill(session: &mut ChatSession, text: &str, context: &CommandContext<'_>) -> Result<()> {
    let mark = GAPS.iter().find(|mark| text.contains(**mark));
    let mark =
        mark.ok_or_else(|| usage("`/infill` needs a gap", "mark it: `/infill The river [...] the sea`"))?;
    session.infill(&text.split(mark).collect::<Vec<_>>(), context)
}

/// Changes a setting, unless the result would not be one.
fn change(
    session: &mut ChatSession,
    context: &CommandContext<'_>,
    apply: impl FnOnce(&mut ChatSession) -> Result<()>,
) -> Result<()> {
    let before = (session.sampler.clone(), session.length.clone(), session.constraint.clone());
    let done = apply(session).and_then(|()| session.check(context));
    if done.is_err() {
        (session.sampler, session.length, session.constraint) = before;
    }
    done
}

fn undo(session: &mut ChatSession) -> Result<()> {
    let asked = session.turns.iter().rposition(|turn| turn.role == Speaker::User);
    let asked = asked.ok_or_else(|| usage("there is nothing to undo", "write a message first"))?;
    session.turns.truncate(asked);
    Ok(())
}

fn save(session: &ChatSession, file: &Path, context: &CommandContext<'_>) -> Result<()> {
    if file.as_os_str().is_empty() {
        return Err(usage("`/save` needs a file", "write `/save talk.json`"));
    }
    let text = serde_json::to_string_pretty(&session.turns).expect("turns have a text") + "\n";
    let write = || File::create_new(file)?.write_all(text.as_bytes());
    write().map_err(Error::io("write", file))?;
    context.output.message(&format!("saved in {}\n", show_path(file)));
    Ok(())
}

fn unknown(word: &str) -> Error {
    let names = || COMMANDS.iter().map(|(form, _)| form.split_whitespace().next().unwrap_or(form));
    let typed = format!("/{word}");
    let help = suggest::suggest_names(&typed, names());
    let help =
        help.unwrap_or_else(|| "`/help` lists the commands; a message cannot begin with `/`".to_owned());
    usage(&format!("there is no command `{typed}`"), &help)
}

fn usage(what: &str, help: &str) -> Error {
    Error::usage(what, help)
}

fn render_help() -> String {
    let line = |(form, meaning): &(&str, &str)| format!("  {form:<28}{meaning}\n");
    COMMANDS.iter().map(line).collect()
}
