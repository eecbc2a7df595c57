"""Decoding of fmflow beside PyTorch (transformers' Qwen3 with SDPA) on the same cores, in turns.

    cargo build --release --locked
    pip install torch transformers numpy
    python3 benches/decode.py target/release/fmflow [--shape quickstart|larger|wide] [--kinds autoregressive,block,masked] [--texts 1,16,64] [--rounds 3]

Random weights in float32, a prompt of one token, 128 new tokens, several texts at once. Autoregressive: `generate` of both sides with
a key-value cache, at temperature 1 without an end token; the figure is tokens a second of all texts together. Block decoding: passes
over a block of 32 with a cache of what is before it, as a sampler makes them, at 32 passes a block; PyTorch makes the same passes,
head included, and draws nothing; the figure is passes over one text a second. Masked: flow sampling without a cache, 32 passes over the
whole row; PyTorch makes the same passes, with its head at the positions that are still masked, and draws nothing; the figure is tokens a second.
Processor time is that of one token (or pass): of PyTorch's process meanwhile, of fmflow's less that of a run for one token, which has
the same start. The last table is the cost of a token by the length of the text before it, for fmflow.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from peer import BLOCK, SHAPES, TEXT, PyTorch, children_seconds, write_text
from program import BACKBONE, NOISE, Program
from transformers import DynamicCache

TOKENS, PASSES = 128, 32

PIPELINE = BACKBONE + NOISE + """
convert "flow" from="tiny"
recipe "short" {{
    data rows="text" mixture="prose"
    batch rows=1
    learning-rate peak=1e-6 shape="constant"
    validate every=1_000 rows=1 times=1
    objective "flow" path="masked" loss="elbo" max-weight=20
    steps 1
}}
train "block" from="flow" use="short" {{ attention "block" size={block} }}
train "masked" from="flow" use="short" {{ attention "bidirectional" }}
"""

# What a kind's figure counts.
UNITS = {"autoregressive": "tok", "block": "passes", "masked": "tok"}


class Fmflow(Program):
    """The program in a folder with a text and a checkpoint."""

    def __init__(self, program, shape):
        super().__init__(program)
        write_text(self.folder)
        settings = shape | TEXT | {"name": "decode", "seed": 1, "context": 4096, "block": BLOCK}
        (self.folder / "p.kdl").write_text(PIPELINE.format(**settings))
        self.run("run", "p.kdl")

    def generate(self, stage, batch, sampler, tokens=TOKENS):
        words = ["--prompt", "the", "--new-tokens", str(tokens), "-n", str(batch), "--sampler", *sampler, "--no-twin", "--json"]
        return json.loads(self.run("generate", "p.kdl", stage, *words))

    def autoregressive(self, batch, tokens=TOKENS):
        found = self.generate("tiny", batch, ["autoregressive", "temperature=1"], tokens)
        return found["tokens"], found["seconds"]

    def block(self, batch, tokens=TOKENS):
        found = self.generate("block", batch, ["confidence", f"passes={PASSES}", f"block={BLOCK}"], tokens)
        return sum(answer["passes"] for answer in found["answers"]), found["seconds"]

    def masked(self, batch, tokens=TOKENS):
        found = self.generate("masked", batch, ["confidence", f"passes={PASSES}"], tokens)
        return found["tokens"], found["seconds"]

    def measure(self, kind, batch):
        """Tokens or passes a second, and processor milliseconds of each."""
        start = children_seconds()
        getattr(self, kind)(batch, 1)
        before = children_seconds()
        count, seconds = getattr(self, kind)(batch)
        used = children_seconds() - before
        return count / seconds, 1e3 * (used - (before - start)) / count


class Decoder(PyTorch):
    """The same by transformers."""

    @torch.no_grad()
    def autoregressive(self, batch):
        self.net.eval()
        prompt = torch.full((batch, 1), 5)
        found = self.net.generate(
            prompt, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=True, top_k=0, use_cache=True, pad_token_id=0
        )
        return batch * (found.shape[1] - 1)

    @torch.no_grad()
    def block(self, batch):
        self.net.eval()
        cache, before = DynamicCache(config=self.net.config), 0
        for _ in range(TOKENS // BLOCK):
            canvas = torch.full((batch, BLOCK), self.mask)
            places = torch.arange(before, before + BLOCK).expand(batch, -1)
            open_mask = torch.zeros(batch, 1, BLOCK, before + BLOCK)
            for k in range(PASSES + 1):
                # The last pass keeps the finished block in the cache.
                self.net(input_ids=canvas, position_ids=places, attention_mask=open_mask, past_key_values=cache, use_cache=True)
                if k < PASSES:
                    cache.crop(-BLOCK)
            before += BLOCK
        return batch * TOKENS // BLOCK * PASSES

    @torch.no_grad()
    def masked(self, batch):
        self.net.eval()
        row = torch.full((batch, 1 + TOKENS), self.mask)
        open_mask = torch.zeros(batch, 1, 1 + TOKENS, 1 + TOKENS)
        for k in range(PASSES):
            hidden = self.net.model(input_ids=row, attention_mask=open_mask).last_hidden_state
            self.net.lm_head(hidden[:, 1 + TOKENS * k // PASSES :])
        return batch * TOKENS

    def measure(self, kind, batch):
        """Tokens or passes a second, and processor milliseconds of each."""
        start, used = time.perf_counter(), time.process_time()
        count = getattr(self, kind)(batch)
        return count / (time.perf_counter() - start), 1e3 * (time.process_time() - used) / count


def compare(name, kind, batch, rounds, ours, theirs):
    theirs.measure(kind, batch)
    found = [(ours.measure(kind, batch), theirs.measure(kind, batch)) for _ in range(rounds)]
    (own, own_used), (other, other_used) = ([statistics.median(f[side][i] for f in found) for i in range(2)] for side in range(2))
    ratio = statistics.median(a[0] / b[0] for a, b in found)
    used_ratio = statistics.median(b[1] / a[1] for a, b in found)
    unit = UNITS[kind]
    print(f"{name} {kind} batch {batch}: fmflow {own:,.0f} {unit}/s, {own_used:.3f} CPU ms each | PyTorch {other:,.0f} {unit}/s, "
          f"{other_used:.3f} CPU ms each | ratio {ratio:.2f}, by processor time {used_ratio:.2f}", flush=True)


def main():
    words = argparse.ArgumentParser()
    words.add_argument("program", nargs="?", default="target/release/fmflow")
    words.add_argument("--shape", default=",".join(SHAPES))
    words.add_argument("--kinds", default=",".join(UNITS))
    words.add_argument("--texts", default="1,16,64")
    words.add_argument("--rounds", type=int, default=3)
    given = words.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name in given.shape.split(","):
        ours = Fmflow(str(Path(given.program).resolve()), SHAPES[name])
        theirs = Decoder(SHAPES[name], False, False)
        for kind in given.kinds.split(","):
            for batch in map(int, given.texts.split(",")):
                compare(name, kind, batch, given.rounds, ours, theirs)
        for tokens in (128, 512, 2048) if "autoregressive" in given.kinds else ():
            count, seconds = ours.autoregressive(1, tokens)
            print(f"{name} autoregressive, {tokens} tokens: {count / seconds:,.0f} tok/s", flush=True)


if __name__ == "__main__":
    main()
