//! Fetches one object: asked for again while that helps, and no more of it taken than is allowed.

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use super::bucket::Bucket;
use super::error::{StorageError, describe_refusal, says_no_such_key};
use crate::hub::address::RequestError;
use crate::hub::client::{HttpAnswer, HttpClient, Response, Wanted, read_header};
use crate::hub::transfer::LONGEST_WAIT;

/// The most times that one object is asked for.
const ATTEMPTS: u32 = 5;

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// It does not exist.
    Missing,
    /// It is larger than allowed.
    TooLarge,
}

/// Why one attempt brought nothing.
enum ObjectAttemptError {
    /// A further one may help, after the wait that the server asks for.
    Again(String, Option<Duration>),
    Final(StorageError),
}

impl From<RequestError> for ObjectAttemptError {
    fn from(RequestError { why, again }: RequestError) -> Self {
        if again { Self::Again(why, None) } else { Self::Final(StorageError::Unreachable(why)) }
    }
}

/// Fetches an object of at most `most` bytes. `pause` waits, and says whether to stop.
pub(super) fn fetch_object(
    client: &HttpClient,
    bucket: &Bucket,
    key: &str,
    most: u64,
    pause: impl Fn(Duration) -> bool,
) -> Result<Fetched, StorageError> {
    let mut attempt = 0;
    loop {
        let (why, asked) = match ask_once(client, bucket, key, most) {
            Ok(fetched) => return Ok(fetched),
            Err(ObjectAttemptError::Final(error)) => return Err(error),
            Err(ObjectAttemptError::Again(why, asked)) => (why, asked),
        };
        if asked.is_some_and(|wait| wait > LONGEST_WAIT) {
            let seconds = asked.unwrap_or_default().as_secs();
            return Err(StorageError::Unreachable(format!("{why}; the server asks to wait {seconds} s")));
        }
        attempt += 1;
        if attempt == ATTEMPTS {
            return Err(StorageError::Unreachable(why));
        }
        if pause(asked.unwrap_or_else(|| client.timeouts.pause.saturating_mul(1 << (attempt - 1)))) {
            return Err(StorageError::Interrupted);
        }
    }
}

fn ask_once(
    client: &HttpClient,
    bucket: &Bucket,
    key: &str,
    most: u64,
) -> Result<Fetched, ObjectAttemptError> {
    // Signed anew each time: a signature is valid for minutes.
    let request = bucket.request(key, SystemTime::now());
    let response = client.ask(Wanted::Object, &request.url, &request.headers)?;
    let status = response.status().as_u16();
    if status == 200 {
        return take(response, most);
    }
    let region = read_header(&response, "x-amz-bucket-region");
    let answer = HttpAnswer::read(response)?;
    match status {
        404 if says_no_such_key(&answer) => Ok(Fetched::Missing),
        429 | 500 | 502..=599 => {
            let wait = answer.retry_after.map(Duration::from_secs);
            Err(ObjectAttemptError::Again(describe_refusal(&answer, bucket), wait))
        }
        _ => Err(ObjectAttemptError::Final(StorageError::of_refusal(&answer, &region, bucket))),
    }
}

/// Takes the body, which has to have the length that was announced.
fn take(response: Response, most: u64) -> Result<Fetched, ObjectAttemptError> {
    let announced = read_header(&response, "content-length").parse::<u64>().ok();
    if announced.is_some_and(|length| length > most) {
        return Ok(Fetched::TooLarge);
    }
    let again = |why: String| ObjectAttemptError::Again(why, None);
    if announced.is_none() && !is_chunked(&response) {
        // The end of the connection would be the end of the object, wherever it was cut.
        let why = "the answer has neither a length nor chunks, so a part of it could be missing unnoticed";
        return Err(again(why.to_owned()));
    }
    let mut bytes = Vec::new();
    let body = response.into_body().into_with_config().limit(u64::MAX).reader();
    body.take(most + 1).read_to_end(&mut bytes).map_err(|error| again(error.to_string()))?;
    let length = bytes.len() as u64;
    match announced.filter(|announced| *announced != length) {
        Some(announced) => Err(again(format!("the connection ended after {length} of {announced} bytes"))),
        None if length > most => Ok(Fetched::TooLarge),
        None => Ok(Fetched::Bytes(bytes)),
    }
}

fn is_chunked(response: &Response) -> bool {
    read_header(response, "transfer-encoding").to_ascii_lowercase().contains("chunked")
}
