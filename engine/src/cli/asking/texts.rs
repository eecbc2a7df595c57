//! Reads what is asked from files and from stdin.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::pipeline::message::{Message, find_fault_of_turns};
use crate::text::escape::show_path;

/// Most bytes of a file or of stdin; no context takes more.
const PROMPT_BYTES: u64 = 64 << 20;

/// The text of a file or of stdin.
pub(in crate::cli) fn read_text(file: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let mut read = |source: &mut dyn Read| source.take(PROMPT_BYTES + 1).read_to_end(&mut bytes);
    let done = match file == Path::new("-") {
        true => read(&mut std::io::stdin().lock()),
        false => File::open(file).and_then(|mut open| read(&mut open)),
    };
    done.map_err(Error::io("read", file))?;
    let refused = |what: &str, help: &str| Error::Input {
        message: format!("{}: {what}", show_path(file)),
        help: Some(help.to_owned()),
    };
    if bytes.len() as u64 > PROMPT_BYTES {
        return Err(refused("a prompt of more than 64 MiB", "write a shorter one"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        refused(&format!("byte {at} is not UTF-8"), "convert the file to UTF-8")
    })
}

/// A list of turns, or an object whose `messages` is one.
#[derive(Deserialize)]
#[serde(untagged)]
enum TurnsFile {
    List(Vec<Message>),
    Object { messages: Vec<Message> },
}

/// The turns of a JSON file. The user speaks last, and nobody twice in a row.
pub(in crate::cli) fn read_turns(file: &Path) -> Result<Vec<Message>> {
    let text = read_text(file)?;
    let refused = |what: String, help: &str| Error::Input {
        message: format!("{}: {what}", show_path(file)),
        help: Some(help.to_owned()),
    };
    let form = r#"write a list of turns, such as `[{"role": "user", "content": "..."}]`; roles are system, user and assistant"#;
    // Without the object the message of the parser has the line of the fault.
    let messages = match serde_json::from_str::<Vec<Message>>(&text) {
        Ok(turns) => turns,
        Err(error) => match serde_json::from_str::<TurnsFile>(&text) {
            Ok(TurnsFile::List(messages) | TurnsFile::Object { messages }) => messages,
            Err(_) => return Err(refused(error.to_string(), form)),
        },
    };
    match find_fault_of_turns(&messages) {
        Some((what, help)) => Err(refused(what, help)),
        None => Ok(messages),
    }
}
