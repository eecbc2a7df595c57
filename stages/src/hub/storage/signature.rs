//! Signatures of requests to S3: AWS Signature Version 4 in the header `Authorization`, as "Authenticating Requests: Using the
//! Authorization Header" of the Amazon S3 API Reference describes it. Its example is a test.

use std::time::Duration;

use jiff::Timestamp;
use ring::{digest, hmac};

use crate::hub::hash::to_hex;

/// SHA-256 of nothing, which is the body of every request here.
pub(super) const NO_BODY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What a signature depends on, besides the request.
pub(super) struct Signature<'a> {
    /// Who asks.
    pub(super) id: &'a str,
    /// The secret key.
    pub(super) key: &'a str,
    /// The region of the bucket.
    pub(super) region: &'a str,
    /// The time, as [`format_time`] writes it.
    pub(super) time: &'a str,
}

impl Signature<'_> {
    /// The value of `Authorization` of a GET without a query. `path` is encoded; the names of `headers` are in lower case and sorted.
    pub(super) fn authorize(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let lines: String =
            headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let request = format!("GET\n{path}\n\n{lines}\n{names}\n{NO_BODY}");
        let day = &self.time[..8];
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let hash = to_hex(digest::digest(&digest::SHA256, request.as_bytes()).as_ref());
        let signed = format!("{ALGORITHM}\n{}\n{scope}\n{hash}", self.time);
        let first = format!("AWS4{}", self.key).into_bytes();
        let key = [day, self.region, "s3", "aws4_request"].iter().fold(first, |key, part| sign(&key, part));
        let signature = to_hex(&sign(&key, &signed));
        format!("{ALGORITHM} Credential={}/{scope},SignedHeaders={names},Signature={signature}", self.id)
    }
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// A time since 1970 as `20130524T000000Z`.
pub(super) fn format_time(since: Duration) -> String {
    let seconds = i64::try_from(since.as_secs()).ok();
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.expect("a clock shows a year of four digits").strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_reference_has_its_signature() {
        let signature = Signature {
            id: "AKIAIOSFODNN7EXAMPLE",
            key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
            time: "20130524T000000Z",
        };
        let headers = [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", NO_BODY),
            ("x-amz-date", "20130524T000000Z"),
        ];
        assert_eq!(
            signature.authorize("/test.txt", &headers),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        // `date -u -d @SECONDS +%Y%m%dT%H%M%SZ`
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (1_369_353_600, "20130524T000000Z"),
            (1_709_251_199, "20240229T235959Z"),
            (1_735_689_599, "20241231T235959Z"),
            (4_107_542_399, "21000228T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(format_time(Duration::from_secs(seconds)), expected);
        }
    }
}
