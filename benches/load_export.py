"""Loads exported folders with transformers, and reports whether anything is missing, unexpected or different.

    pip install torch transformers
    python benches/load_export.py FOLDER [CERTIFICATE] ...

FOLDER is an exported artifact (`fmflow show FILE STAGE --path`). CERTIFICATE is the `certificate.json` of the conversion that it
comes from: if the model was not trained since, transformers recomputes the logits in the certificate and compares them. An
export in bf16 rounds every weight by up to 2^-9 of its value, so its logits may differ by 1 % of the largest.
If the folder has a tokenizer, the script loads it, encodes and decodes a text, and renders a conversation.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

CONVERSATION = [{"role": "user", "content": "first: a b c"}, {"role": "assistant", "content": "a"}]


def weights(folder):
    """The model, and what went wrong while loading it."""
    config = AutoConfig.from_pretrained(folder)
    # The certificate's logits are those under a causal mask, whatever the model was made for.
    config.is_causal = True
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, config=config, dtype=torch.float32, output_loading_info=True
    )
    faults = [f"{what}: {sorted(map(str, info[what]))}" for what in info if info[what]]
    stored = json.loads((folder / "fmflow.json").read_text())["dtype"]
    if str(model.config.dtype) != f"torch.{stored}" and model.config.dtype != torch.float32:
        faults.append(f"dtype {model.config.dtype}, stored {stored}")
    tied = model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    if tied != model.config.tie_word_embeddings:
        faults.append(f"tied {tied}, config.json says {model.config.tie_word_embeddings}")
    GenerationConfig.from_pretrained(folder)
    return model.eval(), faults


def logits(model, certificate):
    """The largest difference from the certificate's logits, relative to the largest logit, and the tolerance."""
    kept, parity = certificate["reference"], certificate["parity"]
    rows, length = kept["batch"]
    with torch.no_grad():
        found = model(torch.tensor(kept["tokens"]).reshape(rows, length)).logits.flatten(0, 1)
    far = max(abs(float(found[one["position"], one["token"]]) - one["value"]) for one in kept["logits"])
    return far / parity["largest"], parity["tolerance"]


def text(folder):
    """What is wrong with the tokenizer, and the rendered conversation."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    sample = "The river meets the model.\n\n  x = 1"
    ids = tokenizer(sample, add_special_tokens=False)["input_ids"]
    faults = [] if tokenizer.decode(ids) == sample else [f"{sample!r} comes back as {tokenizer.decode(ids)!r}"]
    if not tokenizer.chat_template:
        return faults, "no chat template"
    shown = tokenizer.apply_chat_template(CONVERSATION[:1], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(CONVERSATION, tokenize=False)
    if not (CONVERSATION[0]["content"] in shown and whole.startswith(shown[: shown.index("first")])):
        faults.append(f"the conversation is laid out as {whole!r}")
    for name in ("eos_token", "pad_token"):
        token = getattr(tokenizer, name)
        if token is None or tokenizer.convert_tokens_to_ids(token) is None:
            faults.append(f"`{name}` is {token!r}")
    return faults, repr(shown)


def main():
    folders = []
    for argument in map(Path, sys.argv[1:]):
        if argument.suffix == ".json":
            folders[-1][1] = json.loads(argument.read_text())
        else:
            folders.append([argument, None])
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    bad = 0
    for folder, certificate in folders:
        model, faults = weights(folder)
        said = [f"{sum(p.numel() for p in model.parameters())} parameters"]
        if certificate:
            far, tolerance = logits(model, certificate)
            tolerance = 1e-2 if json.loads((folder / "fmflow.json").read_text())["dtype"] == "bfloat16" else tolerance
            said.append(f"{len(certificate['reference']['logits'])} logits within {far:.1e} of the largest")
            faults += [f"logits differ by {far:.1e} of the largest, tolerance {tolerance:.0e}"] if far > tolerance else []
        if (folder / "tokenizer.json").exists():
            wrong, shown = text(folder)
            faults += wrong
            said.append(shown)
        bad += bool(faults)
        print(f"{folder.name}: {'; '.join(said)}", *(f"  FAULT {fault}" for fault in faults), sep="\n")
    sys.exit(bad != 0)


if __name__ == "__main__":
    main()
