//! Why a record, or a file of them, cannot be read.

use std::io::Error;

use super::line::LineFault;
use super::place::RecordPlace;

/// Why a record, or a file, cannot be read.
#[derive(Debug)]
pub enum RecordFault {
    /// The storage reported an error, or a compressed file is damaged.
    Unreadable(Error),
    /// The file is not what the dataset says.
    Unfit(LineFault),
    /// A record is at fault.
    Record {
        /// Where it is.
        place: RecordPlace,
        /// What is wrong with it.
        fault: LineFault,
        /// Whether the rest of the file cannot be read after it.
        last: bool,
    },
}
