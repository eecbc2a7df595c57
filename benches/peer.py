"""Whole updates of fmflow beside PyTorch's (transformers' Qwen3 with SDPA, eager and torch.compile) on the same cores, in turns.

    cargo build --release --locked
    pip install torch transformers numpy
    python3 benches/peer.py target/release/fmflow [--shape quickstart|larger|wide] [--rounds 3] [--kinds ar,masked,block] [--bf16]

Both sides train the same shapes on rows of the same length in float32, with AdamW and clipping: autoregressive (every next token),
masked flow (bidirectional), and block diffusion over [x_t, x_0] (blocks of 32). PyTorch gathers the positions that count before its
head. A token is a position of a row of text; a figure is the median of the updates after the first ones, a ratio the median over
rounds of tokens/s of fmflow divided by PyTorch's in the same round. Processor seconds are those of the whole process for one update;
fmflow's are the difference of two runs, divided by the difference of their updates.

With --bf16 fmflow trains with `precision compute="bf16"` and PyTorch under autocast to bf16, with f32 weights on both sides; fmflow in f32 is
one more peer.
"""

import argparse
import json
import os
import random
import resource
import statistics
import time
from pathlib import Path

import torch
from program import BACKBONE, NOISE, Program
from torch.nn.functional import cross_entropy
from transformers import Qwen3Config, Qwen3ForCausalLM

SKIP, BLOCK = 3, 32
TEXT = {"text": "text", "held_out": "20%"}
SHAPES = {
    "quickstart": dict(hidden=96, layers=3, heads=3, kv=1, dim=32, feed=288, vocabulary=1024, rows=16, per=8, length=128, updates=40),
    "larger": dict(hidden=256, layers=6, heads=8, kv=4, dim=32, feed=768, vocabulary=1024, rows=8, per=4, length=256, updates=16),
    "wide": dict(hidden=512, layers=8, heads=8, kv=4, dim=64, feed=1536, vocabulary=8192, rows=4, per=2, length=256, updates=10),
}

PIPELINE = BACKBONE + NOISE + """
recipe "common" {{
    data rows="text" mixture="prose"
    batch rows={rows} per-device={per}
    precision compute="{compute}"
    learning-rate peak=1e-3 final=1e-4 warmup=2 shape="cosine"
    checkpoint every=1_000 keep=1
    validate every=1_000 rows=1 times=1
    steps {updates}
}}
train "ar" from="tiny" use="common" {{ objective "autoregressive"; attention "causal" }}
convert "flow" from="tiny"
train "masked" from="flow" use="common" {{
    objective "flow" path="masked" loss="elbo" max-weight=20
    attention "bidirectional"
}}
train "block" from="flow" use="common" {{
    objective "flow" path="masked" loss="elbo" max-weight=20
    attention "block" size={block}
}}
"""


