//! Names that other tools use: wherever they are written, the help says what to write instead.

use std::path::Path;

use fmflow_engine::check::{CheckOptions, check_text};

/// Name, a typical value, and what the help must contain: keys of axolotl, LLaMA-Factory, torchtitan, transformers, TRL,
/// nanotron, levanter, litgpt, nanochat and dllm.
pub(crate) const NAMES: &[(&str, &str, &str)] = &[
    ("output_dir", "\"out\"", "fmflow run FILE --store DIR"),
    ("out_dir", "\"out\"", "fmflow run FILE --store DIR"),
    ("dump_folder", "\"out\"", "fmflow run FILE --store DIR"),
    ("checkpoints_path", "\"out\"", "fmflow run FILE --store DIR"),
    ("dataset_prepared_path", "\"out\"", "fmflow run FILE --store DIR"),
    ("overwrite_output_dir", "#true", "--store"),
    ("attn_implementation", "\"sdpa\"", "attention \"causal\""),
    ("flash_attention", "#true", "kernels are fmflow's own choice"),
    ("gradient_accumulation_steps", "8", "batch rows=128 per-device=2"),
    ("batch_accumulation_per_replica", "8", "batch rows=128 per-device=2"),
    ("per_device_train_batch_size", "2", "per-device"),
    ("micro_batch_size", "2", "per-device"),
    ("global_batch_size", "64", "batch"),
    ("num_train_epochs", "3", "fmflow counts updates"),
    ("num_epochs", "3", "fmflow counts updates"),
    ("epochs", "3", "steps 2_000"),
    ("max_steps", "100", "steps"),
    ("train_steps", "100", "steps"),
    ("num_train_steps", "100", "steps"),
    ("max_iters", "100", "steps"),
    ("learning_rate", "1e-4", "learning-rate"),
    ("lr", "1e-4", "learning-rate"),
    ("lr_scheduler", "\"cosine\"", "learning-rate"),
    ("lr_scheduler_type", "\"cosine\"", "`shape` of `learning-rate`"),
    ("lr_decay_style", "\"cosine\"", "`shape` of `learning-rate`"),
    ("min_lr", "1e-5", "`final` of `learning-rate`"),
    ("min_lr_ratio", "0.1", "not a ratio"),
    ("warmup_steps", "100", "`warmup` of `learning-rate`"),
    ("lr_warmup_steps", "100", "`warmup` of `learning-rate`"),
    ("warmup_ratio", "0.05", "counts updates: of 2000"),
    ("lr_decay_steps", "100", "`decay` of `learning-rate`"),
    ("decay_ratio", "0.2", "counts updates: of 2000"),
    ("optim", "\"adamw_torch\"", "optimizer"),
    ("adam_beta1", "0.9", "`beta1` of `optimizer`"),
    ("adam_beta2", "0.95", "`beta2` of `optimizer`"),
    ("adam_epsilon", "1e-8", "`epsilon` of `optimizer`"),
    ("betas", "\"0.9,0.95\"", "beta1=0.9 beta2=0.95"),
    ("weight_decay", "0.1", "`weight-decay` of `optimizer`"),
    ("max_grad_norm", "1.0", "`clip` of `optimizer`"),
    ("max_norm", "1.0", "`clip` of `optimizer`"),
    ("gradient_clipping", "1.0", "`clip` of `optimizer`"),
    ("bf16", "#true", "precision compute=\"bf16\""),
    ("torch_dtype", "\"bfloat16\"", "`compute` of `precision`"),
    ("mixed_precision_param", "\"bfloat16\"", "`compute` of `precision`"),
    ("tf32", "#true", "precision compute=\"f32\""),
    ("gradient_checkpointing", "#true", "recompute"),
    ("activation_checkpoint", "#true", "recompute"),
    ("save_steps", "500", "checkpoint"),
    ("save_interval", "500", "`every` of `checkpoint`"),
    ("checkpoint_interval", "500", "`every` of `checkpoint`"),
    ("save_total_limit", "2", "checkpoint"),
    ("keep_latest_k", "2", "`keep` of `checkpoint`"),
    ("save_strategy", "\"steps\"", "checkpoint every=500"),
    ("resume_from_checkpoint", "#true", "continues interrupted stages"),
    ("load_best_model_at_end", "#true", "require \"sft\" at-least=0.8"),
    ("logging_steps", "10", "log"),
    ("log_freq", "10", "`every` of `log`"),
    ("logging_dir", "\"logs\"", "fmflow log"),
    ("eval_steps", "200", "validate"),
    ("eval_interval", "200", "`every` of `validate`"),
    ("eval_strategy", "\"steps\"", "validate"),
    ("eval_iters", "100", "`rows` of `validate`"),
    ("per_device_eval_batch_size", "8", "validate every=200 rows=32"),
    ("val_size", "0.1", "`held-out`"),
    ("val_set_size", "0.1", "`held-out` of `dataset`"),
    ("seed", "42", "`seed` of `pipeline`"),
    ("data_seed", "42", "`seed` of `pipeline`"),
    ("report_to", "\"wandb\"", "fmflow log FILE STAGE"),
    ("wandb_project", "\"mine\"", "fmflow log FILE STAGE"),
    ("run_name", "\"mine\"", "every run has a number"),
    ("push_to_hub", "#true", "`export \"release\""),
    ("hub_token", "\"x\"", "secret \"HF_TOKEN\""),
    ("trust_remote_code", "#true", "no code of a repository is run"),
    ("torch_compile", "#true", "fmflow doctor"),
    ("deepspeed", "\"ds.json\"", "--device cuda:0"),
    ("fsdp", "\"full_shard\"", "--device cuda:0"),
    ("tensor_parallel_degree", "2", "--device cuda:0"),
    ("lora_r", "16", "adapter"),
    ("load_in_4bit", "#true", "never quantized"),
    ("finetuning_type", "\"lora\"", "adapter \"lora\" rank=16"),
    ("model_name_or_path", "\"x/y\"", "`from` of `fetch`"),
    ("base_model", "\"x/y\"", "`from` of `fetch`"),
    ("tokenizer_name_or_path", "\"x/y\"", "`from` of `tokenizer`"),
    ("dataset_name", "\"x/y\"", "`from` of `dataset`"),
    ("dataset_text_field", "\"text\"", "`text` of `dataset`"),
    ("max_seq_length", "2048", "`length` of `rows`"),
    ("sequence_len", "2048", "`length` of `rows`"),
    ("cutoff_len", "2048", "`length` of `rows`"),
    ("sample_packing", "#true", "`packing` of `rows`"),
    ("train_on_inputs", "#false", "only the answers are learned"),
    ("chat_template", "\"chatml\"", "chat_template.jinja"),
    ("max_samples", "100", "name fewer files"),
    ("streaming", "#true", "rows are made before training"),
    ("shuffle", "#true", "seed=1"),
    ("dataloader_num_workers", "4", "leave it out"),
    ("interleave_probs", "\"0.5,0.5\"", "dataset \"text\" weight=3"),
    ("hidden_size", "1024", "`hidden` of `shape`"),
    ("num_hidden_layers", "12", "`layers` of `shape`"),
    ("n_kv_heads", "2", "`kv-heads` of `shape`"),
    ("rope_theta", "1e6", "`rope-theta` of `shape`"),
    ("mask_token_id", "151669", "`mask-token`"),
    ("time_epsilon", "1e-3", "epsilon"),
    ("noise_schedule", "\"linear\"", "scheduler"),
    ("label_smoothing_factor", "0.1", "weight-decay=0.1"),
    ("num_beams", "4", "sampler \"parallel\""),
];

