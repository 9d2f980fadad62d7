#!/usr/bin/env python3
"""The loss in PyTorch on the CPU: forward, or forward and backward.

Prints one JSON object with the seconds of each repetition; null where this PyTorch does not have the
method.

  eager     F.cross_entropy(E @ C.T, y), all logits in memory
  linear    F.linear_cross_entropy without options
  chunked   F.linear_cross_entropy with LinearCrossEntropyOptions()
"""

import argparse
import json
import time
import warnings

import torch
import torch.nn.functional as F


def loss_of(method):
    """The loss as a function of hidden states, classifier and targets, or None."""
    if method == "eager":
        return lambda hidden, classifier, targets: F.cross_entropy(hidden @ classifier.T, targets)
    if not hasattr(F, "linear_cross_entropy"):
        return None
    if method == "linear":
        return F.linear_cross_entropy
    if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        return None
    # Where it would fall back to the path with all logits, it must not pass for the chunked one.
    warnings.filterwarnings("error", message=".*linear_cross_entropy.*ignored")
    options = torch.nn.LinearCrossEntropyOptions()
    return lambda *arrays: F.linear_cross_entropy(*arrays, options=options)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--pass", dest="direction", default="forward-backward",
                        choices=["forward", "forward-backward"])
    parser.add_argument("--method", choices=["eager", "linear", "chunked"], default="eager")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[arguments.dtype]
    backward = arguments.direction == "forward-backward"
    loss_function = loss_of(arguments.method)
    if loss_function is None:
        print(json.dumps({"seconds": None}))
        return

    def normal(rows, deviation):
        numbers = (torch.randn(rows, arguments.hidden) * deviation).to(dtype)
        return numbers.requires_grad_(backward)

    hidden = normal(arguments.tokens, 1.5)
    classifier = normal(arguments.vocab, arguments.hidden**-0.5)
    targets = torch.randint(arguments.vocab, (arguments.tokens,))

    seconds = []
    # The first does not count.
    for repetition in range(arguments.repetitions + 1):
        start = time.perf_counter()
        if backward:
            loss = loss_function(hidden, classifier, targets)
            loss.backward()
        else:
            with torch.no_grad():
                loss = loss_function(hidden, classifier, targets)
        value = loss.item()
        elapsed = time.perf_counter() - start
        hidden.grad = classifier.grad = None
        if repetition > 0:
            seconds.append(elapsed)
    print(json.dumps({"seconds": seconds, "loss": value, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
