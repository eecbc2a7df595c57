#!/usr/bin/env bash
# Packs what a machine with a GPU needs into target-gpu/pack: the program of benches/gpu, stripped and compressed, and the oracle's
# sets. A machine with a GPU often has neither Rust nor a network.
#
#     benches/gpu/pack.sh [cuda-cpp|cuda]     kernels by NVRTC (the default) or by LLVM
#
# FMFLOW_ORACLE names the sets; without them the check skips that step. CARGO_TARGET_DIR may name a folder that holds a build.
set -euo pipefail
cd "$(dirname "$0")/../.."

backend=${1:-cuda-cpp}
oracle=${FMFLOW_ORACLE:-../shared/oracle/dev}
pack=target-gpu/pack
limit=$((60 * 1024 * 1024))
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target-gpu}
# Without nvcc the library would take the interface of the newest CUDA, which an older driver does not have.
export CUDARC_CUDA_VERSION=${CUDARC_CUDA_VERSION:-13000}

cargo build --release --locked --features "$backend" --example gpu

rm -rf "$pack"
mkdir -p "$pack"
xz --threads=0 -9 --stdout "$CARGO_TARGET_DIR/release/examples/gpu" >"$pack/gpu.xz"
if [ -d "$oracle" ]; then tar --create --xz --file "$pack/oracle.tar.xz" --directory "$oracle" .; fi
printf '%s\n%s\n' "$backend" "$(git rev-parse --short HEAD)" >"$pack/facts"

size=$(du --bytes --summarize "$pack" | cut -f1)
echo "$pack: $((size / 1024 / 1024)) MiB"
[ "$size" -le "$limit" ] || { echo "$pack is larger than 60 MiB" >&2; exit 1; }
