//! Objects in S3, or in a server that speaks as it does: fetched in parallel, handed out in the order in which they were asked for.
//!
//! `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` names the server, `AWS_REGION` or `AWS_DEFAULT_REGION` the region, as for Amazon's own
//! tools. Requests are signed if the pipeline declares the keys, and anonymous otherwise.

mod bucket;
mod error;
mod fetch;
mod signature;
mod stream;

pub(crate) use bucket::Bucket;
pub(crate) use error::StorageError;
pub(crate) use fetch::Fetched;
pub(crate) use stream::ObjectStream;

#[cfg(test)]
mod tests;
