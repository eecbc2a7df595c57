//! Shared by all sets: reading files, collecting cases, comparing numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fmflow_stages::device::{Device, open_device};
use libtest_mimic::Trial;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// The device that computes, named by `FMFLOW_DEVICE`.
pub(crate) fn open_tested_device() -> Device {
    open_device(&tested_device()).unwrap()
}

fn tested_device() -> String {
    std::env::var("FMFLOW_DEVICE").unwrap_or_else(|_| "cpu".into())
}

/// How much farther than the CPU's a device's f32 numbers may be from the reference's. On CUDA the library's products round
/// their factors to TF32: 10 bits of mantissa for 23. No GPU has confirmed the factor yet.
pub(crate) fn slack() -> f64 {
    if tested_device().starts_with("cuda") { 50.0 } else { 1.0 }
}

/// A tensor of any type, with its values as f64.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f64>,
}

impl Tensor {
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.values.iter().map(|x| *x as u32).collect()
    }

    pub(crate) fn flags(&self) -> Vec<bool> {
        self.values.iter().map(|x| *x != 0.0).collect()
    }

    pub(crate) fn f32(&self) -> Vec<f32> {
        self.values.iter().map(|x| *x as f32).collect()
    }
}

/// The tensors of a safetensors file.
#[derive(Clone, Debug)]
pub(crate) struct Tensors(BTreeMap<String, Tensor>);

impl Tensors {
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
            let values = widen(view.dtype(), view.data());
            (name.to_owned(), Tensor { shape: view.shape().to_vec(), values })
        };
        Self(file.iter().map(tensor).collect())
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn get(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("tensor `{name}` is missing"))
    }

    pub(crate) fn values(&self, name: &str) -> &[f64] {
        &self.get(name).values
    }

    /// The reference's float64 values of a float32 tensor; without such a twin, the tensor's own values.
    fn exact(&self, name: &str) -> &[f64] {
        let twin = name.strip_suffix(".f32").map(|stem| format!("{stem}.f64"));
        self.values(twin.filter(|twin| self.has(twin)).as_deref().unwrap_or(name))
    }

    /// The only value of a tensor.
    pub(crate) fn scalar(&self, name: &str) -> f64 {
        assert_eq!(self.values(name).len(), 1, "{name}");
        self.values(name)[0]
    }
}

fn widen(dtype: Dtype, data: &[u8]) -> Vec<f64> {
    fn each<const N: usize>(data: &[u8], one: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        data.chunks_exact(N).map(|bytes| one(bytes.try_into().unwrap())).collect()
    }
    match dtype {
        Dtype::F32 => each(data, |b| f64::from(f32::from_le_bytes(b))),
        Dtype::F64 => each(data, f64::from_le_bytes),
        Dtype::I64 => each(data, |b| i64::from_le_bytes(b) as f64),
        Dtype::I32 => each(data, |b| f64::from(i32::from_le_bytes(b))),
        Dtype::U8 | Dtype::BOOL => each(data, |[b]| f64::from(b)),
        other => panic!("type {other:?} in an oracle file"),
    }
}

/// One folder of oracle data and the cases found in it.
pub(crate) struct Set {
    name: String,
    folder: PathBuf,
    manifest: Arc<Value>,
    known: BTreeSet<String>,
    trials: Vec<Trial>,
}

impl Set {
    pub(crate) fn open(folder: &Path) -> Self {
        let text = std::fs::read(folder.join("manifest.json")).unwrap_or_default();
        Self {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            folder: folder.to_owned(),
            manifest: Arc::new(serde_json::from_slice(&text).unwrap_or_default()),
            known: ["manifest.json".to_owned()].into(),
            trials: Vec::new(),
        }
    }

