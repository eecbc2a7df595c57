"""Peak memory of training against the length of a row, with and without recomputed blocks, beside what `plan` estimates.

    cargo build --release --locked
    python3 benches/memory.py target/release/fmflow [LENGTH ...]
    python3 benches/memory.py target/release/fmflow shapes

Two updates of masked flow (or, where it says so, autoregressive training). With lengths: one row, 4 layers, hidden 128, 4 heads, vocabulary
1,024. With `shapes`: several models, rows and micro-batches, with their lengths. Printed: the peak resident set and the processor time of
the training stage alone, whose process also holds the program itself, and the estimate divided by the peak.
"""

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

AUTOREGRESSIVE = """
train "trained" from="tiny" use="common" { objective "autoregressive"; attention "causal" }
"""

SMALL = {"hidden": 128, "layers": 4, "heads": 4, "kv": 2, "dim": 32, "feed": 384, "vocabulary": 1024, "rows": 1, "per_device": 1}
QUICKSTART = SMALL | {"hidden": 96, "layers": 3, "heads": 3, "kv": 1, "feed": 288, "rows": 16, "per_device": 8}
MIDDLE = SMALL | {"hidden": 256, "heads": 8, "kv": 4, "feed": 768}
LARGE = SMALL | {"hidden": 512, "heads": 8, "kv": 4, "dim": 64, "feed": 1536, "vocabulary": 4096}

# Name, shape, length, training.
SHAPES = [
    ("quickstart, 16 rows", QUICKSTART, 128, MASKED),
    ("quickstart, 16 rows, autoregressive", QUICKSTART, 128, AUTOREGRESSIVE),
    ("hidden 128, autoregressive", SMALL, 1024, AUTOREGRESSIVE),
    ("hidden 128", SMALL, 8192, MASKED),
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
    home.run("run", "memory.kdl", "--until", "flow" if training is MASKED else "tiny")
    home.run("run", "memory.kdl", "--until", "text/text")
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True);"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); print(u.ru_maxrss, u.ru_utime + u.ru_stime)"
    )
    command = [sys.executable, "-c", script, program, "run", "memory.kdl", "--only", "trained"]
    printed = subprocess.run(command, cwd=home.folder, check=True, capture_output=True, text=True).stdout
    peak, seconds = printed.split()
    stages = json.loads(home.run("plan", "memory.kdl", "--json"))["stages"]
    estimate = next(stage["memory"]["total"] for stage in stages if stage["name"] == "trained")
    return int(peak) * 1024 / 1e6, float(seconds), estimate / 1e6


def main():
    program = str(Path(sys.argv[1]).resolve())
    if sys.argv[2:] == ["shapes"]:
        cases = SHAPES
    else:
        lengths = [int(length) for length in sys.argv[2:]] or [1024, 2048, 4096, 8192, 16384]
        cases = [("hidden 128", SMALL, length, MASKED) for length in lengths]
    print(f"{'model':36}  length  recompute  peak MB  processor s  estimate / peak")
    for name, shape, length, training in cases:
        for recompute in ["none", "block"]:
            peak, seconds, estimate = measure(program, shape, length, recompute, training)
            print(
                f"{name:36}  {length:6}  {recompute:9}  {peak:7.0f}  {seconds:11.1f}  {estimate / peak:15.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
