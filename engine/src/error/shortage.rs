//! Storage that takes no more bytes.

use std::io;

use super::failure::visit_causes;
use crate::text::display::format_bytes;
use crate::text::limits::read_file_size_limit;

/// What storage is short of. Each ends a command with exit code 6, because the run continues once there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// The disk is full (ENOSPC); it may also be out of inodes.
    Disk,
    /// The quota of the user or the group is used up (EDQUOT).
    Quota,
    /// The file would be larger than the process or the file system allows (EFBIG).
    FileSize,
}

impl Shortage {
    /// The shortage at the bottom of an error, however often it was wrapped.
    #[must_use]
    pub fn find(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        visit_causes(error, |cause| Self::from_kind(cause.downcast_ref::<io::Error>()?.kind()))
    }

    fn from_kind(kind: io::ErrorKind) -> Option<Self> {
        match kind {
            io::ErrorKind::StorageFull => Some(Self::Disk),
            io::ErrorKind::QuotaExceeded => Some(Self::Quota),
            io::ErrorKind::FileTooLarge => Some(Self::FileSize),
            _ => None,
        }
    }

    /// How to fix it.
    #[must_use]
    pub(crate) fn help(self) -> String {
        let what = match self {
            Self::Disk => "free some space".to_owned(),
            Self::Quota => "free some space of your quota, or have it raised".to_owned(),
            Self::FileSize => match read_file_size_limit() {
                Some(limit) => {
                    format!(
                        "raise the limit on the size of a file, which is {} (`ulimit -f`)",
                        format_bytes(limit)
                    )
                }
                None => "use a file system that can hold larger files".to_owned(),
            },
        };
        format!("{what}, then run the same command again: it continues where it stopped")
    }
}
