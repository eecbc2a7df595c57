#!/usr/bin/env bash
# Unpacks target-gpu/pack (benches/gpu/pack.sh) and measures this machine's GPU in under 8 minutes: does it compute what the CPU
# computes, how fast are products, operations and updates, and how fast is PyTorch on the same card. Ends with a table.
#
#     benches/gpu/check.sh [DEVICE]     `cuda:0`, or `cpu` to try the script itself on a small shape
#
# Figures go to $OUT (default: target-gpu/figures), one JSON object a line. Needs python3; with PyTorch it measures that, too.
# The limits of the steps sum to 470 s. What a step leaves of its own, the next ones may use.
set -uo pipefail
cd "$(dirname "$0")/../.."

device=${1:-cuda:0}
case $device in
cpu) card=0 ;;
*) card=1 ;;
esac
pack=target-gpu/pack
out=${OUT:-target-gpu/figures}
work=$(mktemp -d)
trap 'kill "${watch:-}" 2>/dev/null; rm -rf "$work"' EXIT
mkdir -p "$out"
figures=$out/figures.jsonl
log=$out/log
: >"$figures"
: >"$log"
rm -f "$out/smi.csv"

say() { echo "== $SECONDS s: $*" | tee -a "$log"; }

# limit SECONDS: `left` is the time until the sum of all limits so far.
due=0
limit() {
    due=$((due + $1))
    left=$((due > SECONDS ? due - SECONDS : 1))
}

# step SECONDS NAME COMMAND...: lines of JSON are figures; everything is logged. The memory that the card has in use at most meanwhile is
# a figure of NAME, measured the same way for both sides: what a process holds, used or not.
step() {
    limit "$1"
    local name=$2 used=$work/used lines=$work/lines
    shift 2
    say "$name, $left s left: $*"
    if [ "$card" = 1 ]; then
        nvidia-smi --id="${device##*:}" --query-gpu=memory.used,utilization.gpu,clocks.sm --format=csv,noheader,nounits --loop-ms=100 >"$used" 2>>"$log" &
        watch=$!
    fi
    # No pipe: a child that outlives the limit would keep it open.
    timeout --kill-after=2 "$left" "$@" >"$lines" 2>>"$log"
    local status=$?
    tee -a "$log" <"$lines" | grep '^{' >>"$figures"
    [ "$status" -eq 0 ] || say "exit $status: $*"
    if [ "$card" = 1 ]; then
        kill "$watch" 2>/dev/null
        local peak
        peak=$(grep -oE '^[0-9]+' "$used" | sort -n | tail -n 1)
        sed "s/^/$name, /" "$used" >>"$out/smi.csv"
        [ -z "$peak" ] || echo "{\"step\": \"$name\", \"card_mib\": $peak}" >>"$figures"
    fi
}

limit 15
timeout "$left" python3 - "$pack" "$work" <<'P' || exit 3
import lzma, pathlib, shutil, sys, tarfile
pack, work = map(pathlib.Path, sys.argv[1:])
with lzma.open(pack / "gpu.xz") as packed, open(work / "gpu", "wb") as program:
    shutil.copyfileobj(packed, program)
(work / "gpu").chmod(0o755)
if (pack / "oracle.tar.xz").exists():
    with tarfile.open(pack / "oracle.tar.xz") as sets:
        sets.extractall(work / "oracle", filter="data")
P
gpu=$work/gpu

# The kernels' compiler looks for the toolkit's headers and library under CUDA_PATH.
if [ -z "${CUDA_PATH:-}" ]; then
    nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
    if [ -e "$nvcc" ]; then export CUDA_PATH=$(dirname "$(dirname "$(readlink -f "$nvcc")")"); fi
fi
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}:${CUDA_PATH:-}/lib64:/usr/local/nvidia/lib64

limit 5
say "facts: $(tr '\n' ' ' <"$pack/facts"), CUDA_PATH=${CUDA_PATH:-, and no nvcc}"
{
    timeout 5 nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm --format=csv,noheader
    ls "${CUDA_PATH:-}/include/cuda_runtime.h" "${CUDA_PATH:-}"/nvvm/libdevice/*.bc
    ldconfig -p | grep -E 'libcuda\.|nvrtc'
    ldd "$gpu"
} >>"$log" 2>&1
if ldd "$gpu" | grep 'not found'; then exit 3; fi

export RUST_BACKTRACE=1 FMFLOW_DEVICE=$device
step 35 parity "$gpu" probe parity "$device"
if [ -d "$work/oracle" ]; then
    say oracle
    limit 40
    FMFLOW_ORACLE=$work/oracle timeout --kill-after=2 "$left" "$gpu" oracle --test-threads 2 >"$out/oracle" 2>&1
    tail -n 4 "$out/oracle" | tee -a "$log"
fi
torch=0
if timeout 20 python3 -c 'import torch' 2>>"$log"; then torch=1; else say "no PyTorch here: nothing beside our figures"; fi
peer() { # peer SECONDS NAME SHAPE LENGTH WHAT
    if [ "$torch" = 1 ]; then step "$1" "$2" python3 benches/gpu/peer.py --device "${device%%:*}" --shape "$3" --length "$4" "$5"; fi
}
# update SECONDS SECONDS SHAPE LENGTH none|block: two rows an update, one at a time. PyTorch recomputes nothing but the loss.
update() {
    step "$1" "update $3" "$gpu" probe update "$device" "$3" 2 "$4" "$5" 4
    peer "$2" "PyTorch's update $3" "$3" "$4" update
}
if [ "$card" = 0 ]; then
    peer 35 ceilings tiny 128 ceilings
    step 35 operations "$gpu" probe operations "$device" tiny 128
    update 60 80 tiny 128 block
else
    peer 35 ceilings 1.7b 8192 ceilings
    step 60 products "$gpu" probe products "$device" 8192
    step 35 operations "$gpu" probe operations "$device" 1.7b 8192
    update 45 60 0.6b 8192 none
    # `plan` estimates 55 GB for 0.6b, and for 1.7b 103 GB with what all blocks keep, 42 GB with recomputed blocks.
    update 60 80 1.7b 8192 block
fi
say done
python3 benches/gpu/table.py "$figures" | tee "$out/table"
