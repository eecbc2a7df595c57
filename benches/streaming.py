"""Peak memory and time of the stages that read or write whole checkpoints, on a random Qwen3 that this script makes.

    cargo build --release --locked
    python3 benches/streaming.py target/release/fmflow [0.6B | small] [FOLDER]

Each command runs in a process of its own. Printed: its wall time, processor time and peak resident set, then the digests of what it made, so that
two programs can be compared. FOLDER (default: a temporary one) keeps the checkpoint for another program; its store is removed.
"""

import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHAPES = {
    "0.6B": {"vocab": 151936, "hidden": 1024, "feed": 3072, "layers": 28, "heads": 16, "kv": 8, "head": 128},
    "small": {"vocab": 512, "hidden": 64, "feed": 96, "layers": 3, "heads": 4, "kv": 2, "head": 16},
}

PIPELINE = """
pipeline "streaming" seed=1
fetch "source" from="checkpoint"
convert "flow" from="source" {{
    mask-token {mask} row="mean"
    time-conditioning "adaln" rank=16
    tokenizer "none"
}}
export "half" from="flow" format="huggingface" dtype="bf16" shard-size="{shard}"
export "full" from="flow" format="huggingface" dtype="f32" shard-size="{shard}"
"""


def draw_bf16(generator, count):
    """Random bf16 of magnitude 2^-7 to 2^-5, in parts: low bytes as drawn, high bytes one of two with a sign."""
    signs = bytes(0x3C | (byte & 0x80) for byte in range(256))
    for start in range(0, count, 1 << 22):
        drawn = bytearray(generator.randbytes(2 * min(1 << 22, count - start)))
        drawn[1::2] = bytes(drawn[1::2]).translate(signs)
        yield drawn


def make_checkpoint(folder, name):
    """Writes config.json and model.safetensors (bf16) of a random model, one tensor at a time."""
    s = SHAPES[name]
    h, width, kv = s["hidden"], s["heads"] * s["head"], s["kv"] * s["head"]
    layout = [("model.embed_tokens.weight", [s["vocab"], h])]
    for i in range(s["layers"]):
        layer = {
            "self_attn.q_proj": [width, h], "self_attn.k_proj": [kv, h], "self_attn.v_proj": [kv, h], "self_attn.o_proj": [h, width],
            "self_attn.q_norm": [s["head"]], "self_attn.k_norm": [s["head"]],
            "mlp.gate_proj": [s["feed"], h], "mlp.up_proj": [s["feed"], h], "mlp.down_proj": [h, s["feed"]],
            "input_layernorm": [h], "post_attention_layernorm": [h],
        }
        layout += [(f"model.layers.{i}.{key}.weight", shape) for key, shape in layer.items()]
    layout += [("model.norm.weight", [h])]
    # Programs that write checkpoints sort the names.
    layout.sort()
    header, at = {}, 0
    for key, shape in layout:
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[key] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    folder.mkdir()
    text = json.dumps(header).encode()
    generator = random.Random(1)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for key, shape in layout:
            count = shape[0] * (shape[1] if len(shape) > 1 else 1)
            file.writelines(draw_bf16(generator, count) if len(shape) > 1 else [b"\x80\x3f" * count])
    config = {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": s["vocab"], "hidden_size": h,
        "intermediate_size": s["feed"], "num_hidden_layers": s["layers"], "num_attention_heads": s["heads"],
        "num_key_value_heads": s["kv"], "head_dim": s["head"], "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0, "tie_word_embeddings": True, "hidden_act": "silu", "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))


def measure(command, folder):
    """Wall seconds, processor seconds and peak MB of a process."""
    script = (
        "import resource, subprocess, sys; r = subprocess.run(sys.argv[1:], capture_output=True, text=True);"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(u.ru_utime + u.ru_stime, u.ru_maxrss) if r.returncode == 0 else sys.exit(r.stdout + r.stderr)"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script, *command], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    seconds, peak = done.stdout.split()
    return time.monotonic() - start, float(seconds), int(peak) / 1000


def digest(folder):
    """One digest of the names and hashes of all files of an artifact."""
    files = json.loads((Path(folder) / "manifest.json").read_text())["files"]
    text = json.dumps([[file["name"], file["size"], file["blake3"], file["chunks"]] for file in files])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def main():
    program = str(Path(sys.argv[1]).resolve())
    name = sys.argv[2] if len(sys.argv) > 2 else "0.6B"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[3] if len(sys.argv) > 3 else temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "checkpoint").exists():
            make_checkpoint(folder / "checkpoint", name)
        pipeline = PIPELINE.format(mask=SHAPES[name]["vocab"] - 1, shard="2GB" if name == "0.6B" else "64KiB")
        (folder / "streaming.kdl").write_text(pipeline)
        shutil.rmtree(folder / ".fmflow", ignore_errors=True)
        print("command          wall s  processor s  peak MB  digest")
        for stage in ["source", "flow", "half", "full"]:
            wall, seconds, peak = measure([program, "run", "streaming.kdl", "--only", stage], folder)
            path = subprocess.run([program, "show", "streaming.kdl", stage, "--path"], cwd=folder, capture_output=True, text=True)
            print(f"{stage:15}  {wall:6.1f}  {seconds:11.1f}  {peak:7.0f}  {digest(path.stdout.strip())}", flush=True)
            if stage == "flow":
                flow = path.stdout.strip()
        for arguments in [["verify"], ["verify", "--deep"]]:
            wall, seconds, peak = measure([program, *arguments, flow], folder)
            print(f"{' '.join(arguments):15}  {wall:6.1f}  {seconds:11.1f}  {peak:7.0f}", flush=True)
        shutil.rmtree(folder / ".fmflow")


if __name__ == "__main__":
    main()
