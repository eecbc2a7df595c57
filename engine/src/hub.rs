//! Repositories on a hub: the interface to a hub, the commits that repositories are pinned to, and the lock file that
//! records them.

pub mod lockfile;
pub mod online;
pub(crate) mod pins;
