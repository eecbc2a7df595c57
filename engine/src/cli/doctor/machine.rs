//! Threads, memory, terminal and locale of the machine.

use std::io::IsTerminal;

use super::DoctorFindings;
use crate::text::display::format_bytes;
use crate::text::machine::{describe_system, read_memory};

pub(super) fn inspect_machine(findings: &mut DoctorFindings) {
    findings.add_fine("system", describe_system());
    match std::thread::available_parallelism() {
        Ok(threads) => findings.add_fine("threads", threads.to_string()),
        Err(error) => findings.add_note("threads", format!("unknown ({error}): fmflow uses one")),
    }
    match read_memory() {
        Some((total, free)) => {
            findings.add_fine("memory", format!("{}, {} available", format_bytes(total), format_bytes(free)))
        }
        None => findings.add_note("memory", "unknown on this system"),
    }
    inspect_terminal(findings);
}

fn inspect_terminal(findings: &mut DoctorFindings) {
    let stream = |terminal: bool| if terminal { "a terminal" } else { "not a terminal" };
    let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
    let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let color = if color { "" } else { ", NO_COLOR is set" };
    findings.add_fine("terminal", format!("stdout is {}, stderr is {}{color}", stream(out), stream(err)));
    // The first one that is set counts, as in setlocale(3).
    let names = ["LC_ALL", "LC_CTYPE", "LANG"];
    let locale = names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let locale = locale.unwrap_or_else(|| "none".to_owned());
    let utf8 = locale.to_lowercase().replace('-', "").contains("utf8");
    match utf8 {
        true => findings.add_fine("locale", locale),
        false => {
            findings.add_note("locale", format!("{locale}: the frames of messages may not display correctly"))
        }
    }
}
