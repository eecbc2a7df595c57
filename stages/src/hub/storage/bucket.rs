//! Where a bucket is, and what is sent to it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fmflow_engine::hub::online::StorageKeys;
use fmflow_engine::text::environment::read_variable;
use ureq::http::Uri;

use super::signature::{NO_BODY, Signature, format_time};
use crate::hub::address::{encode_url_part, parse_origin};

/// The region of buckets if the environment names none.
const REGION: &str = "us-east-1";

/// A bucket, and who asks for its objects.
pub(crate) struct Bucket {
    name: String,
    region: String,
    /// `scheme://authority` of its requests.
    origin: String,
    /// The value of `Host`.
    host: String,
    /// What comes before the key in a path.
    prefix: String,
    keys: Option<SigningKeys>,
}

/// What signs requests. Nothing here is ever shown.
pub(super) struct SigningKeys {
    pub(super) id: String,
    pub(super) key: String,
    pub(super) session: Option<String>,
}

/// A request for an object.
pub(super) struct ObjectRequest {
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
}

/// Whether a text can be the name of a region.
pub(super) fn is_region(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(letter)
}

impl Bucket {
    /// The bucket of this name on the server that the environment names. `keys` sign its requests, if they are given.
    ///
    /// # Errors
    /// What is wrong with the environment, and how to fix it.
    pub(crate) fn from_environment(name: &str, keys: Option<&StorageKeys>) -> Result<Self, (String, String)> {
        let region = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(read_variable);
        let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]
            .into_iter()
            .find_map(|variable| Some((variable, read_variable(variable)?)));
        let region = region.unwrap_or_else(|| REGION.to_owned());
        if !is_region(&region) {
            let what = "`AWS_REGION` or `AWS_DEFAULT_REGION` is not the name of a region".to_owned();
            return Err((what, format!("write one as in `export AWS_REGION={REGION}`")));
        }
        let bucket = match &endpoint {
            Some((_, address)) => Self::at(address, name, &region),
            None => Self::of_amazon(name, &region),
        };
        let bucket = bucket.ok_or_else(|| {
            let variable = endpoint.map_or("AWS_ENDPOINT_URL_S3", |(variable, _)| variable);
            let what = format!("`{variable}` is not an http or https address");
            (what, format!("write one as in `export {variable}=http://127.0.0.1:9000`"))
        })?;
        bucket.signed_by(keys)
    }

    /// A bucket of a server at an address: its name is the first part of every path.
    pub(super) fn at(endpoint: &str, name: &str, region: &str) -> Option<Self> {
        let (scheme, host, port) = parse_origin(endpoint).ok()?;
        // An address without a scheme parses too.
        ["http", "https"].contains(&scheme.as_str()).then_some(())?;
        let uri: Uri = endpoint.parse().ok()?;
        let default = [("http", 80), ("https", 443)].contains(&(scheme.as_str(), port));
        let host = if default { host } else { format!("{host}:{port}") };
        let prefix = format!("{}/{name}/", uri.path().trim_end_matches('/'));
        let (name, region) = (name.to_owned(), region.to_owned());
        Some(Self { name, region, origin: format!("{scheme}://{host}"), host, prefix, keys: None })
    }

    /// A bucket of Amazon's: its name is a part of the host, if it can be.
    pub(super) fn of_amazon(name: &str, region: &str) -> Option<Self> {
        // China is a partition of its own ("Amazon Simple Storage Service endpoints and quotas" of the AWS General Reference).
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let host = format!("s3.{region}.{domain}");
        let as_host =
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !as_host {
            return Self::at(&format!("https://{host}"), name, region);
        }
        let host = format!("{name}.{host}");
        let (name, region, origin) = (name.to_owned(), region.to_owned(), format!("https://{host}"));
        Some(Self { name, region, origin, host, prefix: "/".to_owned(), keys: None })
    }

    /// The bucket with signed requests. A key with line breaks could forge headers and is refused.
    pub(super) fn signed_by(self, keys: Option<&StorageKeys>) -> Result<Self, (String, String)> {
        let Some(StorageKeys { id, key, session }) = keys else { return Ok(self) };
        let secrets = [Some(id), Some(key), session.as_ref()];
        if !secrets.iter().flatten().all(|secret| secret.reveal().bytes().all(|byte| byte.is_ascii_graphic()))
        {
            let what = "a secret of S3 has blanks or control characters in it".to_owned();
            return Err((
                what,
                "set `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` again".into(),
            ));
        }
        let of = |secret: &fmflow_engine::hub::online::Secret| secret.reveal().to_owned();
        let keys = SigningKeys { id: of(id), key: of(key), session: session.as_ref().map(of) };
        Ok(Self { keys: Some(keys), ..self })
    }

    /// The server, for people.
    pub(crate) fn server(&self) -> &str {
        &self.origin
    }

    /// The address of an object, for people.
    pub(crate) fn address(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }

    /// Whether requests are signed.
    pub(crate) fn is_signed(&self) -> bool {
        self.keys.is_some()
    }

    /// A text of the server without what must not be shown.
    pub(super) fn hide_keys(&self, text: &str) -> String {
        let Some(SigningKeys { id, key, session }) = &self.keys else { return text.to_owned() };
        [id, key].into_iter().chain(session).fold(text.to_owned(), |text, secret| text.replace(secret, "..."))
    }

    /// The request for an object at this moment.
    pub(super) fn request(&self, key: &str, now: SystemTime) -> ObjectRequest {
        let parts: Vec<String> = key.split('/').map(encode_url_part).collect();
        let path = format!("{}{}", self.prefix, parts.join("/"));
        let mut headers = vec![("accept-encoding", "identity".to_owned())];
        if let Some(keys) = &self.keys {
            headers.extend(self.sign(keys, &path, now.duration_since(UNIX_EPOCH).unwrap_or_default()));
        }
        ObjectRequest { url: format!("{}{path}", self.origin), headers }
    }

    fn sign(&self, keys: &SigningKeys, path: &str, now: Duration) -> Vec<(&'static str, String)> {
        let time = format_time(now);
        let mut sent = vec![("x-amz-content-sha256", NO_BODY.to_owned()), ("x-amz-date", time.clone())];
        sent.extend(keys.session.as_ref().map(|token| ("x-amz-security-token", token.clone())));
        let signed: Vec<(&str, &str)> = [("host", self.host.as_str())]
            .into_iter()
            .chain(sent.iter().map(|(name, value)| (*name, value.as_str())))
            .collect();
        let signature = Signature { id: &keys.id, key: &keys.key, region: &self.region, time: &time };
        sent.push(("authorization", signature.authorize(path, &signed)));
        sent
    }
}
