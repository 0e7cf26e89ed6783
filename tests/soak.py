"""Live through many sequences of the model of a session, on all cores: `make soak`.

Prints a line for each thousand with the seeds it took, and at the end how often each rule was
followed. A sequence that fails is printed with its steps, and with the seed that finds it again:
`python -m tests.soak --seed N --sequences 250`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed

#: Sequences that one seed is good for.
CHUNK = 250


def chunk(seed: int, sequences: int) -> tuple[int, Counter[str]]:
    """So many sequences from a seed, in a process of its own."""
    from hypothesis import core

    from tests.service import test_model

    core.global_force_seed = seed
    test_model.COUNTS.clear()
    test_model.run(sequences)
    return seed, Counter(test_model.COUNTS)


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    options.add_argument("--sequences", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=None, help="the first; random by default")
    options.add_argument("--workers", type=int, default=os.cpu_count())
    asked = options.parse_args()
    first = asked.seed if asked.seed is not None else int.from_bytes(os.urandom(3))
    sizes = [CHUNK] * (asked.sequences // CHUNK)
    if asked.sequences % CHUNK:
        sizes.append(asked.sequences % CHUNK)
    began = time.monotonic()
    followed: Counter[str] = Counter()
    done = told = 0
    with ProcessPoolExecutor(
        asked.workers, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        chunks = {pool.submit(chunk, first + i, size): size for i, size in enumerate(sizes)}
        seeds = {future: first + i for i, future in enumerate(chunks)}
        for future in as_completed(chunks):
            try:
                _, counts = future.result()
            except BaseException as error:
                traceback.print_exception(error)
                print(f"seed {seeds[future]} fails", file=sys.stderr)
                pool.shutdown(cancel_futures=True)
                return 1
            followed += counts
            done += chunks[future]
            if done - told >= 1000 or done == asked.sequences:
                told = done
                took = time.monotonic() - began
                print(f"{done} sequences in {took:.0f} s, seeds from {first}", flush=True)
    lived = followed.pop("EXAMPLES")
    for rule, times in followed.most_common():
        print(f"{times:8} {rule}")
    print(
        f"{lived} sequences, {followed.total()} steps, {time.monotonic() - began:.0f} s,"
        f" seeds {first} to {first + len(sizes) - 1}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