/// The help texts of all diagnostics that mention `name`.
fn help(name: &str, text: &str, settings: Vec<String>) -> Vec<String> {
    let options = CheckOptions { settings, ..CheckOptions::default() };
    let text = format!("pipeline \"p\" seed=1\n{text}\n");
    let checked = check_text("c.kdl", &text, Path::new(env!("CARGO_MANIFEST_DIR")), &options);
    let about = checked.diagnostics.iter().filter(|finding| finding.message.contains(&format!("`{name}`")));
    about.map(|finding| finding.help.clone().unwrap_or_default()).collect()
}

#[test]
fn names_of_other_tools_get_help_as_a_node_and_as_a_field() {
    let mut faults = Vec::new();
    for (name, value, expected) in NAMES {
        let node = format!("train \"sft\" from=\"x\" {{\n    {name} {value}\n}}");
        let field = format!("train \"sft\" from=\"x\" {name}={value} {{}}");
        for text in [node, field] {
            let help = help(name, &text, vec![]);
            let good = |help: &String| help.contains(expected) && !help.contains("allowed here");
            if !matches!(help.as_slice(), [one] if good(one)) {
                faults.push(format!("{text}\n    {expected:?} in {help:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn names_of_other_tools_get_help_at_the_top_level() {
    let mut faults = Vec::new();
    for (name, value, _) in NAMES {
        let help = help(name, &format!("{name} {value}"), vec![]);
        if !matches!(help.as_slice(), [one] if !one.contains("allowed here")) {
            faults.push(format!("{name}: {help:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn names_without_a_counterpart_are_explained() {
    let page = |name: &str| fmflow_engine::language::explain::explain_topic(name).unwrap();
    assert!(page("output_dir").contains("fmflow run FILE --store DIR"), "{}", page("output_dir"));
    let both = page("num_train_epochs");
    assert!(both.contains("fmflow counts updates") && both.contains("train.steps\n"), "{both}");
}

#[test]
fn names_without_a_counterpart_get_help_on_the_command_line() {
    for (name, expected) in [("num_train_epochs", "fmflow counts updates"), ("output_dir", "--store DIR")] {
        let help = help(name, "train \"sft\" from=\"x\" {}", vec![format!("train.sft.{name}=3")]);
        assert!(help.iter().any(|help| help.contains(expected)), "{name}: {help:?}");
    }
}
