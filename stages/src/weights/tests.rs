//! Tests of malformed files and folders.

use indexmap::IndexMap;

use super::weights_file::WeightsFile;
use super::*;
use crate::backbone::{EMBEDDING, HEAD};
use crate::device;

/// All tensors of one file in the order of their data, and the digest of the file.
fn read_safetensors_file(path: &Path) -> Result<(IndexMap<String, HostTensor>, String), WeightsError> {
    let file = WeightsFile::open(path)?;
    let mut tensors = IndexMap::new();
    for entry in &file.entries {
        let (mut values, mut parts) = (Vec::new(), file.parts(entry, None));
        while let part @ [_, ..] = parts.next_part()? {
            values.extend_from_slice(part);
        }
        tensors.insert(
            entry.name.clone(),
            HostTensor { shape: entry.shape.clone(), dtype: entry.dtype, values },
        );
    }
    Ok((tensors, file.hash()?))
}

const CONFIG: Qwen3Config = Qwen3Config {
    vocab_size: 6,
    hidden_size: 4,
    intermediate_size: 4,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    head_dim: 2,
    rms_norm_eps: 1e-6,
    rope_theta: 1e4,
    tie_word_embeddings: true,
    max_position_embeddings: 16,
    initializer_range: 0.02,
    bos_token_id: None,
    eos_token_ids: Vec::new(),
    pad_token_id: None,
};

/// A folder with the weights of a new model.
fn folder(config: &Qwen3Config) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let device = device::open_device("cpu").unwrap();
    let model = Backbone::new(config, TimeConditioning::None, 1, &device).unwrap();
    let mut bytes = Vec::new();
    save_backbone(&mut bytes, &model).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_json()).unwrap();
    folder
}

fn file(header: &str, data: usize) -> Result<usize, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0; data]);
    std::fs::write(&path, bytes).unwrap();
    read_safetensors_file(&path).map(|(tensors, _)| tensors.len()).map_err(|e| e.to_string())
}

fn entry(name: &str, dtype: &str, shape: &str, start: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

#[test]
fn a_good_file_is_read_and_digested() {
    let folder = folder(&CONFIG);
    let path = folder.path().join("model.safetensors");
    let (tensors, hash) = read_safetensors_file(&path).unwrap();
    assert_eq!(hash, hash_bytes(&std::fs::read(&path).unwrap()));
    assert_eq!(tensors[EMBEDDING].shape, [6, 4]);
    let reader = CheckpointReader::open(folder.path()).unwrap();
    assert_eq!(reader.hash_files().unwrap()["model.safetensors"], hash);
    assert_eq!(reader.read(EMBEDDING).unwrap(), tensors[EMBEDDING]);
    // What is copied is the file.
    let mut copied = Vec::new();
    reader.copy_checked::<Box<dyn std::error::Error>>(0, &mut copied).unwrap();
    assert_eq!(copied, std::fs::read(&path).unwrap());
    assert_eq!(file(&format!("{{{}}}  ", entry("a", "F32", "[2,0]", 0, 0)), 0), Ok(1));
    assert_eq!(
        file(&format!("{{{},{}}}", entry("b", "F16", "[]", 4, 6), entry("a", "F32", "[1]", 0, 4)), 6),
        Ok(2)
    );
}

#[test]
fn malformed_headers_are_refused_with_the_reason() {
    let a = entry("a", "F32", "[2]", 0, 8);
    for (header, data, reason) in [
        ("".to_owned(), 0, "does not start"),
        ("[]".into(), 0, "does not start"),
        ("{".into(), 0, "header"),
        (format!("{{{a},{a}}}"), 8, "`a` occurs twice"),
        (format!("{{{a}}}"), 7, "tensor `a`: the file is cut short"),
        (format!("{{{a}}}"), 9, "1 bytes after the last tensor"),
        (format!("{{{}}}", entry("a", "F32", "[2]", 4, 12)), 12, "tensor `a`: its data starts at 4"),
        (format!("{{{a},{}}}", entry("b", "F32", "[1]", 4, 8)), 8, "tensor `b`: its data starts at 4"),
        (format!("{{{}}}", entry("a", "F32", "[3]", 0, 8)), 8, "does not fill"),
        (format!("{{{}}}", entry("a", "F32", "[2]", 8, 0)), 8, "does not fill"),
        (format!("{{{}}}", entry("a", "I64", "[1]", 0, 8)), 8, "type `I64`"),
        (format!("{{{}}}", entry("a", "F32", "[4294967296,4294967296]", 0, 8)), 8, "does not fill"),
        (format!("{{{}}}", entry("a", "F32", "[1,1,1,1,1,1,1,1,2]", 0, 8)), 8, "9 dimensions"),
        (format!("{{{}}}", entry(&"n".repeat(257), "F32", "[2]", 0, 8)), 8, "1 to 256 bytes"),
    ] {
        let error = file(&header, data).unwrap_err();
        assert!(error.contains(reason), "{header}\n{error}");
    }
}

#[test]
fn a_header_that_claims_more_than_the_file_is_not_allocated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    for bytes in [&b""[..], &[1, 2, 3], &u64::MAX.to_le_bytes(), &(1_u64 << 25).to_le_bytes()] {
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(read_safetensors_file(&path), Err(WeightsError::Malformed { .. })));
    }
    assert!(matches!(read_safetensors_file(folder.path()), Err(WeightsError::Io { .. })));
    assert!(matches!(read_safetensors_file(&folder.path().join("none")), Err(WeightsError::Io { .. })));
}

#[test]
fn values_that_are_not_finite_are_named() {
    let folder = folder(&CONFIG);
    let path = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let error = read_checkpoint(folder.path()).unwrap_err().to_string();
    assert!(error.contains("`model.norm.weight` has a value that is not finite at index 3"), "{error}");
}

