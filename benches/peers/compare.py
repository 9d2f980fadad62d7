#!/usr/bin/env python3
"""surprisal beside its peers in one sitting, as a Markdown table of ratios.

Every round runs each contestant once on each shape, in a process of its own, so that a neighbour's
load falls on all of them. A number is the median over the rounds of the median of a process.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHAPES = "64x256x4096,48x2304x32768,1024x768x50257,1024x2304x32768"
TORCH = {"torch eager": "eager", "torch linear": "linear", "torch chunked": "chunked"}


def shape(text):
    sizes = [int(size) for size in text.split("x")]
    if len(sizes) != 3 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no shape, expected NxDxV")
    return sizes


def command(name, arguments, sizes, dtype, direction):
    """The command of a contestant with its environment; None where it does not take part."""
    tokens, hidden, vocab = map(str, sizes)
    common = ["--tokens", tokens, "--hidden", hidden, "--vocab", vocab, "--pass", direction]
    common += ["--repetitions", str(arguments.repetitions)]
    threads = str(arguments.threads)
    if name == "surprisal":
        flags = ["--dtype", dtype, "--threads", threads, "--no-baseline", "--json"]
        return [arguments.surprisal, "bench", *common, *flags, *arguments.flags.split()], {}
    if name == "candle":
        if arguments.candle is None or dtype != "f32":
            return None
        return [arguments.candle, *common], {"RAYON_NUM_THREADS": threads}
    flags = ["--dtype", dtype, "--threads", threads, "--method", TORCH[name]]
    return [arguments.python, str(HERE / "torch_peer.py"), *common, *flags], {}


def measure(name, arguments, sizes, dtype, direction):
    """The median of one process, in seconds; None where it gives none."""
    found = command(name, arguments, sizes, dtype, direction)
    if found is None:
        return None
    words, environment = found
    process = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True)
    if process.returncode != 0:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"{name} on {sizes} {dtype}: {last}", file=sys.stderr)
        return None
    seconds = json.loads(process.stdout)["seconds"]
    return statistics.median(seconds) if isinstance(seconds, list) else seconds


def row(names, found, sizes, dtype, direction):
    medians = {name: statistics.median(found[name]) for name in names if found[name]}
    own = medians.get("surprisal")
    cells = ["×".join(map(str, sizes)), dtype, direction]
    for name in names:
        if name not in medians:
            cells.append("–")
        elif name == "surprisal":
            spread = f"{min(found[name]):.3g} to {max(found[name]):.3g}"
            cells.append(f"{1000 * own:.4g} ms ({spread} s)")
        else:
            ratio = f", {medians[name] / own:.2f}×" if own else ""
            cells.append(f"{1000 * medians[name]:.4g} ms{ratio}")
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--surprisal", required=True, help="the binary")
    parser.add_argument("--flags", default="", help="more flags of `surprisal bench`, in one word")
    parser.add_argument("--candle", help="the binary candle-peer; without it candle is left out")
    parser.add_argument("--python", default=sys.executable, help="a Python that has PyTorch")
    parser.add_argument("--without", default="", help="contestants to leave out, with commas")
    parser.add_argument("--shapes", default=SHAPES, help=f"NxDxV with commas [{SHAPES}]")
    parser.add_argument("--dtypes", default="f32,bf16")
    parser.add_argument("--passes", default="forward,forward-backward")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repetitions", type=int, default=3, help="passes timed in one process")
    parser.add_argument("--out", help="file for the table, beside stdout")
    arguments = parser.parse_args()

    left_out = set(filter(None, arguments.without.split(",")))
    names = [name for name in ["surprisal", *TORCH, "candle"] if name not in left_out]
    if arguments.candle is None and "candle" in names:
        names.remove("candle")
    cases = [
        (sizes, dtype, direction)
        for sizes in map(shape, arguments.shapes.split(","))
        for dtype in arguments.dtypes.split(",")
        for direction in arguments.passes.split(",")
    ]
    found = [{name: [] for name in names} for _ in cases]
    for number in range(arguments.rounds):
        for case, seconds in zip(cases, found):
            print(f"round {number + 1} of {arguments.rounds}: {case}", file=sys.stderr)
            for name in names:
                median = measure(name, arguments, *case)
                if median is not None:
                    seconds[name].append(median)

    header = ["N×D×V", "type", "pass", *names]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += [row(names, seconds, *case) for case, seconds in zip(cases, found)]
    table = "\n".join(lines)
    cores = f"{arguments.threads} threads, {platform.machine()}"
    text = f"{cores}; medians of {arguments.rounds} rounds of {arguments.repetitions}; " \
        f"n× is the time over surprisal's.\n\n{table}\n"
    print(text, end="")
    if arguments.out:
        Path(arguments.out).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
