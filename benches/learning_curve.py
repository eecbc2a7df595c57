"""The references of `tests/commands/learning_curve.rs`: 300 updates of masked flow training by PyTorch and transformers.

    pip install torch transformers numpy
    python benches/learning_curve.py            # f32: writes tests/cases/data/learning_curve.json
    python benches/learning_curve.py autocast   # f32 weights under autocast to bf16: learning_curve_autocast.json beside it

No code of fmflow runs here: the model and its gradients are transformers' Qwen3, the optimizer is PyTorch's AdamW, the loss is
written from its formula, and the random numbers come from `streams.py`. Initial weights, rows, times and corruption are those
that fmflow draws for the same seed, so both sides do the same 300 updates and their losses can be compared one by one.

Each file says how far its curve is from one of higher precision with the same draws: f32 from float64, autocast from f32.
"""

import argparse
import json
import math
import platform
from pathlib import Path

import numpy as np
import torch
import transformers
from streams import CORRUPT, INIT, TIME, Stream
from torch.nn.functional import cross_entropy
from transformers import Qwen3Config, Qwen3ForCausalLM

SETTINGS = {
    "seed": 11,
    "updates": 300,
    "rows": 8,
    "per_device": 4,
    "length": 48,
    "documents": [20, 24],  # lengths; the rest of a row is padding
    "prompt": 3,            # first tokens of a document: given, not learned
    "mask": 127,
    "max_weight": 20.0,
    "epsilon": 1e-3,        # times are in [0, 1 - epsilon)
    "optimizer": {"beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1, "clip": 1.0, "no_decay": ["norm"]},
    "learning_rate": {"peak": 3e-3, "final": 3e-4, "warmup": 20},
    "model": {
        "vocab_size": 128, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "rms_norm_eps": 1e-6,
        "rope_theta": 1e4, "tie_word_embeddings": True, "max_position_embeddings": 64, "initializer_range": 0.02,
    },
}
SEED, LENGTH, PADDING = SETTINGS["seed"], SETTINGS["length"], -1
DATA = Path(__file__).parent.parent / "tests/cases/data"
SPAN = 50  # updates of a mean


def row(number):
    """Row `number` of the data: (tokens, documents, supervised). Each document repeats one of 16 phrases of six tokens."""
    tokens, documents, supervised = [], [], []
    for d, count in enumerate(SETTINGS["documents"]):
        phrase, offset = (5 * number + 3 * d) % 16, (number // 16 + d) % 6
        place = [(offset + i) % 6 for i in range(count)]
        tokens += [(17 * phrase + 31 * j + phrase * j) % 120 for j in place]
        documents += [d] * count
        supervised += [i >= SETTINGS["prompt"] for i in range(count)]
    rest = LENGTH - len(tokens)
    return tokens + [0] * rest, documents + [PADDING] * rest, supervised + [False] * rest


def times(k, n):
    """One time in each of n bands of equal width, in random order."""
    stream, bands = Stream(SEED, TIME, [k, 0, 0]), list(range(n))
    for i in reversed(range(1, n)):
        j = stream.below(i + 1)
        bands[i], bands[j] = bands[j], bands[i]
    return (np.array(bands) + stream.uniform(n)) / n * (1 - SETTINGS["epsilon"])


def update(k):
    """The data of update k: x_1, x_t, documents, positions [B, L], loss weights [B, L] and the divisor of the loss."""
    rows = [row(SETTINGS["rows"] * k + r) for r in range(SETTINGS["rows"])]
    x_1, documents, supervised = (np.array(part) for part in zip(*rows))
    x_t, weights = x_1.copy(), np.zeros(x_1.shape)
    drawn = iter(times(k, sum(len(set(own) - {PADDING}) for own in documents.tolist())))
    for r in range(len(rows)):
        for d in range(len(SETTINGS["documents"])):
            own, t = documents[r] == d, next(drawn)
            # kappa(t) = t: a position keeps its token with probability t, and the loss has weight 1 / (1 - t).
            noise = (Stream(SEED, CORRUPT, [k, r, d]).uniform(own.sum()) >= t) & supervised[r, own]
            x_t[r, own] = np.where(noise, SETTINGS["mask"], x_t[r, own])
            weights[r, own] = noise * min(1 / (1 - t), SETTINGS["max_weight"])
    starts = np.array([[own.index(d) for d in own] for own in documents.tolist()])
    return x_1, x_t, documents, np.arange(LENGTH) - starts, weights, supervised.sum()


def model():
    """A Qwen3 with the initial weights that fmflow draws, in float32."""
    shape = dict(SETTINGS["model"])
    theta = shape.pop("rope_theta")
    config = Qwen3Config(**shape, rope_parameters={"rope_type": "default", "rope_theta": theta},
                         attn_implementation="eager", use_cache=False)
    made = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for index, (name, parameter) in enumerate(sorted(made.named_parameters(), key=order)):
            if parameter.dim() == 1:
                parameter.fill_(1.0)
                continue
            values = Stream(SEED, INIT, [index, 0, 0]).normal(parameter.numel()) * shape["initializer_range"]
            parameter.copy_(torch.tensor(values.astype(np.float32)).reshape(parameter.shape))
    return made


def order(entry):
    """Sort key for fmflow's order of parameters: embedding, blocks, last norm; within a block as listed."""
    fields = ["input_layernorm", "q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm",
              "post_attention_layernorm", "gate_proj", "up_proj", "down_proj"]
    words = entry[0].split(".")
    if words[1] != "layers":
        return (-1 if words[1] == "embed_tokens" else 10**9, 0)
    return (int(words[2]), fields.index(words[-2]))


def learning_rate(k):
    """Linear warmup from 0, then half a cosine to the final value."""
    peak, final, warmup = (SETTINGS["learning_rate"][name] for name in ("peak", "final", "warmup"))
    if k < warmup:
        return peak * k / warmup
    return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * (k - warmup) / (SETTINGS["updates"] - warmup)))


