"""What a second CPU thread gives: python benchmarks/threads.py [--threads 1,2] [--repeats 3]   prints two Markdown tables.

Capture and sweep of the random Llama of 12 blocks, 768 wide, with each number of threads in turns. A job of the DAG gets its
threads from Snakemake through OMP_NUM_THREADS, which torch obeys.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from engine import requests_of
from workload import SIZES, load_workload, markdown, timed, write_workload

from probesteer.lm.capture import capture
from probesteer.lm.generate import generate


def with_threads(threads: int, run: Callable[[], object]) -> None:
    torch.set_num_threads(threads)
    run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="12x768")
    parser.add_argument("--texts", type=int, default=50)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_workload(Path(folder), args.size, args.texts)
        model, tokenizer, work = load_workload(Path(folder))
        tasks = {
            "capture": partial(capture, model, tokenizer, work["texts"], work["layers"]),
            "sweep": partial(generate, model, tokenizer, requests_of(work, model.config.hidden_size), work["new_tokens"], 0.7),
        }
        for task, run in tasks.items():
            sides = {f"{count} threads": partial(with_threads, int(count), run) for count in args.threads.split(",")}
            print(markdown(f"{task}, {args.size}", timed(sides, args.repeats)), flush=True)


if __name__ == "__main__":
    main()
