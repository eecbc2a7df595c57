//! From files to rows, and from rows to a mixture.
//!
//! In the order in which data flow through them:
//! [`corpus`] reads documents, [`contamination`] leaves those with words of a benchmark out, [`tokenizer`] (trained by `bpe`) turns them into ids, [`chat`] lays out conversations
//! ([`special_token_mentions`] reports data that contain the names of its tokens), [`packing`] fills rows of one length,
//! [`dropped`] reports what does not fit, [`build`] does all of this for a dataset, shard by shard ([`shards`]), [`rows`] is the
//! format on disk, [`mixture`] says which dataset gives the i-th row, and [`order`] which of its rows that is.
//!
//! A held-out document never enters a tokenizer or a training row. [`fmflow_engine::documents::is_held_out`] is the only place that decides.

mod bpe;
pub(crate) mod build;
pub mod chat;
pub(crate) mod contamination;
pub(crate) mod corpus;
pub(crate) mod dropped;
pub(crate) mod mixture;
pub(crate) mod order;
pub mod packing;
pub(crate) mod rows;
pub(crate) mod special_token_mentions;
pub mod template;
pub mod tokenizer;
pub(crate) mod tokenizer_error;