    pub(crate) fn kind(&self) -> String {
        self.manifest["set"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn manifest(&self) -> Arc<Value> {
        Arc::clone(&self.manifest)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Reads a safetensors file of the set.
    pub(crate) fn tensors(&mut self, file: &str) -> Arc<Tensors> {
        self.know(file);
        Arc::new(Tensors::read(&self.path(file)))
    }

    /// Reads a JSON file of the set.
    pub(crate) fn json(&mut self, file: &str) -> Arc<Value> {
        self.know(file);
        let bytes = std::fs::read(self.path(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        Arc::new(serde_json::from_slice(&bytes).unwrap())
    }

    /// Marks a file as used.
    pub(crate) fn know(&mut self, file: &str) {
        self.known.insert(file.to_owned());
    }

    /// Adds a case; it fails by panicking.
    pub(crate) fn case(&mut self, name: impl Display, run: impl FnOnce() + Send + 'static) {
        let name = format!("{}/{name}", self.name);
        self.trials.push(Trial::test(name, move || {
            run();
            Ok(())
        }));
    }

    /// Adds a failing case for something that these tests do not know how to check.
    pub(crate) fn unknown(&mut self, what: impl Display) {
        let message = format!("{what} in {} is of an unknown kind", self.folder.display());
        self.trials.push(Trial::test(format!("{}/unknown/{what}", self.name), move || Err(message.into())));
    }

    /// All files, relative to the folder.
    pub(crate) fn files(&self) -> Vec<String> {
        let walk = walkdir::WalkDir::new(&self.folder).sort_by_file_name().into_iter().map(Result::unwrap);
        let files = walk.filter(|entry| !entry.file_type().is_dir());
        files.map(|e| e.path().strip_prefix(&self.folder).unwrap().display().to_string()).collect()
    }

    /// All cases. An unused file becomes a failing case, and so does a file that contradicts the manifest.
    pub(crate) fn finish(mut self) -> Vec<Trial> {
        for file in self.files() {
            if !self.known.contains(&file) {
                self.unknown(file);
            }
        }
        let (folder, manifest) = (self.folder.clone(), self.manifest());
        self.case("manifest", move || {
            for (file, entry) in manifest["files"].as_object().expect("the manifest lists files") {
                let size =
                    std::fs::metadata(folder.join(file)).unwrap_or_else(|e| panic!("{file}: {e}")).len();
                assert_eq!(Some(size), entry["bytes"].as_u64(), "{file}");
                let Some(tensors) = entry["tensors"].as_object() else { continue };
                let found = Tensors::read(&folder.join(file));
                assert_eq!(found.names().len(), tensors.len(), "{file}");
                for (name, tensor) in tensors {
                    assert_eq!(tensor["shape"], Value::from(found.get(name).shape.clone()), "{file} {name}");
                }
            }
        });
        self.trials
    }
}

pub(crate) fn largest(values: &[f64]) -> f64 {
    values.iter().filter(|x| x.is_finite()).fold(0.0, |a, x| a.max(x.abs()))
}

/// Asserts that every |found - expected| is at most `limit(expected)`.
pub(crate) fn close(what: &str, found: &[f64], expected: &[f64], limit: impl Fn(f64) -> f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= slack() * limit(*e), "{what}[{i}]: {f:e}, expected {e:e}");
    }
}

/// Like [`close`], with a tolerance relative to each expected value.
pub(crate) fn close_each(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    close(what, found, expected, |e| tolerance * e.abs());
}

/// Like [`close`], with a tolerance relative to the largest expected value.
pub(crate) fn close_to_largest(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    let limit = tolerance * largest(expected);
    close(what, found, expected, |_| limit);
}

/// Like [`close`], for a part of tensor `name`. The limit is widened by what the reference itself loses in float32, near t = 1,
/// where 1 - kappa cancels.
pub(crate) fn close_but_rounding(
    found: &[f64],
    (file, name, part): (&Tensors, &str, Range<usize>),
    limit: impl Fn(f64) -> f64,
) {
    let (expected, exact) = (&file.values(name)[part.clone()], &file.exact(name)[part.clone()]);
    assert_eq!(found.len(), expected.len(), "{name}");
    for (i, (f, (e, exact))) in found.iter().zip(expected.iter().zip(exact)).enumerate() {
        let limit = slack() * limit(*e) + (e - exact).abs();
        assert!((f - e).abs() <= limit, "{name}[{}]: {f:e}, expected {e:e}", part.start + i);
    }
}

pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap_or_else(|| panic!("{value} is not a list")).iter().map(number).collect()
}

/// Asserts that `counts` are draws from `law`: Pearson's chi-square test at six standard deviations (Wilson and Hilferty, 1931),
/// which a correct sampler fails about once in 10^9. Outcomes that are expected fewer than 10 times form one class.
pub(crate) fn drawn_from(what: &str, counts: &[usize], law: &[f64]) {
    let n = counts.iter().sum::<usize>() as f64;
    let (mut rest, mut classes) = ((0.0, 0.0), Vec::new());
    for (&count, p) in counts.iter().zip(law) {
        assert!(*p > 0.0 || count == 0, "{what}: an outcome without probability occurred {count} times");
        match p * n < 10.0 {
            true => rest = (rest.0 + count as f64, rest.1 + p * n),
            false => classes.push((count as f64, p * n)),
        }
    }
    if rest.1 >= 10.0 {
        classes.push(rest);
    } else {
        // A Poisson count of mean below 10 exceeds 45 less than once in 10^14.
        assert!(rest.0 < 45.0, "{what}: rare outcomes occurred {} times", rest.0);
    }
    let freedom = classes.len() as f64 - 1.0;
    if freedom < 1.0 {
        return;
    }
    let chi: f64 = classes.iter().map(|(count, expected)| (count - expected).powi(2) / expected).sum();
    let spread = 2.0 / (9.0 * freedom);
    let z = ((chi / freedom).cbrt() - (1.0 - spread)) / spread.sqrt();
    assert!(z < 6.0, "{what}: chi-square {chi:.1} with {freedom} degrees of freedom, {z:.1} sigma");
}
