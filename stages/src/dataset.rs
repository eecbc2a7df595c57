//! Opens a dataset for its rows, whole or shard by shard: its files, what its documents are compared with, and the options of its rows.

mod compared;
mod copies;
mod open;

pub(crate) use compared::{read_compared, read_kept_compared};
pub(crate) use copies::{COPIES, ShardCopies, find_copies, read_kept_copies, read_originals};
pub(crate) use open::{
    find_parts, open_documents, plan_shards, read_rows_options, remove_fetched, watch_documents,
};
