"""Processor time of `fmflow check pipelines/full.kdl` over 20 runs.

    cargo build --release --no-default-features --locked
    python3 benches/check.py target/release/fmflow
"""

import resource
import statistics
import subprocess
import sys
import time

RUNS = 20


def run(program):
    """Processor time (user and system) and wall time of one check, in milliseconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([program, "check", "pipelines/full.kdl"], check=True, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return processor * 1e3, wall * 1e3


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else "target/release/fmflow"
    run(program)
    runs = [run(program) for _ in range(RUNS)]
    for name, values in zip(("processor", "wall"), zip(*runs)):
        print(f"{name}: median {statistics.median(values):.1f} ms, {min(values):.1f} to {max(values):.1f}")


if __name__ == "__main__":
    main()
