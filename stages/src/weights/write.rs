//! Writes safetensors files as a stream, with a header that depends only on names, shapes and type.
//!
//! So equal weights give equal bytes, and only one tensor is in memory at a time. The library `safetensors` needs all tensors at
//! once, and writes metadata in hash order.

use std::fmt::Write as _;
use std::io::{Error, Write};

use super::{Dtype, Encoding};
use crate::backbone::Backbone;

/// Names and shapes of tensors, in the order in which they are stored.
pub type TensorLayout = Vec<(String, Vec<usize>)>;

/// Most values that are encoded at a time.
const PART: usize = 1 << 18;

/// A safetensors file in the making: the header is written, and the values follow, in order.
pub(crate) struct TensorWriter<'a, W> {
    out: &'a mut W,
    dtype: Dtype,
    written: u64,
}

impl<'a, W: Write> TensorWriter<'a, W> {
    /// Writes the header, with one metadata entry (`format: pt`) and data aligned to 8 bytes.
    ///
    /// # Errors
    /// If `out` fails.
    pub(crate) fn start(
        out: &'a mut W,
        layout: &[(String, Vec<usize>)],
        dtype: Dtype,
    ) -> Result<Self, Error> {
        let header = render_header(layout, dtype);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        Ok(Self { out, dtype, written: 8 + header.len() as u64 })
    }

    /// Writes the next values, each rounded to the nearest of the type, ties to even.
    ///
    /// # Errors
    /// If `out` fails.
    pub(crate) fn write(&mut self, values: &[f32]) -> Result<(), Error> {
        for part in values.chunks(PART) {
            let bytes = self.dtype.encode(part);
            self.out.write_all(&bytes)?;
            self.written += bytes.len() as u64;
        }
        Ok(())
    }
}

/// Writes tensors as f32 in the given order, with one metadata entry (`format: pt`) and data aligned to 8 bytes. Returns
/// the number of bytes written.
///
/// `values` is called once for each name, in order, so that only one tensor is in memory at a time.
///
/// # Errors
/// If `out` or `values` fails, or the number of values does not match the shape of a tensor.
pub fn write_f32_tensors<E: From<Error>>(
    out: &mut impl Write,
    layout: &[(String, Vec<usize>)],
    values: impl FnMut(&str) -> Result<Vec<f32>, E>,
) -> Result<u64, E> {
    write_tensors_as(out, layout, Dtype::F32, values)
}

/// As [`write_f32_tensors`], in any type: values are rounded to the nearest, ties to even.
///
/// # Errors
/// As [`write_f32_tensors`].
pub fn write_tensors_as<E: From<Error>>(
    out: &mut impl Write,
    layout: &[(String, Vec<usize>)],
    dtype: Dtype,
    mut values: impl FnMut(&str) -> Result<Vec<f32>, E>,
) -> Result<u64, E> {
    let mut writer = TensorWriter::start(out, layout, dtype)?;
    for (name, shape) in layout {
        let values = values(name)?;
        if values.len() != shape.iter().product::<usize>() {
            let count = values.len();
            return Err(
                Error::other(format!("tensor `{name}` has {count} values for shape {shape:?}")).into()
            );
        }
        writer.write(&values)?;
    }
    Ok(writer.written)
}

/// Writes all parameters of `backbone` under their Hugging Face names. Returns the number of bytes written.
///
/// # Errors
/// If `out` or the device fails.
pub fn save_backbone(out: &mut impl Write, backbone: &Backbone) -> Result<u64, Error> {
    let layout: Vec<(String, Vec<usize>)> =
        backbone.parameters().map(|(name, parameter)| (name.to_owned(), parameter.shape())).collect();
    write_f32_tensors(out, &layout, |name| {
        let parameter =
            backbone.parameter(name).ok_or_else(|| Error::other(format!("no tensor `{name}`")))?;
        parameter.values().map_err(Error::other)
    })
}

/// Distributes tensors over files of at most `limit` bytes of data, in order. A tensor larger than that gets its own file.
#[must_use]
pub fn distribute_tensors(layout: TensorLayout, dtype: Dtype, limit: u64) -> Vec<TensorLayout> {
    let mut files: Vec<TensorLayout> = Vec::new();
    let mut filled = 0;
    for (name, shape) in layout {
        let bytes = dtype.bytes() as u64 * shape.iter().product::<usize>() as u64;
        match files.last_mut() {
            Some(file) if filled + bytes <= limit => {
                file.push((name, shape));
                filled += bytes;
            }
            _ => {
                files.push(vec![(name, shape)]);
                filled = bytes;
            }
        }
    }
    files
}

fn render_header(layout: &[(String, Vec<usize>)], dtype: Dtype) -> String {
    let mut text = String::from(r#"{"__metadata__":{"format":"pt"}"#);
    let mut start = 0;
    for (name, shape) in layout {
        let end = start + dtype.bytes() * shape.iter().product::<usize>();
        let (name, shape) = (serde_json::json!(name), serde_json::json!(shape));
        let dtype = serde_json::json!(dtype);
        // Writing to a string cannot fail.
        let _ = write!(text, r#",{name}:{{"dtype":{dtype},"shape":{shape},"data_offsets":[{start},{end}]}}"#);
        start = end;
    }
    text.push('}');
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    text
}
