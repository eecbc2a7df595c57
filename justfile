# Recipes for people who work on fmflow. `just --list` shows them.

# everything that CI does
ci:
    .ci/run

# format, lints, dependency licenses, documentation
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- --deny warnings
    cargo deny check
    RUSTDOCFLAGS="--deny warnings --allow rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items --locked

# language, plan, store, docs, tidiness: quick, without Burn
test-fast:
    cargo test --package fmflow-engine --locked
    cargo test --package fmflow --no-default-features --locked

# all tests on the CPU; shares the build of `just quickstart`
test:
    cargo test --release --workspace --locked

# kills, flipped bits and full disks, hundreds of each; full disks need the right to mount (`unshare -rm just hostile`)
hostile *COUNTS:
    cargo test --release --locked --test hostile -- {{COUNTS}}

# the canonical solutions of HumanEval and MBPP in a folder, with one worker and with four
grade FOLDER:
    FMFLOW_DATA={{FOLDER}} cargo test --release --workspace --locked --test commands -- --ignored canonical_solutions_pass

# accept or reject changed snapshots
review:
    cargo insta review

# the quickstart pipeline
quickstart:
    cargo run --release --locked -- run pipelines/quickstart.kdl

# whole updates beside PyTorch's in turns, at the quickstart's shape and at hidden 512; needs torch, transformers and numpy
bench-peer *OPTIONS:
    cargo build --release --locked
    python3 benches/peer.py target/release/fmflow --shape quickstart,wide {{OPTIONS}}

# type-check the CUDA code without LLVM
cuda-check:
    DOCS_RS=1 CARGO_TARGET_DIR=target-cuda cargo check --features cuda-cpp --examples --locked

# the kernels of GPUs on the processor, against their references; builds LLVM's side of CubeCL first
cube-test:
    FMFLOW_DEVICE=cube-cpu CARGO_TARGET_DIR=target-cuda cargo test --release --locked --features cpu,cube-cpu --package fmflow-ops --test against_reference

# one program for a machine with a GPU, and the oracle's sets: target-gpu/pack
gpu-pack BACKEND="cuda-cpp":
    benches/gpu/pack.sh {{BACKEND}}

# on that machine, with the pack: parity, speed of products, operations and updates, PyTorch beside them
gpu-check DEVICE="cuda:0":
    benches/gpu/check.sh {{DEVICE}}
