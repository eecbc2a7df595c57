"""Training throughput of fmflow and PyTorch (transformers' Qwen3, eager) on the same cores, measured in turns.

    cargo build --release --locked
    pip install torch transformers numpy
    python3 benches/throughput.py target/release/fmflow

Both sides train the same shapes on rows of the same length, in float32, with AdamW and clipping: autoregressive (every next token)
and masked flow (bidirectional; only masked positions go through the head). A token is a position of a row; the figure is the median
over the updates after the first five. fmflow attends within documents and writes metrics; PyTorch attends to whole rows without a
mask, which is less work.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import Qwen3Config, Qwen3ForCausalLM

ROUNDS, SKIP = 3, 5
SHAPES = {
    "quickstart": {"hidden": 96, "layers": 3, "heads": 3, "kv": 1, "feed": 288, "rows": 16, "per": 8, "length": 128, "updates": 50},
    "larger": {"hidden": 256, "layers": 6, "heads": 8, "kv": 4, "feed": 768, "rows": 8, "per": 4, "length": 256, "updates": 20},
}
VOCABULARY, MASK, HEAD = 1024, 1023, 32
CORPUS = Path(__file__).resolve().parent.parent / "examples/quickstart/corpus"

PIPELINE = """
pipeline "throughput" seed=1
dataset "text" from="{corpus}/*.txt" format="text" held-out="5%"
tokenizer "bpe" kind="byte-level-bpe" vocabulary=1024 {{ dataset "text" }}
rows "text" tokenizer="bpe" length={length} packing="concat"
mixture "prose" {{ dataset "text" }}
random-init "tiny" tokenizer="bpe" {{
    shape "qwen3" hidden={hidden} layers={layers} heads={heads} kv-heads={kv} head-dim=32 feed-forward={feed} tied=#true context=256
}}
scheduler "linear" kind="linear"
path "masked" source="mask" scheduler="linear"
recipe "common" {{
    data rows="text" mixture="prose"
    batch rows={rows} per-device={per}
    learning-rate peak=1e-3 final=1e-4 warmup=2 shape="cosine"
    checkpoint every=1_000 keep=1
    steps {updates}
}}
train "ar" from="tiny" use="common" {{ objective "autoregressive"; attention "causal" }}
convert "flow" from="tiny"
train "masked" from="flow" use="common" {{
    objective "flow" path="masked" loss="elbo" max-weight=20
    attention "bidirectional"
}}
"""


def fmflow(program, shape):
    """Tokens per second of both training stages."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "p.kdl").write_text(PIPELINE.format(corpus=CORPUS, **shape))
        run = lambda *words: subprocess.run([program, *words], cwd=folder, check=True, capture_output=True, text=True).stdout
        run("run", "p.kdl")
        return {kind: median(run("log", "p.kdl", kind)) for kind in ("ar", "masked")}


def median(metrics):
    lines = [json.loads(line) for line in metrics.splitlines()]
    return statistics.median(line["tokens_per_second"] for line in lines[SKIP:] if "tokens_per_second" in line)


def model(shape):
    torch.manual_seed(1)
    config = Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=shape["hidden"], intermediate_size=shape["feed"], head_dim=HEAD,
        num_hidden_layers=shape["layers"], num_attention_heads=shape["heads"], num_key_value_heads=shape["kv"],
        max_position_embeddings=256, tie_word_embeddings=True, use_cache=False, attn_implementation="sdpa",
    )
    return Qwen3ForCausalLM(config)


def losses(net, rows, kind):
    """The loss of one micro-batch, summed over its positions."""
    if kind == "ar":
        logits = net(input_ids=rows).logits[:, :-1]
        return cross_entropy(logits.reshape(-1, VOCABULARY), rows[:, 1:].reshape(-1), reduction="sum")
    t = torch.rand(rows.shape[0], 1)
    masked = torch.rand(rows.shape) >= t
    mask = torch.zeros(rows.shape[0], 1, rows.shape[1], rows.shape[1])
    hidden = net.model(input_ids=torch.where(masked, MASK, rows), attention_mask=mask).last_hidden_state
    logits = net.lm_head(hidden[masked])
    weights = (1 / (1 - t)).clamp(max=20).expand(rows.shape)[masked]
    return (cross_entropy(logits, rows[masked], reduction="none") * weights).sum()


def pytorch(shape, kind):
    """Tokens per second of whole updates."""
    net, tokens = model(shape), shape["rows"] * shape["length"]
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    seconds = []
    for _ in range(shape["updates"]):
        rows = torch.randint(0, MASK, (shape["rows"], shape["length"]))
        start = time.perf_counter()
        optimizer.zero_grad()
        for part in rows.split(shape["per"]):
            (losses(net, part, kind) / tokens).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return tokens / statistics.median(seconds[SKIP:])


def main():
    program = str(Path(sys.argv[1] if len(sys.argv) > 1 else "target/release/fmflow").resolve())
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name, shape in SHAPES.items():
        ours, theirs = {"ar": [], "masked": []}, {"ar": [], "masked": []}
        for _ in range(ROUNDS):
            found = fmflow(program, shape)
            for kind in ours:
                ours[kind].append(found[kind])
                theirs[kind].append(pytorch(shape, kind))
        for kind in ours:
            a, b = statistics.median(ours[kind]), statistics.median(theirs[kind])
            print(f"{name} {kind}: fmflow {a:,.0f} tok/s, PyTorch {b:,.0f} tok/s, ratio {a / b:.2f}")


if __name__ == "__main__":
    main()
