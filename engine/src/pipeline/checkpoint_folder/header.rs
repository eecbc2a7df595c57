//! The header of a safetensors file, checked before any of its sizes is used for an allocation.

use std::fmt;
use std::io::Read;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::fault::FolderFault;

/// The longest accepted header, in bytes.
const HEADER: u64 = 16 << 20;
/// The most tensors in a file.
const TENSORS: usize = 100_000;
/// The most dimensions of a tensor.
const RANK: usize = 8;
/// The longest name of a tensor, in bytes.
const NAME: usize = 256;

/// Element types that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// The upper 16 bits of a 32-bit float.
    BF16,
    /// IEEE half precision.
    F16,
}

impl Dtype {
    /// Bytes per element.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::BF16 | Self::F16 => 2,
        }
    }

    fn parse(name: &str) -> Option<Self> {
        match name {
            "F32" => Some(Self::F32),
            "BF16" => Some(Self::BF16),
            "F16" => Some(Self::F16),
            _ => None,
        }
    }
}

/// One tensor in the header of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorEntry {
    /// The name.
    pub name: String,
    /// The element type.
    pub dtype: Dtype,
    /// The shape.
    pub shape: Vec<usize>,
    start: u64,
    end: u64,
}

impl TensorEntry {
    /// Number of elements. The header check has ruled out overflow.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Where its data start and end, in bytes after the header. The last tensor ends with the file.
    #[must_use]
    pub fn extent(&self) -> (u64, u64) {
        (self.start, self.end)
    }
}

/// Why a header is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{file}`{}: {reason}", .tensor.as_ref().map(|t| format!(", tensor `{t}`")).unwrap_or_default())]
pub struct HeaderError {
    /// The file.
    pub file: String,
    /// The affected tensor, if it is about one.
    pub tensor: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub cure: String,
}

impl From<HeaderError> for FolderFault {
    fn from(error: HeaderError) -> Self {
        Self::new(error.to_string(), error.cure)
    }
}

/// Reads the header. Entries are returned in the order of their data, which must follow without gaps up to the end of the
/// file.
///
/// # Errors
/// If the header or the length of the file is malformed, or a type cannot be read.
pub fn read_header(reader: &mut impl Read, length: u64, file: &str) -> Result<Vec<TensorEntry>, HeaderError> {
    let fault = |tensor: Option<&str>, reason: String, cure: &str| HeaderError {
        file: file.into(),
        tensor: tensor.map(Into::into),
        reason,
        cure: cure.into(),
    };
    let again = "copy or download the file again";
    let written = "write the file again with the library `safetensors`";
    let mut size = [0; 8];
    reader
        .read_exact(&mut size)
        .map_err(|_| fault(None, "the file is shorter than a safetensors header".into(), again))?;
    if size == *b"version " {
        let reason = "the file is a pointer of Git LFS, not the weights".to_owned();
        return Err(fault(None, reason, "run `git lfs pull` in the repository that it comes from"));
    }
    let size = u64::from_le_bytes(size);
    if size > HEADER || size > length.saturating_sub(8) {
        let reason =
            format!("the header claims {size} bytes in a file of {length} (is this a safetensors file?)");
        return Err(fault(None, reason, again));
    }
    let mut text = vec![0; size as usize];
    reader.read_exact(&mut text).map_err(|e| fault(None, e.to_string(), again))?;
    if text.first() != Some(&b'{') {
        return Err(fault(None, "the header does not start with `{`".into(), written));
    }
    let raw: RawHeader =
        serde_json::from_slice(&text).map_err(|e| fault(None, format!("header: {e}"), written))?;
    let mut entries = Vec::with_capacity(raw.0.len());
    for (name, entry) in raw.0 {
        let checked = entry.check(&name);
        entries.push(checked.map_err(|(reason, cure)| fault(Some(shorten_name(&name)), reason, cure))?);
    }
    entries.sort_by_key(|entry| (entry.start, entry.end));
    let available = length - 8 - size;
    match check_extents(&entries, available) {
        None => Ok(entries),
        Some((tensor, reason)) => Err(fault(tensor, reason, again)),
    }
}

/// The tensor and the reason, if the data of the tensors do not follow each other up to the end of the file.
fn check_extents(entries: &[TensorEntry], available: u64) -> Option<(Option<&str>, String)> {
    let mut end = 0;
    for entry in entries {
        if entry.start != end {
            let reason = format!("its data starts at {}, but the previous tensor ends at {end}", entry.start);
            return Some((Some(&entry.name), reason));
        }
        end = entry.end;
        if end > available {
            let reason = format!(
                "the file is cut short: it has {available} bytes of data, but the tensor ends at {end}"
            );
            return Some((Some(&entry.name), reason));
        }
    }
    (end != available).then(|| (None, format!("{} bytes after the last tensor", available - end)))
}

/// Shortens a name for a message. The names of a stranger's file may be long.
fn shorten_name(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME)]
}

#[derive(serde::Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl RawEntry {
    /// # Errors
    /// The reason and the cure.
    fn check(self, name: &str) -> Result<TensorEntry, (String, &'static str)> {
        const AGAIN: &str = "write the file again with the library `safetensors`";
        if name.is_empty() || name.len() > NAME {
            return Err((format!("a name must have 1 to {NAME} bytes, this one has {}", name.len()), AGAIN));
        }
        let dtype = Dtype::parse(&self.dtype).ok_or_else(|| {
            let reason = format!("type `{}` is not supported (F32, BF16, F16)", shorten_name(&self.dtype));
            (reason, cure_of_type(&self.dtype))
        })?;
        if self.shape.len() > RANK {
            let count = self.shape.len();
            return Err((format!("{count} dimensions are too many, at most {RANK} are supported"), AGAIN));
        }
        let bytes = self.shape.iter().try_fold(dtype.bytes() as u64, |bytes, n| bytes.checked_mul(*n));
        let (start, end) = self.data_offsets;
        if bytes.is_none() || end.checked_sub(start) != bytes {
            let reason =
                format!("shape {:?} of {} does not fill bytes {start}..{end}", self.shape, self.dtype);
            return Err((reason, AGAIN));
        }
        // Cannot truncate: dimensions are bounded by the number of bytes, which was checked.
        let shape = self.shape.iter().map(|n| *n as usize).collect();
        Ok(TensorEntry { name: name.into(), dtype, shape, start, end })
    }
}

/// What to do about weights of a type that cannot be read.
fn cure_of_type(dtype: &str) -> &'static str {
    match dtype {
        "F64" => "save the weights in a smaller type: `model.float().save_pretrained(..)`",
        _ => "use the checkpoint from before it was quantized, in bfloat16 or float32",
    }
}

/// The raw JSON header. Duplicate names are refused; a plain map would silently keep the last one.
struct RawHeader(indexmap::IndexMap<String, RawEntry>);

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let (mut raw, mut metadata) = (RawHeader(indexmap::IndexMap::new()), false);
                while let Some(name) = map.next_key::<String>()? {
                    let twice = match name == "__metadata__" {
                        true => {
                            map.next_value::<IgnoredAny>()?;
                            std::mem::replace(&mut metadata, true)
                        }
                        false => raw.0.insert(name.clone(), map.next_value()?).is_some(),
                    };
                    if twice {
                        return Err(serde::de::Error::custom(format!(
                            "`{}` occurs twice",
                            shorten_name(&name)
                        )));
                    }
                    if raw.0.len() > TENSORS {
                        return Err(serde::de::Error::custom(format!("more than {TENSORS} tensors")));
                    }
                }
                Ok(raw)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
