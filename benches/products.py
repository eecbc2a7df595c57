"""Linear layers of fmflow in f32 and in bf16 beside PyTorch's in f32, under autocast to bf16, and of bf16 tensors, in turns.

    cargo build --release --locked --workspace --example products
    pip install torch
    python3 benches/products.py target/release/examples/products [--rounds 3]

A forward pass is one product, a backward pass two. Weights and activations are f32 on both sides, so that bf16 includes their
rounding, except in the column where PyTorch's tensors are bf16. A figure is the largest of all rounds in GFLOPS, on all cores
(shortest time that passes) and on one (mean processor time of a round). The last columns are ratios of the latter: fmflow's bf16
against its f32, against autocast and against bf16 tensors.
"""

import argparse
import json
import subprocess
import time

import torch
from torch.nn.functional import linear

SHAPES = ["1024,512,1536", "512,1536,1024", "1024,512,8192", "2048,2048,2048", "1024,96,288"]
PEERS = {"f32": (torch.float32, False), "autocast": (torch.float32, True), "bf16": (torch.bfloat16, False)}


def flops(shape, kind):
    n, inside, out = map(int, shape.split(","))
    return 2 * n * inside * out * (1 if kind == "forward" else 2)


def measure_fmflow(program, repeats, found):
    """Times by (fmflow, shape, precision, pass), [time that passes, processor time]."""
    lines = subprocess.run([program, str(repeats), *SHAPES], check=True, capture_output=True, text=True).stdout.splitlines()
    for line in map(json.loads, lines):
        keep(found, ("fmflow", line["shape"], line["precision"], line["pass"]), [line["seconds"], line["processor_seconds"]])


def measure_torch(repeats, found):
    cores = torch.get_num_threads()
    for shape in SHAPES:
        n, inside, out = map(int, shape.split(","))
        for name, (kind, autocast) in PEERS.items():
            x, weight = torch.randn(n, inside).to(kind), torch.randn(out, inside).to(kind)
            for threads, side in ((cores, 0), (1, 1)):
                torch.set_num_threads(threads)
                times = [run_torch(x, weight, autocast) for _ in range(repeats)]
                for step in ("forward", "backward"):
                    used = [time[step][side] for time in times]
                    pair = [min(used), float("inf")] if side == 0 else [float("inf"), sum(used) / repeats]
                    keep(found, ("torch", shape, name, step), pair)
    torch.set_num_threads(cores)


def run_torch(x, weight, autocast):
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        start = clocks()
        with torch.no_grad():
            linear(x, weight)
        forward = since(start)
        y = linear(x, weight)
    upstream = torch.ones_like(y)
    start = clocks()
    y.backward(upstream)
    return {"forward": forward, "backward": since(start)}


def clocks():
    return time.perf_counter(), time.process_time()


def since(start):
    return [now - then for now, then in zip(clocks(), start)]


def keep(found, key, pair):
    found[key] = [min(old, new) for old, new in zip(found.get(key, pair), pair)]


def main():
    words = argparse.ArgumentParser()
    words.add_argument("program", nargs="?", default="target/release/examples/products")
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--repeats", type=int, default=20)
    given = words.parse_args()
    found = {}
    for _ in range(given.rounds):
        measure_fmflow(given.program, given.repeats, found)
        measure_torch(given.repeats, found)
    columns = [("fmflow", "f32"), ("fmflow", "bf16"), *(("torch", name) for name in PEERS)]
    print("| shape | pass | " + " | ".join(f"{side} {name}" for side, name in columns) + " | on one core, bf16 against own f32 | autocast | bf16 tensors |")
    print("|" + "---|" * (len(columns) + 5))
    for shape in SHAPES:
        for step in ("forward", "backward"):
            speeds = [[flops(shape, step) / used / 1e9 for used in found[side, shape, name, step]] for side, name in columns]
            one = {column: speed[1] for column, speed in zip(columns, speeds)}
            ratios = [one["fmflow", "bf16"] / one[other] for other in (("fmflow", "f32"), ("torch", "autocast"), ("torch", "bf16"))]
            cells = [f"{all_cores:.0f} / {alone:.0f}" for all_cores, alone in speeds] + [f"{ratio:.2f}" for ratio in ratios]
            print(f"| {shape.replace(',', ' x ')} | {step} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
