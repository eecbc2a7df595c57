//! Why an object is not here.

use super::bucket::{Bucket, is_region};
use crate::hub::client::HttpAnswer;

/// Why an object is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StorageError {
    /// A signal asked to stop.
    Interrupted,
    /// The server refuses it, for the given reason.
    Refused {
        /// HTTP status.
        status: u16,
        /// The server's code and words, safe for a terminal.
        reason: String,
        /// The region in which the bucket is, if the server says that it is in another one.
        region: Option<String>,
    },
    /// The server cannot be reached, or its answer is unusable, for the given reason.
    Unreachable(String),
}

impl StorageError {
    /// The refusal that an answer of this status with these headers is.
    pub(super) fn of_refusal(answer: &HttpAnswer, region: &str, bucket: &Bucket) -> Self {
        let (status, body) = (answer.status, String::from_utf8_lossy(answer.body()));
        let named = find_element(&body, "Region").filter(|_| status == 400);
        let region =
            Some(region).filter(|region| !region.is_empty() && matches!(status, 301 | 307)).or(named);
        // It becomes a part of a command that people are told to run.
        let region = region.filter(|region| is_region(region)).map(str::to_owned);
        Self::Refused { status, reason: describe_refusal(answer, bucket), region }
    }
}

/// The server's code and words, safe for a terminal.
pub(super) fn describe_refusal(answer: &HttpAnswer, bucket: &Bucket) -> String {
    let (status, body) = (answer.status, String::from_utf8_lossy(answer.body()));
    let found = [find_element(&body, "Code"), find_element(&body, "Message")];
    let words: Vec<&str> = found.into_iter().flatten().collect();
    match words.is_empty() {
        true if status == 404 => "HTTP 404 without a code of S3".to_owned(),
        true => format!("HTTP {status}"),
        false => format!("{} (HTTP {status})", clean(&bucket.hide_keys(&words.join(": ")))),
    }
}

/// Whether a body says that the object does not exist. A 404 without that is of a missing bucket, or of a server that is no S3.
pub(super) fn says_no_such_key(answer: &HttpAnswer) -> bool {
    find_element(&String::from_utf8_lossy(answer.body()), "Code").map(str::trim) == Some("NoSuchKey")
}

/// The text of the first XML element of this name.
fn find_element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// A server's text as one short line.
fn clean(text: &str) -> String {
    let words = text.split(|letter: char| letter.is_control() || letter.is_whitespace());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ").chars().take(200).collect()
}
