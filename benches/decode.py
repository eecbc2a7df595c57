"""Decoding of fmflow beside PyTorch (transformers' Qwen3 with SDPA) on the same cores, in turns.

    cargo build --release --locked
    pip install torch transformers numpy
    python3 benches/decode.py target/release/fmflow [--shape quickstart|larger|wide] [--kinds autoregressive,block] [--rounds 3]

Random weights in float32, a prompt of one token, 128 new tokens, 1 and 16 texts at once. Autoregressive: `generate` of both sides with
a key-value cache, at temperature 1 without an end token; the figure is tokens a second of all texts together. Block decoding: passes
over a block of 32 with a cache of what is before it, as a sampler makes them, at 32 passes a block; PyTorch makes the same passes,
head included, and draws nothing; the figure is passes over one text a second. The last table is the cost of a token by the length of
the text before it, for fmflow.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from peer import BLOCK, SHAPES, TEXT, PyTorch, write_text
from program import BACKBONE, NOISE, Program
from transformers import DynamicCache

TOKENS, PASSES = 128, 32

PIPELINE = BACKBONE + NOISE + """
convert "flow" from="tiny"
train "block" from="flow" {{
    data rows="text" mixture="prose"
    batch rows=1
    learning-rate peak=1e-6 shape="constant"
    validate every=1_000 rows=1 times=1
    objective "flow" path="masked" loss="elbo" max-weight=20
    attention "block" size={block}
    steps 1
}}
"""


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
        return found["tokens"] / found["seconds"]

    def block(self, batch):
        found = self.generate("block", batch, ["confidence", f"passes={PASSES}", f"block={BLOCK}"])
        return sum(answer["passes"] for answer in found["answers"]) / found["seconds"]


class Decoder(PyTorch):
    """The same by transformers."""

    @torch.no_grad()
    def autoregressive(self, batch):
        self.net.eval()
        prompt = torch.full((batch, 1), 5)
        start = time.perf_counter()
        found = self.net.generate(
            prompt, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=True, top_k=0, use_cache=True, pad_token_id=0
        )
        return batch * (found.shape[1] - 1) / (time.perf_counter() - start)

    @torch.no_grad()
    def block(self, batch):
        self.net.eval()
        cache, before, start = DynamicCache(config=self.net.config), 0, time.perf_counter()
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
        return batch * TOKENS // BLOCK * PASSES / (time.perf_counter() - start)


def main():
    words = argparse.ArgumentParser()
    words.add_argument("program", nargs="?", default="target/release/fmflow")
    words.add_argument("--shape", default=",".join(SHAPES))
    words.add_argument("--kinds", default="autoregressive,block")
    words.add_argument("--rounds", type=int, default=3)
    given = words.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name in given.shape.split(","):
        ours = Fmflow(str(Path(given.program).resolve()), SHAPES[name])
        theirs = Decoder(SHAPES[name], False, False)
        for kind in given.kinds.split(","):
            unit = {"autoregressive": "tok/s", "block": "passes/s"}[kind]
            for batch in (1, 16):
                getattr(theirs, kind)(batch)
                found = [(getattr(ours, kind)(batch), getattr(theirs, kind)(batch)) for _ in range(given.rounds)]
                own, other = (statistics.median(f[i] for f in found) for i in range(2))
                ratio = statistics.median(a / b for a, b in found)
                print(f"{name} {kind} batch {batch}: fmflow {own:,.0f} {unit}, PyTorch {other:,.0f}, ratio {ratio:.2f}", flush=True)
        for tokens in (128, 512, 2048) if "autoregressive" in given.kinds else ():
            print(f"{name} autoregressive, {tokens} tokens: {ours.autoregressive(1, tokens):,.0f} tok/s", flush=True)


if __name__ == "__main__":
    main()
