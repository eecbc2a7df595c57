//! What runs take of memory, measured from outside: the peak of a process of its own.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::Stdio;
use std::time::Duration;

use crate::common::Project;

/// Training on rows of 4,096, in so many layers. A layer has 28,800 parameters: next to nothing beside what it keeps of a row.
fn pipeline(layers: usize, recompute: &str) -> String {
    format!(
        r#"pipeline "memory" seed=1
dataset "text" from="tiny/*.txt" format="text" held-out="20%"
tokenizer "bpe" kind="byte-level-bpe" vocabulary=300 {{ dataset "text" }}
rows "text" tokenizer="bpe" length=4096 packing="concat"
mixture "prose" {{ dataset "text" }}
random-init "tiny" tokenizer="bpe" {{
    shape "qwen3" hidden=64 layers={layers} heads=2 kv-heads=1 head-dim=32 feed-forward=96 tied=#true context=4096
}}
train "ar" from="tiny" {{
    data rows="text" mixture="prose"
    objective "autoregressive"
    attention "causal"
    batch rows=1
    steps 2
    recompute "{recompute}"
    validate every=100 rows=1 times=1
    learning-rate peak=1e-3 final=1e-4 warmup=1 shape="cosine"
}}
"#
    )
}

/// Peak resident bytes of the training stage, from the kernel's own high-water mark.
fn measure_peak(layers: usize, recompute: &str) -> u64 {
    let project = Project::tiny();
    project.write("memory.kdl", &pipeline(layers, recompute));
    project.fmflow(&["run", "memory.kdl", "--until", "tiny"]).ok();
    project.fmflow(&["run", "memory.kdl", "--until", "text/text"]).ok();
    let mut command = project.command(&["run", "memory.kdl", "--only", "ar"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak = peak.max(mark.map_or(0, |mark| mark.parse::<u64>().unwrap() * 1024));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    peak
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "reads /proc")]
fn recomputed_blocks_take_the_memory_of_their_inputs_only() {
    let [whole, few, many] = [(16, "none"), (2, "block"), (16, "block")].map(|(n, how)| measure_peak(n, how));
    // 14 more layers keep 14 x 4,096 x 64 values of 4 bytes, 15 MB, and have 0.4 M parameters, at 20 bytes 8 MB. Without
    // recomputation each keeps 14 times as much of a row: 200 MB.
    let (grown, saved) = (many.saturating_sub(few), whole.saturating_sub(many));
    assert!(grown < 60 << 20, "2 layers {few}, 16 layers {many}");
    assert!(saved > 100 << 20, "16 layers {many}, without recomputation {whole}");
}
