"""Loads exported folders with transformers, and reports whether anything is missing, unexpected or different.

    pip install torch transformers peft
    python benches/load_export.py FOLDER [CERTIFICATE] ...
    python benches/load_export.py BASE MERGED ADAPTER
    python benches/load_export.py FOLDER ANSWER.txt

FOLDER is an exported artifact (`fmflow show FILE STAGE --path`). CERTIFICATE is the `certificate.json` of the conversion that it
comes from: if the model was not trained since, transformers recomputes the logits in the certificate and compares them. An
export in bf16 rounds every weight by up to 2^-9 of its value, so its logits may differ by 1 % of the largest.
If the folder has a tokenizer, the script loads it, encodes and decodes a text, and renders a conversation.
ANSWER.txt is what fmflow wrote from FOLDER, as JSON: `fmflow generate FOLDER --prompt the --sampler autoregressive temperature=0
--new-tokens 64 --no-twin --json > ANSWER.txt`. transformers writes the same tokens after the same prompt, the word `the`.
ADAPTER is an export with `format="peft"`, after the exports (in f32) of the checkpoint that it was trained on and of the trained one:
PEFT puts it on the base, and the logits must be those of the merged model.
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


def adapter(base, merged, folder):
    """What was wrong with the adapter, and how far its logits are from the merged model's, relative to the largest."""
    import peft

    plain, merged = (weights(path)[0] for path in (base, merged))
    tokens = torch.arange(3 * 16).reshape(3, 16) * 7 % plain.config.vocab_size
    with torch.no_grad():
        without, expected = plain(tokens).logits, merged(tokens).logits
        changed = peft.PeftModel.from_pretrained(plain, folder).eval()
        found = changed(tokens).logits
    largest = float(expected.abs().max())
    far, moved = float((found - expected).abs().max()) / largest, float((without - expected).abs().max()) / largest
    values = sum(p.numel() for name, p in changed.named_parameters() if "lora_" in name)
    faults = [] if far <= 1e-4 else [f"logits differ from the merged model's by {far:.1e} of the largest"]
    # Otherwise nothing was compared.
    faults += [] if moved > 10 * 1e-4 else [f"the adapter moves the logits by {moved:.1e} only"]
    return faults, f"peft {peft.__version__}: {values} values, logits within {far:.1e} of the merged model's (it moves them by {moved:.1e})"


def answer(model, folder, expected):
    """Whether greedy text by transformers has the tokens that fmflow wrote."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = torch.tensor([tokenizer("the", add_special_tokens=False)["input_ids"]])
    ids = expected["answers"][0]["ids"]
    with torch.no_grad():
        found = model.generate(prompt, max_new_tokens=len(ids), do_sample=False, pad_token_id=0)[0, prompt.shape[1] :].tolist()
    return [] if found == ids else [f"greedy text differs: {found} instead of {ids}"], f"{len(ids)} greedy tokens"


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
    folders, bad = [], 0
    for argument in map(Path, sys.argv[1:]):
        if (argument / "adapter_config.json").exists():
            faults, said = adapter(folders[-2][0], folders[-1][0], argument)
            bad += bool(faults)
            print(f"{argument.name}: {said}", *(f"  FAULT {fault}" for fault in faults), sep="\n")
        elif argument.suffix == ".txt":
            folders[-1][2] = json.loads(argument.read_text())
        elif argument.suffix == ".json":
            folders[-1][1] = json.loads(argument.read_text())
        else:
            folders.append([argument, None, None])
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    for folder, certificate, written in folders:
        model, faults = weights(folder)
        said = [f"{sum(p.numel() for p in model.parameters())} parameters"]
        if certificate:
            far, tolerance = logits(model, certificate)
            tolerance = 1e-2 if json.loads((folder / "fmflow.json").read_text())["dtype"] == "bfloat16" else tolerance
            said.append(f"{len(certificate['reference']['logits'])} logits within {far:.1e} of the largest")
            faults += [f"logits differ by {far:.1e} of the largest, tolerance {tolerance:.0e}"] if far > tolerance else []
        if written:
            wrong, shown = answer(model, folder, written)
            faults += wrong
            said.append(shown)
        if (folder / "tokenizer.json").exists():
            wrong, shown = text(folder)
            faults += wrong
            said.append(shown)
        bad += bool(faults)
        print(f"{folder.name}: {'; '.join(said)}", *(f"  FAULT {fault}" for fault in faults), sep="\n")
    sys.exit(bad != 0)


if __name__ == "__main__":
    main()
