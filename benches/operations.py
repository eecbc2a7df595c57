"""The fused operations of the CPU beside their references, in turns: time and memory of each, in f32.

    cargo build --release --locked --workspace --example operations
    python3 benches/operations.py target/release/examples/operations [--length 1024] [--rounds 3] [--threads 1] [--seconds 1]

At hidden 512, 8 heads of 64 (4 of keys), feed-forward 1,536 and vocabulary 8,192; attention is causal, AdamW changes 4 M values. A
reference is the same formula in plain operations of Burn, which differentiates it itself. Time is processor time in milliseconds, the
smallest of all rounds; memory is the peak of one run beyond the operation's inputs, results included, in MB. It is measured in a process of its own whose
allocator gives back at once what it frees, which costs time. A ratio is the reference's figure divided by the fused one's.
"""

import argparse
import json
import os
import subprocess

OPERATIONS = {
    "attention": "attention",
    "loss": "linear and cross-entropy",
    "norm": "RMSNorm",
    "turn": "norm and rotary positions",
    "gate": "SwiGLU",
    "adamw": "AdamW",
}
SIDES = ("reference", "fused")


def measure(given, side, name, step, seconds, **environment):
    command = [given.program, side, name, step, str(seconds), str(given.length)]
    environment = os.environ | {"RAYON_NUM_THREADS": str(given.threads)} | environment
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def main():
    words = argparse.ArgumentParser()
    words.add_argument("program", nargs="?", default="target/release/examples/operations")
    words.add_argument("--length", type=int, default=1024)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--threads", type=int, default=1)
    words.add_argument("--seconds", type=float, default=1)
    given = words.parse_args()
    print("| operation | pass | reference | fused | ratio | reference, memory | fused | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for name, title in OPERATIONS.items():
        for step in ("forward", "training") if name != "adamw" else ("training",):
            time, memory = {}, {}
            for side in SIDES:
                found = measure(given, side, name, step, 0, MALLOC_MMAP_THRESHOLD_="65536", MALLOC_TRIM_THRESHOLD_="65536")
                memory[side] = found["memory_kib"] * 1024 / 1e6
            for _ in range(given.rounds):
                for side in SIDES:
                    used = 1e3 * measure(given, side, name, step, given.seconds)["processor_seconds"]
                    time[side] = min(used, time.get(side, used))
            cells = [cell for found in (time, memory) for cell in format_pair(*(found[side] for side in SIDES))]
            kind = {"forward": "forward", "training": "forward and backward" if name != "adamw" else "update"}[step]
            print("| " + " | ".join([title, kind, *cells]) + " |", flush=True)


def format_pair(reference, fused):
    """Both figures and their ratio. Without memory of its own an operation works in place."""
    return f"{reference:.2f}", f"{fused:.2f}", f"{reference / fused:.1f}" if fused else "–"


if __name__ == "__main__":
    main()
