"""An export with `format="sdar"`, loaded and decoded by SDAR's own code.

    git clone https://github.com/JetAstra/SDAR CODE
    python3 -m venv /tmp/sdar && /tmp/sdar/bin/pip install torch "transformers==4.52.4" einops numpy
    /tmp/sdar/bin/python benches/load_sdar.py $(fmflow show FILE EXPORT --path) CODE

The script puts the folder and three files of CODE (`training/model/SDAR-4B-Chat`) side by side, as the README.md of the export says, and lets
transformers load the model by what config.json says, in float32. No tensor may be missing, unexpected or of another shape, and block, mask and ends
are those of `expected_answers.json`. Then `block_diffusion_generate` of CODE (`generate.py`) decodes every prompt of that file with its
settings, and has to give its tokens up to the first end. Only its draw is replaced by the most probable token, with its probability at
temperature 1: a draw by multinomial has no greedy form that also keeps the confidence.

SDAR's code calls kernels for GPUs, which `pip` builds on machines with one. Where `flash_attn` or `triton` is missing, the script says so and puts
the same operations, in PyTorch, in their place: the RMS norm and attention without a mask.

The script ends with 1 at the first difference.
"""

import importlib.util
import json
import shutil
import sys
import tempfile
import types
from pathlib import Path

import torch

FILES = ("configuration_sdar.py", "modeling_sdar.py", "fused_linear_diffusion_cross_entropy.py")


def same(what, found, expected):
    if found != expected:
        raise SystemExit(f"FAULT: {what}\n  found    {found!r}\n  expected {expected!r}")


def norm(x, weight, bias=None, eps=1e-6):
    """The RMS norm, computed in float32."""
    assert bias is None
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight.float()).to(x.dtype)


def attend(query, key, value, causal=False, softmax_scale=None):
    """Attention of [B, L, H, D] that sees everything."""
    assert not causal
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    found = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=softmax_scale, enable_gqa=True)
    return found.transpose(1, 2)


def module(name, **content):
    """A module in the place of one that is not installed."""
    made = types.ModuleType(name)
    made.__dict__.update(content)
    made.__spec__ = importlib.util.spec_from_loader(name, loader=None)
    made.__path__ = []
    sys.modules[name] = made


def stand_in():
    """Puts operations in PyTorch in the place of kernels that are not installed. Returns which."""
    absent = [name for name in ("flash_attn", "triton") if importlib.util.find_spec(name) is None]
    if "flash_attn" in absent:
        for name in ("flash_attn.ops", "flash_attn.ops.triton"):
            module(name)
        module("flash_attn", flash_attn_func=attend, flash_attn_varlen_func=None)
        module("flash_attn.bert_padding", index_first_axis=None, pad_input=None, unpad_input=None)
        module("flash_attn.ops.triton.layer_norm", rms_norm_fn=norm)
    if "triton" in absent:
        # Only training calls these kernels.
        plain = lambda *_, **__: lambda function: function
        module("triton", jit=lambda function: function, heuristics=plain, autotune=plain, Config=lambda *_, **__: None, cdiv=None)
        module("triton.language", constexpr=int)
        sys.modules["triton"].language = sys.modules["triton.language"]
    return absent


def draw_most_probable(logits, temperature=1.0, top_k=0, top_p=1.0):
    """In place of the draw: [B, block, V] gives the most probable tokens, and how probable they are."""
    probabilities = torch.softmax(logits.float(), dim=-1)
    confidence, token = probabilities.max(dim=-1)
    return token, confidence


def load(folder):
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    same("the architecture", config.architectures, ["SDARForCausalLM"])
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, config=config, trust_remote_code=True, torch_dtype=torch.float32, output_loading_info=True, attn_implementation="sdpa"
    )
    same("the class", type(model).__name__, "SDARForCausalLM")
    same("faults of loading", {what: sorted(map(str, found)) for what, found in info.items() if found}, {})
    tied = model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    same("a tied head", tied, config.tie_word_embeddings)
    return model.eval(), config


def main():
    export, code = map(Path, sys.argv[1:3])
    absent = stand_in()
    expected = json.loads((export / "expected_answers.json").read_text())
    settings = expected["settings"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        shutil.copytree(export, folder, symlinks=False)
        for name in FILES:
            shutil.copy(code / "training/model/SDAR-4B-Chat" / name, folder / name)
        model, config = load(folder)
        same("the mask in config.json", config.mask_token_id, settings["mask_token_id"])
        same("the block in config.json", config.block_size, settings["block_length"])
        from transformers import GenerationConfig

        ends = GenerationConfig.from_pretrained(folder).eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        same("the ends", sorted(set(ends)), sorted(set(settings["stop_token_ids"])))
        sys.path.insert(0, str(code))
        import generate

        generate.sample_with_temperature_topk_topp = draw_most_probable
        for answer in expected["answers"]:
            prompt, count = answer["prompt_token_ids"], answer["new_tokens"]
            found = generate.block_diffusion_generate(
                model,
                prompt={"input_ids": torch.tensor([prompt])},
                mask_id=settings["mask_token_id"],
                gen_length=count,
                block_length=settings["block_length"],
                denoising_steps=settings["denoising_steps"],
                remasking_strategy=settings["remasking_strategy"],
                stopping_criteria_idx=ends,
            )[0, len(prompt) : len(prompt) + count].tolist()
            end = next((at + 1 for at, token in enumerate(found) if token in ends), count)
            same(f"the answer to {answer.get('prompt', answer.get('messages'))}", found[:end], answer["token_ids"])
    note = f"; in the place of {' and '.join(absent)}: PyTorch" if absent else ""
    tokens = sum(len(answer["token_ids"]) for answer in expected["answers"])
    print(f"SDAR's code gives the {tokens} tokens of {len(expected['answers'])} answers{note}")


if __name__ == "__main__":
    main()
