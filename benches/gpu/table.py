"""The figures of `check.sh` as a table, ours beside PyTorch's, and which way they call for.

    python3 benches/gpu/table.py FIGURES.jsonl
"""

import json
import statistics
import sys

figures = [json.loads(line) for line in open(sys.argv[1])]
ours = [figure for figure in figures if "peer" not in figure]
peers = [figure for figure in figures if "peer" in figure]


def find_peer(**wanted):
    return next((p for p in peers if all(p.get(key) == value for key, value in wanted.items())), None)


def row(name, own, peer, unit):
    beside = f"{peer:>10.2f} {own / peer:>6.2f}" if peer else f"{'-':>10} {'-':>6}"
    print(f"{name:<58} {own:>10.2f} {beside}  {unit}")


print(f"{'':<58} {'fmflow':>10} {'PyTorch':>10} {'ratio':>6}")
for figure in ours:
    if "parity" in figure:
        name = f"parity {figure['parity']} {figure['length']}: loss {figure['loss']:.6f} / {figure['loss_cpu']:.6f}"
        print(f"{name:<58} gradient error {figure['gradient_error']:.2e}")
for figure in ours:
    if "product" in figure:
        keys = {key: figure[key] for key in ("product", "kind", "dtype")}
        peer = find_peer(**keys)
        name = f"product {keys['product']}, {keys['kind']}, {keys['dtype']}"
        row(name, figure["tflops"], peer and peer["tflops"], "TFLOP/s")
for figure in ours:
    if "operation" in figure:
        peer = find_peer(operation=figure["operation"], kind=figure["kind"])
        row(f"{figure['operation']}, {figure['kind']}", figure["ms"], peer and peer["ms"], "ms")
updates = {}
for figure in ours:
    if "update" in figure:
        updates.setdefault((figure["shape"], figure["rows"], figure["length"]), []).append(figure)
card_gb = {figure["step"]: figure["card_mib"] * 2**20 / 1e9 for figure in ours if "step" in figure}
for (shape, rows, length), found in updates.items():
    peer = find_peer(update=True, shape=shape, rows=rows, length=length)
    # The first update compiles and tunes kernels.
    speed = statistics.median(figure["tokens_per_second"] for figure in found[1:] or found)
    recompute = ", blocks recomputed" if found[0]["recompute"] else ""
    row(f"update {shape}, {rows} x {length}{recompute}", speed, peer and peer["tokens_per_second"], "tokens/s")
    if own := card_gb.get(f"update {shape}"):
        row("  peak memory of the card", own, peer and card_gb.get(f"PyTorch's update {shape}"), "GB")
    if peer and peer["allocated_gb"]:
        print(f"  of which PyTorch had allocated {peer['allocated_gb']:.2f} GB")

bf16 = [f["tflops"] for f in ours if f.get("dtype") == "BF16" and f.get("product") != "head"]
if bf16:
    slowest = min(bf16)
    # Where the plan for an H100 draws its lines, in TFLOP/s.
    way = "stay with the library's products" if slowest >= 600 else "Burn 0.23, or the other compiler" if slowest >= 350 else "cuBLASLt first"
    print(f"slowest bf16 product {slowest:.0f} TFLOP/s: {way}")
