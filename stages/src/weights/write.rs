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

/// Writes tensors as f32 in the given order, with one metadata entry (`format: pt`) and data aligned to 8 bytes. Returns
/// the number of bytes written.
///
/// `values` is called once for each name, in order, so that only one tensor is in memory at a time.
///
/// # Errors
/// If `out` or `values` fails, or the number of values does not match the shape of a tensor.
pub fn write_f32_tensors(
    out: &mut impl Write,
    layout: &[(String, Vec<usize>)],
    values: impl FnMut(&str) -> Result<Vec<f32>, Error>,
) -> Result<u64, Error> {
    write_tensors_as(out, layout, Dtype::F32, values)
}

/// As [`write_f32_tensors`], in any type: values are rounded to the nearest, ties to even.
///
/// # Errors
/// As [`write_f32_tensors`].
pub fn write_tensors_as(
    out: &mut impl Write,
    layout: &[(String, Vec<usize>)],
    dtype: Dtype,
    mut values: impl FnMut(&str) -> Result<Vec<f32>, Error>,
) -> Result<u64, Error> {
    let header = render_header(layout, dtype);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    let mut written = 8 + header.len() as u64;
    for (name, shape) in layout {
        let values = values(name)?;
        if values.len() != shape.iter().product::<usize>() {
            return Err(Error::other(format!(
                "tensor `{name}` has {} values for shape {shape:?}",
                values.len()
            )));
        }
        for part in values.chunks(1 << 16) {
            let bytes = dtype.encode(part);
            out.write_all(&bytes)?;
            written += bytes.len() as u64;
        }
    }
    Ok(written)
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