def train(dtype, autocast=False):
    """Loss and gradient norm of every update. Under autocast the forward pass runs in bf16 where PyTorch chooses so."""
    trained, settings = model().to(dtype), SETTINGS["optimizer"]
    exempt = lambda name: any(word in name for word in settings["no_decay"])
    groups = [{"params": [p for name, p in trained.named_parameters() if exempt(name) == without],
               "weight_decay": 0.0 if without else settings["weight_decay"]} for without in (False, True)]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(settings["beta1"], settings["beta2"]), eps=settings["epsilon"])
    losses, norms = [], []
    for k in range(SETTINGS["updates"]):
        x_1, x_t, documents, positions, weights, divisor = map(torch.tensor, update(k))
        same = documents[:, :, None] == documents[:, None, :]
        hidden = torch.zeros(same.shape, dtype=dtype).masked_fill(~same, torch.finfo(dtype).min)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = trained(input_ids=x_t, position_ids=positions, attention_mask=hidden[:, None]).logits
            position_losses = cross_entropy(logits.flatten(0, 1), x_1.flatten(), reduction="none")
        loss = (position_losses * weights.flatten().to(dtype)).sum() / divisor
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(trained.parameters(), settings["clip"])))
        losses.append(float(loss.detach()))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(k)
        optimizer.step()
    return losses, norms


def measure_distance(curve, exact):
    """The largest differences of two curves: of a loss, of a gradient norm and of the mean loss of 50 updates."""
    (losses, norms), (exact_losses, exact_norms) = curve, exact
    means, exact_means = (np.reshape(values, (-1, SPAN)).mean(1) for values in (losses, exact_losses))
    return {
        "largest_loss_difference": max(abs(a - b) for a, b in zip(losses, exact_losses)),
        "largest_relative_norm_difference": max(abs(a - b) / b for a, b in zip(norms, exact_norms)),
        f"largest_relative_difference_of_{SPAN}_update_means": float(np.max(np.abs(means / exact_means - 1))),
    }


def main():
    torch.set_num_threads(1)
    words = argparse.ArgumentParser()
    words.add_argument("precision", nargs="?", default="f32", choices=["f32", "autocast"])
    autocast = words.parse_args().precision == "autocast"
    curve = losses, norms = train(torch.float32, autocast)
    other = "float32" if autocast else "float64"
    far = measure_distance(curve, train(getattr(torch, other)))
    print(f"loss {losses[0]:.4f} -> {np.mean(losses[-20:]):.4f}; from {other}: {far}")
    print(f"means of {SPAN} updates:", *(f"{mean:.5f}" for mean in np.reshape(losses, (-1, SPAN)).mean(1)))
    lines = [json.dumps([k, round(loss, 7), round(norm, 7)]) for k, (loss, norm) in enumerate(zip(losses, norms))]
    versions = {"python": platform.python_version(), "torch": torch.__version__.split("+")[0],
                "transformers": transformers.__version__, "numpy": np.__version__}
    made_by = "benches/learning_curve.py" + " autocast" * autocast
    head = json.dumps({"made_by": made_by, "versions": versions, "settings": SETTINGS, other: far,
                       "columns": ["update", "loss", "grad_norm"]}, indent=2)
    output = DATA / ("learning_curve_autocast.json" if autocast else "learning_curve.json")
    output.write_text(head[:-2] + ',\n  "curve": [\n    ' + ",\n    ".join(lines) + "\n  ]\n}\n")


if __name__ == "__main__":
    main()
