#!/usr/bin/env bash
# Unpacks target-gpu/pack (benches/gpu/pack.sh) and measures this machine's GPU in under 8 minutes: does it compute what the CPU
# computes, how fast are products, operations and updates, and how fast is PyTorch on the same card. Ends with a table.
#
#     benches/gpu/check.sh [DEVICE]     `cuda:0`, or `cpu` to try the script itself on a small shape
#
# Figures go to $OUT (default: target-gpu/figures), one JSON object a line. Needs python3; with PyTorch it measures that, too.
set -uo pipefail
cd "$(dirname "$0")/../.."

device=${1:-cuda:0}
pack=target-gpu/pack
out=${OUT:-target-gpu/figures}
work=$(mktemp -d)
trap 'kill "${watch:-}" 2>/dev/null; rm -rf "$work"' EXIT
mkdir -p "$out"
figures=$out/figures.jsonl
log=$out/log
: >"$figures"
: >"$log"

say() { echo "== $SECONDS s: $*" | tee -a "$log"; }

# step SECONDS COMMAND...: lines of JSON are figures; everything is logged.
step() {
    local limit=$1
    shift
    say "$*"
    timeout "$limit" "$@" 2>>"$log" | tee -a "$log" | grep '^{' >>"$figures"
    local status=${PIPESTATUS[0]}
    [ "$status" -eq 0 ] || say "exit $status: $*"
}

python3 - "$pack" "$work" <<'P'
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

say "facts: $(tr '\n' ' ' <"$pack/facts"), CUDA_PATH=${CUDA_PATH:-, and no nvcc}"
{
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm --format=csv,noheader
    ls "${CUDA_PATH:-}/include/cuda_runtime.h" "${CUDA_PATH:-}"/nvvm/libdevice/*.bc
    ldconfig -p | grep -E 'libcuda\.|nvrtc'
    ldd "$gpu"
} >>"$log" 2>&1
if ldd "$gpu" | grep 'not found'; then exit 3; fi

case $device in
cpu) length=128 shape=tiny products=0 ;;
*) length=8192 shape=1.7b products=1 ;;
esac
if [ "$products" = 1 ]; then
    (while sleep 1; do nvidia-smi --query-gpu=memory.used,utilization.gpu,clocks.sm --format=csv,noheader,nounits; done) >"$out/smi.csv" 2>/dev/null &
    watch=$!
fi

export RUST_BACKTRACE=1 FMFLOW_DEVICE=$device
step 45 "$gpu" probe parity "$device"
if [ -d "$work/oracle" ]; then
    say oracle
    FMFLOW_ORACLE=$work/oracle timeout 60 "$gpu" oracle --test-threads 2 >"$out/oracle" 2>&1
    tail -n 4 "$out/oracle" | tee -a "$log"
fi
peer=(python3 benches/gpu/peer.py --device "${device%%:*}" --shape "$shape" --length "$length")
torch=0
if python3 -c 'import torch' 2>>"$log"; then torch=1; else say "no PyTorch here: nothing beside our figures"; fi
if [ "$torch" = 1 ]; then step 45 "${peer[@]}" ceilings; fi
if [ "$products" = 1 ]; then step 80 "$gpu" probe products "$device" "$length"; fi
step 50 "$gpu" probe operations "$device" "$shape" "$length"
if [ "$products" = 1 ]; then step 30 "$gpu" probe update "$device" 0.6b 2048 4; fi
step 90 "$gpu" probe update "$device" "$shape" "$length" 4
if [ "$torch" = 1 ]; then step 75 "${peer[@]}" update; fi
say done
python3 benches/gpu/table.py "$figures" | tee "$out/table"
