//! From files to rows, and from rows to a mixture.
//!
//! In the order in which data travel:
//! [`corpus`] reads documents, [`tokenizer`] (trained by `bpe`) turns them into ids, [`chat`] lays conversations out
//! ([`named`] tells where data name its tokens),
//! [`packing`] fills rows of one length, [`left_out`] says what does not fit, [`build`] does all of that for a dataset, [`rows`] is the format on disk and
//! [`mixture`] says which row comes i-th.
//!
//! A held-out document never enters a tokenizer or a training row: [`corpus::is_held_out`] is the one place that decides.

mod bpe;
pub mod build;
pub mod chat;
pub mod corpus;
pub mod dropped;
pub mod mixture;
pub mod packing;
pub mod rows;
pub mod special_token_mentions;
pub mod template;
pub mod tokenizer;
pub mod tokenizer_error;
