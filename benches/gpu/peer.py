"""PyTorch's side of `check.sh`: products, attention and whole updates at the same shapes. One JSON object a line.

    python3 benches/gpu/peer.py [--device cuda] [--shape 1.7b|0.6b|tiny] [--rows 2] [--length 8192] [--updates 4] ceilings|update
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

# vocabulary, hidden, feed-forward, layers, heads, heads of keys, head width
SHAPES = {
    "1.7b": (151_936, 2048, 6144, 28, 16, 8, 128),
    "0.6b": (151_936, 1024, 3072, 28, 16, 8, 128),
    "tiny": (512, 64, 128, 2, 4, 2, 16),
}

parser = argparse.ArgumentParser()
parser.add_argument("what", choices=["ceilings", "update"])
parser.add_argument("--device", default="cuda")
parser.add_argument("--shape", default="1.7b", choices=SHAPES)
parser.add_argument("--length", type=int, default=8192)
parser.add_argument("--rows", type=int, default=2)
parser.add_argument("--updates", type=int, default=4)
arguments = parser.parse_args()
device, length = arguments.device, arguments.length
vocabulary, hidden, feed, layers, heads, shared, width = SHAPES[arguments.shape]


def report(**figure):
    print(json.dumps({"peer": "PyTorch " + torch.__version__, **figure}), flush=True)


def sync():
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of(run, repeats=10, before=3):
    """The median of `repeats` runs after `before` others."""
    times = []
    for number in range(before + repeats):
        start = time.perf_counter()
        run()
        sync()
        times.append(time.perf_counter() - start)
    return statistics.median(times[before:])


def draw(*shape, grad=False):
    return torch.randn(*shape, device=device, dtype=torch.bfloat16, requires_grad=grad)


def measure_products():
    """The shapes of benches/gpu/probe/products.rs."""
    for name, rows, from_, to in [
        ("q", length, 2048, 2048),
        ("k and v", length, 2048, 1024),
        ("gate and up", length, 2048, 6144),
        ("down", length, 6144, 2048),
        ("head", 1024, 2048, 151_936),
    ]:
        x, w, g = draw(rows, from_), draw(to, from_), draw(rows, to)
        kinds = {"forward": lambda: x @ w.T, "input": lambda: g @ w, "weight": lambda: g.T @ x}
        for kind, run in kinds.items():
            seconds = seconds_of(run)
            tflops = 2 * rows * from_ * to / seconds / 1e12
            report(product=name, kind=kind, dtype="BF16", ms=1e3 * seconds, tflops=tflops)


def measure_attention():
    q = draw(1, heads, length, width, grad=True)
    k, v = (draw(1, shared, length, width, grad=True) for _ in range(2))
    upstream = draw(1, heads, length, width)
    for name, causal in [("causal", True), ("bidirectional", False)]:
        def forward():
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)

        for kind, run in {"forward": forward, "forward and backward": lambda: forward().backward(upstream)}.items():
            report(operation=f"attention, {name}", kind=kind, ms=1e3 * seconds_of(run, 5))


def ceilings():
    if device == "cuda":
        x = torch.randn(2**28, device=device)
        y = torch.empty_like(x)
        report(copy_gb_per_second=2 * x.nbytes / seconds_of(lambda: y.copy_(x)) / 1e9)
        del x, y
        measure_products()
    measure_attention()


def build_model():
    """Qwen3 in transformers with f32 weights, and its body compiled."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=feed, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=shared, head_dim=width, max_position_embeddings=40_960,
        tie_word_embeddings=True, use_cache=False, attn_implementation="sdpa",
    )
    model = Qwen3ForCausalLM(config).to(device)
    return model, torch.compile(model.model) if device == "cuda" else model.model


def update():
    """AR updates in bf16 autocast with f32 weights, fused AdamW, a row at a time, the loss 2,048 positions at a time."""
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    model, body = build_model()
    options = dict(lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=device == "cuda")
    optimizer = torch.optim.AdamW(model.parameters(), **options)

    def part_loss(x, target):
        return F.cross_entropy(model.lm_head(x).float(), target, reduction="sum")

    def step():
        rows = torch.randint(0, vocabulary, (arguments.rows, length), device=device)
        for row in rows.split(1):
            with torch.autocast(device, torch.bfloat16):
                states = body(input_ids=row).last_hidden_state[0, :-1]
                parts = zip(states.split(2048), row[0, 1:].split(2048))
                loss = sum(checkpoint(part_loss, x, target, use_reentrant=False) for x, target in parts)
            (loss / (arguments.rows * (length - 1))).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    start = time.perf_counter()
    step()
    sync()
    first = time.perf_counter() - start
    seconds = seconds_of(step, arguments.updates - 1, 0)
    tokens = arguments.rows * length
    peak = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None
    report(
        update=True, shape=arguments.shape, rows=arguments.rows, length=length, seconds=seconds, tokens_per_second=tokens / seconds,
        first_s=first, allocated_gb=peak,
    )


{"ceilings": ceilings, "update": update}[arguments.what]()
