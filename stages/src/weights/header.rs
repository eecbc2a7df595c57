//! The header of a safetensors file, checked before any of its sizes is used for an allocation.

use std::fmt;
use std::io::Read;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::WeightsError;

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
    pub(crate) fn bytes(self) -> usize {
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

    /// Encodes `values` as little-endian elements, each rounded to the nearest value of the type, ties to even.
    pub(super) fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::BF16 => values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect(),
        }
    }

    /// The value of `x` after storing it in this type and reading it back.
    #[must_use]
    pub(crate) fn round(self, x: f32) -> f32 {
        match self {
            Self::F32 => x,
            Self::BF16 => half::bf16::from_f32(x).to_f32(),
            Self::F16 => half::f16::from_f32(x).to_f32(),
        }
    }

    /// Decodes the little-endian elements of `bytes` and appends them to `out`. Every type is exact in f32.
    pub(super) fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        let two = |b: &[u8]| u16::from_le_bytes([b[0], b[1]]);
        match self {
            Self::F32 => {
                out.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
            }
            Self::BF16 => out.extend(bytes.chunks_exact(2).map(|b| f32::from_bits(u32::from(two(b)) << 16))),
            Self::F16 => out.extend(bytes.chunks_exact(2).map(|b| half::f16::from_bits(two(b)).to_f32())),
        }
    }
}

/// One tensor in the header of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TensorEntry {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    start: u64,
    end: u64,
}

impl TensorEntry {
    /// Number of elements. The header check has ruled out overflow.
    pub(super) fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Reads the header. Entries are returned in the order of their data, which must follow without gaps up to the end of the
/// file.
pub(super) fn read_header(
    reader: &mut impl Read,
    length: u64,
    file: &str,
) -> Result<Vec<TensorEntry>, WeightsError> {
    let fault = |tensor: Option<&str>, reason: String| WeightsError::Malformed {
        file: file.into(),
        tensor: tensor.map(Into::into),
        reason,
    };
    let mut size = [0; 8];
    reader
        .read_exact(&mut size)
        .map_err(|_| fault(None, "the file is shorter than a safetensors header".into()))?;
    let size = u64::from_le_bytes(size);
    if size > HEADER || size > length.saturating_sub(8) {
        let reason =
            format!("the header claims {size} bytes in a file of {length} (is this a safetensors file?)");
        return Err(fault(None, reason));
    }
    let mut text = vec![0; size as usize];
    reader.read_exact(&mut text).map_err(|e| fault(None, e.to_string()))?;
    if text.first() != Some(&b'{') {
        return Err(fault(None, "the header does not start with `{`".into()));
    }
    let raw: RawHeader = serde_json::from_slice(&text).map_err(|e| fault(None, format!("header: {e}")))?;
    let entries = raw.0.into_iter().map(|(name, entry)| {
        let checked = entry.check(&name);
        checked.map_err(|reason| fault(Some(shorten_name(&name)), reason))
    });
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(|entry| (entry.start, entry.end));
    let (mut end, available) = (0, length - 8 - size);
    for entry in &entries {
        if entry.start != end {
            let reason = format!("its data starts at {}, but the previous tensor ends at {end}", entry.start);
            return Err(fault(Some(&entry.name), reason));
        }
        end = entry.end;
        if end > available {
            let reason = format!(
                "the file is cut short: it has {available} bytes of data, but the tensor ends at {end}"
            );
            return Err(fault(Some(&entry.name), reason));
        }
    }
    if end != available {
        return Err(fault(None, format!("{} bytes after the last tensor", available - end)));
    }
    Ok(entries)
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
    fn check(self, name: &str) -> Result<TensorEntry, String> {
        if name.is_empty() || name.len() > NAME {
            return Err(format!("a name must have 1 to {NAME} bytes, this one has {}", name.len()));
        }
        let dtype = Dtype::parse(&self.dtype).ok_or_else(|| {
            format!("type `{}` is not supported (F32, BF16, F16)", shorten_name(&self.dtype))
        })?;
        if self.shape.len() > RANK {
            return Err(format!(
                "{} dimensions are too many, at most {RANK} are supported",
                self.shape.len()
            ));
        }
        let bytes = self.shape.iter().try_fold(dtype.bytes() as u64, |bytes, n| bytes.checked_mul(*n));
        let (start, end) = self.data_offsets;
        if bytes.is_none() || end.checked_sub(start) != bytes {
            return Err(format!(
                "shape {:?} of {} does not fill bytes {start}..{end}",
                self.shape, self.dtype
            ));
        }
        // Cannot truncate: dimensions are bounded by the number of bytes, which was checked.
        let shape = self.shape.iter().map(|n| *n as usize).collect();
        Ok(TensorEntry { name: name.into(), dtype, shape, start, end })
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
