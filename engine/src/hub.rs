//! Repositories on a hub: the seam to it, the commits that its answers are pinned to, and the lock file that keeps them.

pub mod lockfile;
pub mod online;
pub mod pins;
