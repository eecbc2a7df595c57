//! What the operating system allows this process: too little is an error with its cure, and no command ends without a word.

use super::signals;
use crate::error::{Error, Result};
use crate::text::display::format_bytes;
use crate::text::limits;

/// Stack that every command needs, in bytes. With 64 KiB the arguments cannot be parsed.
const LEAST_STACK_BYTES: u64 = 256 << 10;

/// Memory that every command needs, in bytes: most of it is the stack of the parser.
const LEAST_MEMORY_BYTES: u64 = 96 << 20;

/// A limit on the stack that the command line itself does not fit. It is read before anything needs much of it.
pub(super) fn refuse_small_stack() -> Option<Error> {
    let limit = limits::read_stack_limit().filter(|limit| *limit < LEAST_STACK_BYTES)?;
    let (limit, least) = (format_bytes(limit), format_bytes(LEAST_STACK_BYTES));
    let message =
        format!("this process may use {limit} of stack (`ulimit -s`), and fmflow needs at least {least}");
    Some(Error::usage(message, "raise the limit: `ulimit -s 8192`"))
}

/// Makes sure that the limits of this process end no command without a word.
pub(super) fn prepare_process() -> Result<()> {
    signals::survive_large_files()?;
    match limits::read_memory_limit() {
        Some(limit) if limit < LEAST_MEMORY_BYTES => {
            let (limit, least) = (format_bytes(limit), format_bytes(LEAST_MEMORY_BYTES));
            let message = format!(
                "this process may use {limit} of memory (`ulimit -v`), and fmflow needs at least {least}"
            );
            Err(Error::usage(message, "raise the limit: `ulimit -v unlimited`"))
        }
        _ => Ok(()),
    }
}
