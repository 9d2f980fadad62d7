#!/usr/bin/env python3
"""Forward Kullback-Leibler divergence of two heads in PyTorch on the CPU, forward and backward, all logits in memory.

Prints one JSON object with the seconds of each repetition and the most bytes that were resident.
"""

import argparse
import json
import resource
import time

import torch
import torch.nn.functional as F


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, size in [("tokens", 1024), ("hidden", 768), ("vocab", 50257), ("repetitions", 3), ("threads", 2)]:
        parser.add_argument(f"--{name}", type=int, default=size)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    def normal(rows, deviation):
        return torch.randn(rows, arguments.hidden) * deviation

    hidden, classifier = (normal(arguments.tokens, 1.5), normal(arguments.vocab, arguments.hidden**-0.5))
    other, teacher = (normal(arguments.tokens, 1.5), normal(arguments.vocab, arguments.hidden**-0.5))
    hidden.requires_grad_()
    classifier.requires_grad_()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    # The first does not count.
    for repetition in range(arguments.repetitions + 1):
        start = time.perf_counter()
        student = F.log_softmax(hidden @ classifier.T, -1)
        with torch.no_grad():
            target = F.log_softmax(other @ teacher.T, -1)
        loss = F.kl_div(student, target, reduction="batchmean", log_target=True)
        loss.backward()
        elapsed = time.perf_counter() - start
        hidden.grad = classifier.grad = None
        if repetition > 0:
            seconds.append(elapsed)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({
        "seconds": seconds,
        "peak_bytes": (most - before) * 1024,
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
