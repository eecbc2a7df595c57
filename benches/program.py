"""What several benchmarks begin with: fmflow in a folder of its own, and a backbone with random weights."""

import subprocess
import tempfile
from pathlib import Path

BACKBONE = """
pipeline "{name}" seed={seed}
dataset "text" from="{text}/*.txt" format="text" held-out="{held_out}"
tokenizer "bpe" kind="byte-level-bpe" vocabulary={vocabulary} {{ dataset "text" }}
rows "text" tokenizer="bpe" length={length} packing="concat"
mixture "prose" {{ dataset "text" }}
random-init "tiny" tokenizer="bpe" {{
    shape "qwen3" hidden={hidden} layers={layers} heads={heads} kv-heads={kv} head-dim={dim} feed-forward={feed} tied=#true context={context}
}}
"""

NOISE = """
scheduler "linear" kind="linear"
path "masked" source="mask" scheduler="linear"
"""


class Program:
    """The program in a folder of its own."""

    def __init__(self, program):
        self.program = program
        self.home = tempfile.TemporaryDirectory()
        self.folder = Path(self.home.name)

    def run(self, *words):
        return subprocess.run([self.program, *words], cwd=self.folder, check=True, capture_output=True, text=True).stdout
