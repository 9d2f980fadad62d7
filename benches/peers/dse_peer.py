#!/usr/bin/env python3
"""Diffusion spectral entropy by its published code (PyPI `dse-dsmi`), to measure beside.

    python3 -m venv venv && venv/bin/pip install dse-dsmi
    venv/bin/python benches/peers/dse_peer.py --rows 2000 5000 --threads 2

Prints one JSON object: for each number of rows the seconds of each repetition, their median, and the
value in bits. Features are N(0, 1) in 64 columns, sigma is 8, t is 1.
"""

import argparse
import json
import os
import statistics
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[2000, 5000])
    parser.add_argument("--columns", type=int, default=64)
    parser.add_argument("--sigma", type=float, default=8.0)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    # Before NumPy is loaded: its BLAS reads them once.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)

    import numpy
    from dse_dsmi import diffusion_spectral_entropy

    results = []
    for rows in arguments.rows:
        features = numpy.random.default_rng(0).standard_normal((rows, arguments.columns))
        seconds = []
        for _ in range(arguments.repetitions):
            start = time.perf_counter()
            # max_N: no subsampling.
            bits = diffusion_spectral_entropy(
                features, gaussian_kernel_sigma=arguments.sigma, t=1, max_N=rows
            )
            seconds.append(time.perf_counter() - start)
        results.append(
            {
                "rows": rows,
                "columns": arguments.columns,
                "sigma": arguments.sigma,
                "bits": float(bits),
                "seconds": seconds,
                "median": statistics.median(seconds),
            }
        )
    print(json.dumps({"numpy": numpy.__version__, "threads": arguments.threads, "results": results}))


if __name__ == "__main__":
    main()
