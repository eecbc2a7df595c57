//! Flat f32 tensors in a safetensors file, for the moments of the optimizer.
//!
//! Unlike [`crate::weights`], this trusts its input: only files that the store has verified byte by byte are read here.

use std::io::Write;
use std::path::Path;

use indexmap::IndexMap;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};

/// Why a file of flat tensors cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlatError {
    /// The operating system reported an error.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The safetensors library reported an error.
    #[error("{0}")]
    Format(#[from] safetensors::SafeTensorError),
    /// A tensor is not flat f32.
    #[error("tensor `{0}` is not a flat f32 tensor")]
    Kind(String),
}

/// Writes tensors `[n]`, sorted by name as the format requires.
///
/// # Errors
/// Any error of the writer or the format.
pub(crate) fn write_flat_tensors(
    out: &mut impl Write,
    tensors: &[(String, Vec<f32>)],
) -> Result<(), FlatError> {
    let view = |(name, values): &(String, Vec<f32>)| {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        (name.clone(), bytes, values.len())
    };
    let raw: Vec<(String, Vec<u8>, usize)> = tensors.iter().map(view).collect();
    let views = raw.iter().map(|(name, bytes, n)| Ok((name, TensorView::new(Dtype::F32, vec![*n], bytes)?)));
    let views = views.collect::<Result<Vec<_>, FlatError>>()?;
    out.write_all(&serialize(views, None)?)?;
    Ok(())
}

/// Reads all tensors, sorted by name.
///
/// # Errors
/// If the file cannot be read or a tensor is not flat f32.
pub(crate) fn read_flat_tensors(file: &Path) -> Result<IndexMap<String, Vec<f32>>, FlatError> {
    let bytes = std::fs::read(file)?;
    let parsed = SafeTensors::deserialize(&bytes)?;
    let mut found: Vec<(String, Vec<f32>)> = Vec::new();
    for (name, view) in parsed.iter() {
        if view.dtype() != Dtype::F32 || view.shape().len() != 1 {
            return Err(FlatError::Kind(name.to_owned()));
        }
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        found.push((name.to_owned(), values.collect()));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("flat.safetensors");
        let values = vec![0.0, -0.0, f32::MIN_POSITIVE, 1.0 / 3.0, f32::MAX];
        let mut bytes = Vec::new();
        write_flat_tensors(&mut bytes, &[("b".into(), values.clone()), ("a".into(), vec![])]).unwrap();
        std::fs::write(&file, bytes).unwrap();
        let read = read_flat_tensors(&file).unwrap();
        assert_eq!(read.keys().collect::<Vec<_>>(), ["a", "b"]);
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read["b"]), bits(&values));
    }
}