#[test]
fn the_head_must_agree_with_the_config() {
    let untied = Qwen3Config { tie_word_embeddings: false, ..CONFIG };
    let read = |dir: &Path, config: &Qwen3Config| {
        std::fs::write(dir.join("config.json"), config.to_json()).unwrap();
        read_checkpoint(dir).map(|c| c.redundant_head).map_err(|e| e.to_string())
    };
    let error = read(folder(&CONFIG).path(), &untied).unwrap_err();
    assert!(error.contains("`lm_head.weight` is missing"), "{error}");
    let other = folder(&untied);
    let error = read(other.path(), &CONFIG).unwrap_err();
    assert!(error.contains("`lm_head.weight` differs"), "{error}");
    // A head that repeats the embedding is redundant, but accepted.
    let (mut tensors, _) = read_safetensors_file(&other.path().join("model.safetensors")).unwrap();
    let embedding = tensors[EMBEDDING].clone();
    tensors.insert(HEAD.into(), embedding);
    let layout: Vec<_> = tensors.iter().map(|(name, t)| (name.clone(), t.shape.clone())).collect();
    let mut bytes = Vec::new();
    write_f32_tensors(&mut bytes, &layout, |name| Ok::<_, std::io::Error>(tensors[name].values.clone()))
        .unwrap();
    std::fs::write(other.path().join("model.safetensors"), bytes).unwrap();
    assert_eq!(read(other.path(), &CONFIG), Ok(true));
}

#[test]
fn folders_without_readable_weights_say_what_to_do() {
    let empty = folder(&CONFIG);
    std::fs::remove_file(empty.path().join("model.safetensors")).unwrap();
    assert!(read_checkpoint(empty.path()).unwrap_err().to_string().contains("neither"));
    std::fs::write(empty.path().join("pytorch_model.bin"), "x").unwrap();
    assert!(
        read_checkpoint(empty.path())
            .unwrap_err()
            .to_string()
            .contains("`pytorch_model.bin` is a pickle file")
    );
    let index = |text: &str| {
        std::fs::write(empty.path().join("model.safetensors.index.json"), text).unwrap();
        read_checkpoint(empty.path()).unwrap_err().to_string()
    };
    assert!(index("{}").contains("weight_map"));
    assert!(index(r#"{"weight_map": {"a": "../x.safetensors"}}"#).contains("is not a file of this folder"));
    assert!(index(r#"{"weight_map": {"a": "x.safetensors"}}"#).contains("tensor `a`: the file is missing"));
    let both = folder(&CONFIG);
    std::fs::copy(both.path().join("model.safetensors"), both.path().join("x.safetensors")).unwrap();
    std::fs::write(both.path().join("model.safetensors.index.json"), "{}").unwrap();
    assert!(read_checkpoint(both.path()).unwrap_err().to_string().contains("has both"));
    std::fs::remove_file(both.path().join("model.safetensors")).unwrap();
    std::fs::write(
        both.path().join("model.safetensors.index.json"),
        r#"{"weight_map": {"model.norm.weight": "x.safetensors"}}"#,
    )
    .unwrap();
    assert!(read_checkpoint(both.path()).unwrap_err().to_string().contains("does not list the tensor"));
}

#[test]
fn tensors_are_distributed_in_order_and_never_split() {
    let layout: TensorLayout =
        [("a", 2), ("b", 2), ("c", 9), ("d", 1)].map(|(n, k)| (n.into(), vec![k])).into();
    let names = |dtype, limit| -> Vec<String> {
        let files = distribute_tensors(layout.clone(), dtype, limit);
        files.iter().map(|file| file.iter().map(|(name, _)| name.as_str()).collect()).collect()
    };
    assert_eq!(names(Dtype::F32, 16), ["ab", "c", "d"]);
    assert_eq!(names(Dtype::BF16, 26), ["abc", "d"]);
    assert_eq!(names(Dtype::F32, 1), ["a", "b", "c", "d"]);
    assert_eq!(names(Dtype::F32, 1 << 20), ["abcd"]);
    assert_eq!(distribute_tensors(Vec::new(), Dtype::F32, 1), Vec::<TensorLayout>::new());
}

#[test]
fn what_a_type_can_hold_comes_back_exactly_and_the_rest_is_rounded_to_even() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    // 1 + 2^-8 is halfway between two bf16 numbers, 1 and 1 + 2^-7; 1 + 3 * 2^-8 between 1 + 2^-7 and 1 + 2^-6.
    let values = [1.0, -0.0, 1.0 + 2f32.powi(-8), 1.0 + 3.0 * 2f32.powi(-8), 2f32.powi(-133), 3e38];
    let stored = |dtype| {
        let mut bytes = Vec::new();
        let layout = [("x".to_owned(), vec![values.len()])];
        write_tensors_as(&mut bytes, &layout, dtype, |_| Ok::<_, std::io::Error>(values.to_vec())).unwrap();
        std::fs::write(&path, bytes).unwrap();
        read_safetensors_file(&path).map(|(tensors, _)| tensors["x"].values.clone())
    };
    assert_eq!(stored(Dtype::F32).unwrap(), values);
    let found = stored(Dtype::BF16).unwrap();
    assert_eq!(found[..5], [1.0, -0.0, 1.0, 1.0 + 2f32.powi(-6), 2f32.powi(-133)]);
    assert!(found.iter().zip(values).all(|(a, b)| a.to_bits() == Dtype::BF16.round(b).to_bits()));
    // 3e38 is beyond the range of half precision, so it becomes infinite and is refused when read back.
    assert!(matches!(stored(Dtype::F16), Err(WeightsError::NotFinite { index: 5, .. })));
}
