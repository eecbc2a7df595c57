//! Contents that the records of a dataset only name: objects in S3.

use super::{DatasetConfig, DatasetFormat, FieldPattern, StageConfig, TokenizerConfig};
use crate::text::unpack::Compression;

/// Where the contents of documents are, if their records only name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentsConfig {
    /// The bucket.
    pub bucket: String,
    /// The key of a content, made of fields of its record.
    pub key: FieldPattern,
    /// How each content is compressed.
    pub packing: Compression,
    /// Field with the name of the character encoding; without it, contents are UTF-8.
    pub encoding: Option<String>,
    /// Whether requests are signed.
    pub signed: bool,
}

/// What every address of contents begins with.
const SCHEME: &str = "s3://";

impl ContentsConfig {
    /// The bucket and the pattern of the keys of an address such as `s3://bucket/content/{id}`.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub(crate) fn parse_address(address: &str) -> Result<(String, FieldPattern), String> {
        let rest = address.strip_prefix(SCHEME).ok_or("it does not begin with `s3://`")?;
        let (bucket, key) = rest.split_once('/').ok_or("it has no key after the bucket")?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(plain) || bucket.contains("..") {
            return Err("its bucket is not the name of one".to_owned());
        }
        let key = FieldPattern::parse(key)?;
        if key.fields().next().is_none() {
            return Err("its key names no field of the record, so that all contents would be one".to_owned());
        }
        Ok((bucket.to_owned(), key))
    }

    /// The fields that it reads of every record.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.key.fields().chain(self.encoding.as_deref())
    }
}

impl StageConfig {
    /// Whether the stage reads documents that lie elsewhere.
    #[must_use]
    pub(crate) fn reads_contents(&self) -> bool {
        let elsewhere = |dataset: &DatasetConfig| matches!(dataset.format, DatasetFormat::Contents(_));
        match self {
            Self::Rows(config) => elsewhere(&config.dataset),
            Self::Tokenizer(TokenizerConfig::ByteLevelBpe { datasets, .. }) => datasets.iter().any(elsewhere),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_bucket_and_a_key_with_fields() {
        let (bucket, key) = ContentsConfig::parse_address("s3://softwareheritage/content/{blob_id}").unwrap();
        assert_eq!(bucket, "softwareheritage");
        assert_eq!(key.fields().collect::<Vec<_>>(), ["blob_id"]);
        for wrong in [
            "https://example.org/{id}",
            "s3://bucket",
            "s3:///{id}",
            "s3://b/{id}",
            "s3://../{id}",
            "s3://host:80/{id}",
            "s3://{bucket}/{id}",
            "s3://bucket/content",
            "s3://bucket/{id",
            "s3://bucket/id}",
            "s3://bucket/{}",
            "s3://bucket/{a{b}}",
        ] {
            assert!(ContentsConfig::parse_address(wrong).is_err(), "{wrong}");
        }
    }
}
