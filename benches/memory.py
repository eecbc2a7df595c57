"""Peak memory of training against the length of a row, with and without recomputed blocks, beside PyTorch's and what `plan` estimates.

    cargo build --release --locked
    pip install torch transformers numpy        # or not: then no column of PyTorch
    python3 benches/memory.py target/release/fmflow [LENGTH ...]
    python3 benches/memory.py target/release/fmflow shapes

Two updates of masked flow (or, where it says so, autoregressive training, or three of annealed attention). With lengths: one row, 4 layers, hidden 128, 4 heads, vocabulary
4,096. With `shapes`: several models, rows and micro-batches, with their lengths. Printed: the peak resident set and the processor time of
the training stage alone, whose process also holds the program itself, and the estimate divided by the peak. With lengths also the growth,
which is the peak less that of the program without work, and beside it PyTorch's: the peak after two such updates by transformers with SDPA,
which reads no mask, less that of the program that has imported both. Weights and moments are in both.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from program import BACKBONE, NOISE, Program

CORPUS = Path(__file__).resolve().parent.parent / "examples/quickstart/corpus"
SETTINGS = {"name": "memory", "seed": 1, "text": CORPUS, "held_out": "1%", "context": 65536}

PIPELINE = BACKBONE + """
recipe "common" {{
    data rows="text" mixture="prose"
    batch rows={rows} per-device={per_device}
    recompute "{recompute}"
    learning-rate peak=1e-3 final=1e-4 warmup=1 shape="cosine"
    steps 2
}}
{training}
"""

MASKED = NOISE + """
convert "flow" from="tiny"
train "trained" from="flow" use="common" {
    objective "flow" path="masked" loss="elbo" max-weight=20
    attention "bidirectional"
}
"""

# The second of three updates is between causal and bidirectional.
ANNEALED = MASKED.replace('"bidirectional"', '"bidirectional" { anneal until=2 }\n    steps 3')

AUTOREGRESSIVE = """
train "trained" from="tiny" use="common" { objective "autoregressive"; attention "causal" }
"""

SMALL = {"hidden": 128, "layers": 4, "heads": 4, "kv": 2, "dim": 32, "feed": 384, "vocabulary": 1024, "rows": 1, "per_device": 1}
LENGTHS = SMALL | {"vocabulary": 4096}
QUICKSTART = SMALL | {"hidden": 96, "layers": 3, "heads": 3, "kv": 1, "feed": 288, "rows": 16, "per_device": 8}
MIDDLE = SMALL | {"hidden": 256, "heads": 8, "kv": 4, "feed": 768}
LARGE = SMALL | {"hidden": 512, "heads": 8, "kv": 4, "dim": 64, "feed": 1536, "vocabulary": 4096}

# Name, shape, length, training.
SHAPES = [
    ("quickstart, 16 rows", QUICKSTART, 128, MASKED),
    ("quickstart, 16 rows, autoregressive", QUICKSTART, 128, AUTOREGRESSIVE),
    ("hidden 128, autoregressive", SMALL, 1024, AUTOREGRESSIVE),
    ("hidden 128", SMALL, 8192, MASKED),
    ("hidden 128, annealed", SMALL, 1024, ANNEALED),
    ("hidden 128, 16 layers", SMALL | {"layers": 16}, 1024, MASKED),
    ("hidden 128, 4 rows, 2 at a time", SMALL | {"rows": 4, "per_device": 2}, 1024, MASKED),
    ("hidden 256", MIDDLE, 1024, MASKED),
    ("hidden 256", MIDDLE, 4096, MASKED),
    ("hidden 512, vocabulary 4,096", LARGE, 1024, MASKED),
    ("hidden 512, vocabulary 4,096", LARGE, 4096, MASKED),
]


def measure(program, shape, length, recompute, training):
    """Peak MB and processor seconds of the training stage, in a process of its own, and the MB that `plan` estimates."""
    home = Program(program)
    text = PIPELINE.format(**SETTINGS, length=length, recompute=recompute, training=training, **shape)
    (home.folder / "memory.kdl").write_text(text)
    home.run("run", "memory.kdl", "--until", "tiny" if training is AUTOREGRESSIVE else "flow")
    home.run("run", "memory.kdl", "--until", "text/text")
    peak, seconds = run_measured(home, [program, "run", "memory.kdl", "--only", "trained"])
    stages = json.loads(home.run("plan", "memory.kdl", "--json"))["stages"]
    estimate = next(stage["memory"]["total"] for stage in stages if stage["name"] == "trained")
    base, _ = run_measured(home, [program, "--version"])
    return peak, seconds, estimate / 1e6, peak - base


def run_measured(home, command):
    """Peak MB and processor seconds of a command. A small process starts it: a child begins with the peak of its parent."""
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True);"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); print(u.ru_maxrss, u.ru_utime + u.ru_stime)"
    )
    found = subprocess.run([sys.executable, "-c", script, *command], cwd=home.folder, check=True, capture_output=True, text=True)
    peak, seconds = found.stdout.split()
    return int(peak) * 1024 / 1e6, float(seconds)


def read_peak():
    """Peak MB of this process, from Linux."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def measure_pytorch(length):
    """Prints the MB by which two updates on a row of `length` raise the peak of this process. PyTorch gathers positions before its head."""
    import peer
    import torch

    class Bidirectional(peer.PyTorch):
        def bidirectional(self, noisy):
            return self.body(input_ids=noisy, attention_mask={"full_attention": None}, is_causal=False).last_hidden_state

    # Whatever the first use of a library allocates belongs to the program.
    torch.ones(2, 2) @ torch.ones(2, 2)
    base = read_peak()
    net = Bidirectional(LENGTHS | {"length": length, "per": 1}, False, False)
    for _ in range(2):
        net.update("masked")
    print(read_peak() - base)


def grow_pytorch(length):
    """The MB of `measure_pytorch`, in a process of its own; nothing without PyTorch and transformers."""
    if not all(map(importlib.util.find_spec, ["torch", "transformers"])):
        return None
    command = [sys.executable, __file__, "pytorch", str(length)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main():
    if sys.argv[1] == "pytorch":
        return measure_pytorch(int(sys.argv[2]))
    program = str(Path(sys.argv[1]).resolve())
    by_length = sys.argv[2:] != ["shapes"]
    lengths = [int(length) for length in sys.argv[2:] if by_length] or [512, 1024, 2048, 4096, 8192, 16384]
    cases = [("hidden 128", LENGTHS, length, MASKED) for length in lengths] if by_length else SHAPES
    head = f"{'model':36}  length  recompute  peak MB  processor s  estimate / peak"
    print(head + "  growth MB  PyTorch's" * by_length)
    for name, shape, length, training in cases:
        other = grow_pytorch(length) if by_length else None
        for recompute in ["none", "block"]:
            peak, seconds, estimate, growth = measure(program, shape, length, recompute, training)
            line = f"{name:36}  {length:6}  {recompute:9}  {peak:7.0f}  {seconds:11.1f}  {estimate / peak:15.2f}"
            beside = f"  {growth:9.0f}  {'-' if other is None else format(other, '.0f'):>9}"
            print(line + beside * by_length, flush=True)


if __name__ == "__main__":
    main()
