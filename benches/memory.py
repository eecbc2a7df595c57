"""Peak memory of training against the length of a row, with and without recomputed blocks.

    cargo build --release --locked
    python3 benches/memory.py target/release/fmflow [LENGTH ...]

One row per update, two updates of masked flow; 4 layers, hidden 128, 4 heads, vocabulary 1,024. Printed: the peak resident set and the
processor time of the training stage alone, whose process also holds the program itself.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).resolve().parent.parent / "examples/quickstart/corpus"

PIPELINE = """
pipeline "memory" seed=1
dataset "text" from="{corpus}/*.txt" format="text" held-out="1%"
tokenizer "bpe" kind="byte-level-bpe" vocabulary=1024 {{ dataset "text" }}
rows "text" tokenizer="bpe" length={length} packing="concat"
mixture "prose" {{ dataset "text" }}
random-init "tiny" tokenizer="bpe" {{
    shape "qwen3" hidden=128 layers=4 heads=4 kv-heads=2 head-dim=32 feed-forward=384 tied=#true context=65536
}}
scheduler "linear" kind="linear"
path "masked" source="mask" scheduler="linear"
convert "flow" from="tiny"
train "masked" from="flow" {{
    data rows="text" mixture="prose"
    batch rows=1 per-device=1
    recompute "{recompute}"
    learning-rate peak=1e-3 final=1e-4 warmup=1 shape="cosine"
    steps 2
    objective "flow" path="masked" loss="elbo" max-weight=20
    attention "bidirectional"
}}
"""


def measure(program, length, recompute):
    """Peak MB and processor seconds of the training stage, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        text = PIPELINE.format(corpus=CORPUS, length=length, recompute=recompute)
        (Path(folder) / "memory.kdl").write_text(text)

        def run(*arguments):
            command = [program, "run", "memory.kdl", *arguments]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)

        run("--until", "flow")
        run("--until", "text/text")
        script = (
            "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True);"
            "u = resource.getrusage(resource.RUSAGE_CHILDREN); print(u.ru_maxrss, u.ru_utime + u.ru_stime)"
        )
        command = [sys.executable, "-c", script, program, "run", "memory.kdl", "--only", "masked"]
        printed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
        peak, seconds = printed.split()
        return int(peak) / 1000, float(seconds)


def main():
    program = str(Path(sys.argv[1]).resolve())
    lengths = [int(length) for length in sys.argv[2:]] or [1024, 2048, 4096, 8192, 16384]
    print("length  recompute  peak MB  processor s")
    for length in lengths:
        for recompute in ["none", "block"]:
            peak, seconds = measure(program, length, recompute)
            print(f"{length:6}  {recompute:9}  {peak:7.0f}  {seconds:11.1f}", flush=True)


if __name__ == "__main__":
    main()