def write_text(folder, words=400_000):
    """Documents of Zipf-distributed made-up words: only the shapes of what is trained on them matter."""
    draw = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    known = ["".join(draw.choices(letters, k=draw.randint(3, 9))) for _ in range(20_000)]
    weights = [1 / (rank + 1) for rank in range(len(known))]
    (folder / "text").mkdir()
    for i in range(10):
        (folder / f"text/{i}.txt").write_text(" ".join(draw.choices(known, weights, k=words // 10)))


class Fmflow(Program):
    """The program in a folder with a text. Each run has a seed of its own, so that no artifact of an earlier one is reused."""

    def __init__(self, program, shape, bf16):
        super().__init__(program)
        self.shape, self.seed = shape, 0
        self.compute = "bf16" if bf16 else "f32"
        write_text(self.folder)

    def rates(self, kind, _updates=None):
        """Tokens per second, and processor seconds of an update."""
        short, _ = self.train(kind, 2)
        long, metrics = self.train(kind, self.shape["updates"])
        lines = [json.loads(line) for line in metrics.splitlines()]
        found = [line["tokens_per_second"] for line in lines[SKIP:] if "tokens_per_second" in line]
        return statistics.median(found), (long - short) / (self.shape["updates"] - 2)

    def train(self, kind, updates):
        """Processor seconds of a training, and its metrics."""
        self.seed += 1
        settings = self.shape | TEXT | {"name": "peer", "context": 256, "block": BLOCK, "compute": self.compute}
        settings |= {"updates": updates, "seed": self.seed}
        (self.folder / "p.kdl").write_text(PIPELINE.format(**settings))
        self.run("run", "p.kdl", "--until", "tiny" if kind == "ar" else "flow")
        before = children_seconds()
        self.run("run", "p.kdl", "--until", kind)
        return children_seconds() - before, self.run("log", "p.kdl", kind)


def children_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class PyTorch:
    """The same updates by transformers' Qwen3."""

    def __init__(self, shape, compiled, bf16):
        self.shape, self.length, self.mask, self.bf16 = shape, shape["length"], shape["vocabulary"] - 1, bf16
        torch.manual_seed(1)
        config = Qwen3Config(
            vocab_size=shape["vocabulary"], hidden_size=shape["hidden"], intermediate_size=shape["feed"], head_dim=shape["dim"],
            num_hidden_layers=shape["layers"], num_attention_heads=shape["heads"], num_key_value_heads=shape["kv"],
            max_position_embeddings=512, tie_word_embeddings=True, use_cache=False, attn_implementation="sdpa",
        )
        self.net = Qwen3ForCausalLM(config)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
        self.full = torch.compile(self.net) if compiled else self.net
        self.body = torch.compile(self.net.model) if compiled else self.net.model

    def rates(self, kind, updates=None):
        """Tokens per second, and processor seconds of an update."""
        seconds, processor = [], []
        for _ in range(updates or self.shape["updates"]):
            start, used = time.perf_counter(), time.process_time()
            self.update(kind)
            seconds.append(time.perf_counter() - start)
            processor.append(time.process_time() - used)
        tokens = self.shape["rows"] * self.length
        return tokens / statistics.median(seconds[SKIP:]), statistics.median(processor[SKIP:])

    def update(self, kind):
        rows = torch.randint(0, self.mask, (self.shape["rows"], self.length))
        self.optimizer.zero_grad()
        for part in rows.split(self.shape["per"]):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                loss = self.loss(part, kind)
            (loss / rows.numel()).backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()

    def loss(self, rows, kind):
        """The loss of one micro-batch, summed over its positions."""
        if kind == "ar":
            logits = self.full(input_ids=rows).logits[:, :-1]
            return cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="sum")
        blocks = 1 if kind == "masked" else self.length // BLOCK
        t = torch.rand(rows.shape[0], blocks).repeat_interleave(self.length // blocks, 1)
        masked = torch.rand(rows.shape) >= t
        noisy = torch.where(masked, self.mask, rows)
        hidden = self.bidirectional(noisy) if kind == "masked" else self.block_causal(noisy, rows)
        logits = self.net.lm_head(hidden[masked])
        weights = (1 / (1 - t)).clamp(max=20)[masked]
        return (cross_entropy(logits, rows[masked], reduction="none") * weights).sum()

    def bidirectional(self, noisy):
        mask = torch.zeros(noisy.shape[0], 1, self.length, self.length)
        return self.body(input_ids=noisy, attention_mask=mask).last_hidden_state

    def block_causal(self, noisy, clean):
        """Hidden states of x_t, where [x_t, x_0] is one row: x_t sees its own block and the clean blocks before it."""
        place = torch.arange(2 * self.length)
        block, is_clean = place % self.length // BLOCK, place >= self.length
        query, key = block[:, None], block[None]
        seen = torch.where(is_clean[None], torch.where(is_clean[:, None], key <= query, key < query), ~is_clean[:, None] & (key == query))
        positions = torch.arange(self.length).repeat(2).expand(len(noisy), -1)
        found = self.body(
            input_ids=torch.cat([noisy, clean], 1), attention_mask=seen.expand(len(noisy), 1, -1, -1), position_ids=positions
        )
        return found.last_hidden_state[:, : self.length]


def compare(name, kinds, rounds, program, bf16):
    shape = SHAPES[name]
    ours = Fmflow(program, shape, bf16)
    peers = {"eager": PyTorch(shape, False, bf16), "compile": PyTorch(shape, True, bf16)}
    if bf16:
        peers["fmflow f32"] = Fmflow(program, shape, False)
    for kind in kinds:
        peers["compile"].rates(kind, SKIP + 1)
        found = [(ours.rates(kind), {peer: net.rates(kind) for peer, net in peers.items()}) for _ in range(rounds)]
        speed, processor = (statistics.median(ours[i] for ours, _ in found) for i in range(2))
        line = f"{name} {kind}: fmflow {speed:,.0f} tok/s, {processor:.3f} CPU s"
        for peer in peers:
            theirs, used = (statistics.median(nets[peer][i] for _, nets in found) for i in range(2))
            ratio = statistics.median(ours[0] / nets[peer][0] for ours, nets in found)
            line += f" | {peer} {theirs:,.0f} tok/s, {used:.3f} CPU s, ratio {ratio:.2f}"
        print(line, f"| load {os.getloadavg()[0]:.1f}", flush=True)


def main():
    words = argparse.ArgumentParser()
    words.add_argument("program", nargs="?", default="target/release/fmflow")
    words.add_argument("--shape", default=",".join(SHAPES))
    words.add_argument("--kinds", default="ar,masked,block")
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--bf16", action="store_true")
    given = words.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name in given.shape.split(","):
        compare(name, given.kinds.split(","), given.rounds, str(Path(given.program).resolve()), given.bf16)


if __name__ == "__main__":
    main()
