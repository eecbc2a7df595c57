"""Tokenizing and packing: the whole `rows` stage beside the Python library `tokenizers` with as many threads.

    cargo build --release --locked
    python3 benches/rows.py PROGRAM[,PROGRAM ...] FOLDER [MIB] [THREADS]

From FOLDER the files that end in .md, .rs, .py or .txt are collected in the order of their paths, each as a document, until they are MIB MiB
(32). Every program makes rows of 1,024 from the same JSONL file with a tokenizer of 16,384 tokens that the first program trained on a sample.
The library only reads and encodes the same documents, in batches; it packs and writes nothing. It is skipped, and said to be, where it
is not installed. Printed: the median of three rounds that alternate, of the wall time and the processor time of the stage alone, and its peak memory. On a busy
machine only the ratio of processor times means something.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PIPELINE = """
pipeline "rows" seed=1
dataset "sample" from="sample.jsonl" format="jsonl" text="text"
dataset "text" from="text.jsonl" format="jsonl" text="text" held-out="1%"
tokenizer "bpe" kind="byte-level-bpe" vocabulary=16384 { dataset "sample" }
rows "text" tokenizer="bpe" length=1024 packing="concat"
mixture "all" { dataset "text" }
random-init "tiny" tokenizer="bpe" {
    shape "qwen3" hidden=32 layers=1 heads=1 kv-heads=1 head-dim=32 feed-forward=32 tied=#true context=1024
}
train "trained" from="tiny" {
    data rows="text" mixture="all"
    objective "autoregressive"
    attention "causal"
    batch rows=1 per-device=1
    learning-rate peak=1e-3 final=1e-4 warmup=1 shape="cosine"
    steps 1
}
"""

PEER = """
import json, os, sys, time
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[1])
start, ids, batch, size = time.perf_counter(), 0, [], 0
def encode():
    global ids
    ids += sum(len(e.ids) for e in tokenizer.encode_batch_fast(batch, add_special_tokens=False))
for line in open(sys.argv[2], encoding="utf-8"):
    batch.append(json.loads(line)["text"])
    size += len(batch[-1])
    if size > 4 << 20:
        encode()
        batch, size = [], 0
encode()
print(time.perf_counter() - start, ids, sum(os.times()[:2]))
"""


def collect(folder, size):
    """Texts of at most 256 KiB each, until they have `size` bytes."""
    found, total = [], 0
    for path in sorted(p for p in Path(folder).rglob("*") if p.suffix in (".md", ".rs", ".py", ".txt")):
        if not path.is_file() or path.stat().st_size > 1 << 18:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if "\0" in text or not text.strip():
            continue
        found.append(text)
        total += len(text.encode())
        if total >= size:
            return found, total
    return found, total


def write(path, texts):
    with open(path, "w", encoding="utf-8") as out:
        out.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)


def run(program, work, stage, environment):
    """Wall seconds, processor seconds and peak memory in bytes of one stage, without what it depends on."""
    start = time.perf_counter()
    child = subprocess.Popen([program, "run", "p.kdl", "--until", stage, "--store", f"store-{Path(program).name}"], cwd=work, env=environment,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    answer = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    assert status == 0, answer
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def make_corpus(folder, size, work):
    texts, total = collect(folder, int(size))
    write(Path(work) / "text.jsonl", texts)
    write(Path(work) / "sample.jsonl", texts[:: max(1, len(texts) // 400)])
    print(len(texts), total)


def main():
    programs = [str(Path(p).resolve()) for p in sys.argv[1].split(",")]
    size = int(sys.argv[3]) << 20 if len(sys.argv) > 3 else 32 << 20
    threads = sys.argv[4] if len(sys.argv) > 4 else str(os.cpu_count())
    environment = {**os.environ, "RAYON_NUM_THREADS": threads}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        # In a process of its own: the peak memory of a child is at least that of its parent when it started.
        made = [sys.executable, __file__, "corpus", sys.argv[2], str(size), folder]
        count, total = map(int, subprocess.run(made, check=True, capture_output=True, text=True).stdout.split())
        (work / "p.kdl").write_text(PIPELINE)
        print(f"{count:,} documents, {total / 1e6:.1f} MB of text, {threads} threads")
        names, tokens, rows = {}, None, {}
        processor = {program: [] for program in programs + ["tokenizers"]}
        for program in programs:
            run(program, work, "bpe", environment)
        seconds = {program: [] for program in programs + ["tokenizers"]}
        memory = {program: [] for program in programs}
        store = work / f"store-{Path(programs[0]).name}"
        for _ in range(3):
            for program in programs:
                for old in (work / f"store-{Path(program).name}").glob("artifacts/text*"):
                    subprocess.run(["chmod", "-R", "u+w", old], check=True)
                    subprocess.run(["rm", "-r", old], check=True)
                taken, busy, peak = run(program, work, "text/text", environment)
                seconds[program].append(taken)
                processor[program].append(busy)
                memory[program].append(peak)
                made = next((work / f"store-{Path(program).name}").glob("artifacts/text*"))
                found = json.loads((made / "rows.json").read_text())
                tokens = found["train"]["tokens"] + found["held_out"]["tokens"]
                rows[program] = subprocess.run(["sha256sum", made / "rows.bin"], capture_output=True, text=True).stdout[:16]
            peer = subprocess.run([sys.executable, "-c", PEER, next(store.glob("artifacts/bpe*")) / "tokenizer.json", work / "text.jsonl"],
                                  env=environment, capture_output=True, text=True)
            if peer.returncode == 0:
                seconds["tokenizers"].append(float(peer.stdout.split()[0]))
                processor["tokenizers"].append(float(peer.stdout.split()[2]))
                names["tokenizers"] = f"{int(peer.stdout.split()[1]):,} ids"
            else:
                names["tokenizers"] = "skipped: " + peer.stderr.strip().splitlines()[-1]
        for program, taken in seconds.items():
            if not taken:
                print(f"{program}: {names[program]}")
                continue
            middle = statistics.median(taken)
            more = f"peak {max(memory[program]) / 1e6:.0f} MB, rows {rows[program]}" if program in memory else names[program]
            busy = statistics.median(processor[program])
            print(f"{Path(program).name}: {middle:.2f} s ({busy:.2f} s of processor time), {total / 1e6 / middle:.2f} MB/s, {tokens / 1e6 / middle:.2f} M tok/s; {more}")


if __name__ == "__main__":
    make_corpus(*sys.argv[2:]) if sys.argv[1] == "corpus" else main()
