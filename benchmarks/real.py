"""The sweep's speed on a real model: python benchmarks/real.py [MODEL] [--llama-cpp]   prints a table per number of threads.

MODEL is a GGUF file or a folder with a checkpoint; `make real` gets the one of the default. Beside the engine: generate of
plain transformers with the push added by a hook, in one batch per alpha and in one of all rows, and (with --llama-cpp, in an
environment that benchmarks/oracles.py says how to make) llama.cpp with a control vector, one batch per alpha, on the file as it
is and dequantised. Every side writes as many tokens after the same prompts; sides and threads take turns. Speed is also given
as the share that the model's matrix products take of the rate of one product of the model's shape, measured in the same run.
--profile prints instead where the time of the sweep goes.
"""

import argparse
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import torch
from oracles import loaded
from threads import with_threads
from torch.profiler import ProfilerActivity, profile, record_function
from workload import ROOT, timed

from probesteer.concepts import load_concept
from probesteer.lm import generate as engine
from probesteer.lm.blocks import decoder_blocks
from probesteer.lm.generate import continuations
from probesteer.lm.hooks import steering
from probesteer.lm.likelihood import surprisal
from probesteer.lm.load import encode_prompt, render_prompt
from probesteer.lm.request import Request, push_rows

SMOLLM2 = ROOT / "results/downloads/smollm2-135m/smollm2-135m.gguf"
SCENARIOS, TEMPERATURE, LENGTH = 3, 0.7, 30.0
OURS, LIKELIHOOD, PRODUCT = "probesteer", "likelihood pass", "matrix product"
PRODUCTS, PRODUCT_ROWS = 300, 240
PARTS = {  # a share of the time by the operation that takes it
    "matrix products": ("aten::addmm", "aten::mm", "aten::linear", "aten::matmul", "aten::bmm"),
    "attention": ("aten::scaled_dot_product", "aten::_scaled_dot_product", "aten::_flash_attention"),
    "memory: new caches, prompts to rows": ("aten::fill_", "aten::zero_", "aten::index_put_", "aten::_index_put_impl_"),
    "copies: cache, heads, rotary halves": ("aten::copy_", "aten::cat", "aten::clone", "aten::index", "aten::expand"),
    "norms, activations, additions": (
        "aten::mul",
        "aten::add",
        "aten::silu",
        "aten::pow",
        "aten::mean",
        "aten::rsqrt",
        "aten::neg",
    ),
}


class Workload:
    """Prompts of scenarios of the embedded concept, alphas and samples: a row each, which writes `new` tokens."""

    def __init__(self, model: Any, tokenizer: Any, alphas: int, samples: int, new: int) -> None:
        concept = load_concept(ROOT / "resources/concepts/empathy_in_action")
        chat = bool(tokenizer.chat_template)
        self.prompts, self.elsewhere = [], []
        for name in list(concept.scenarios)[:SCENARIOS]:
            for turns, user in (
                (self.prompts, concept.scenarios[name].user_prompt()),
                (self.elsewhere, concept.elsewhere(name)),
            ):
                turns.append(render_prompt(tokenizer, concept.system_prompts.neutral, user, chat))
        self.ids = [encode_prompt(tokenizer, prompt) for prompt in self.prompts]
        self.layer, self.samples, self.new = model.config.num_hidden_layers // 2, samples, new
        direction = np.random.default_rng(0).standard_normal(model.config.hidden_size).astype(np.float32)
        self.direction = direction / np.linalg.norm(direction)
        self.lengths = np.linspace(-LENGTH, LENGTH, alphas)
        self.by_alpha = [
            [
                Request(prompt, self.layer, self.direction, float(length), (0, number, sample))
                for number, prompt in enumerate(self.prompts)
                for sample in range(samples)
            ]
            for length in self.lengths
        ]
        self.requests = [request for requests in self.by_alpha for request in requests]

    @property
    def tokens(self) -> int:
        return len(self.requests) * self.new


def endless(model: Any, tokenizer: Any) -> None:
    """Let every row write all its tokens."""
    model.generation_config.eos_token_id = None
    tokenizer.eos_token = None
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.convert_ids_to_tokens(0)


def plain(model: Any, tokenizer: Any, work: Workload, batches: list[list[Request]]) -> None:
    """Generate of transformers, the push added by a hook."""
    for requests in batches:
        rows = tokenizer([request.prompt for request in requests], return_tensors="pt", padding=True, add_special_tokens=False)
        with steering(decoder_blocks(model), push_rows(model, requests)):
            model.generate(
                input_ids=rows["input_ids"],
                attention_mask=rows["attention_mask"],
                do_sample=True,
                temperature=TEMPERATURE,
                top_k=0,
                max_new_tokens=work.new,
                min_new_tokens=work.new,
            )


def with_llama_cpp(model: llama_cpp.LlamaCpp, work: Workload) -> None:
    """A control vector per alpha, all rows of it in one batch."""
    for length in work.lengths:
        model.push(work.layer, float(length) * work.direction)
        model.sample(work.ids, work.samples, work.new, TEMPERATURE)


def likelihood(model: Any, tokenizer: Any, work: Workload, texts: list[list[int]]) -> None:
    """What the sweep computes of its texts: how likely they are after their own prompt, and after another scenario's."""
    per_alpha = [prompt for prompt in work.elsewhere for _ in range(work.samples)]
    prompts = [request.prompt for request in work.requests] + per_alpha * len(work.lengths)
    surprisal(model, tokenizer, prompts, texts * 2)


def product(left: torch.Tensor, right: torch.Tensor) -> None:
    for _ in range(PRODUCTS):
        left @ right


def on_threads(model: llama_cpp.LlamaCpp, threads: int, run: Callable[[], object]) -> None:
    model.threads(threads)
    run()


def sides_of(model: Any, tokenizer: Any, work: Workload, threads: list[int]) -> dict[str, Callable[[], object]]:
    """What is timed, by side and threads."""
    texts = [answer.tokens for answer in continuations(model, tokenizer, work.requests, work.new, TEMPERATURE)]
    left = torch.randn(PRODUCT_ROWS, model.config.hidden_size)
    sides = {
        OURS: partial(continuations, model, tokenizer, work.requests, work.new, TEMPERATURE),
        "transformers, a batch per alpha": partial(plain, model, tokenizer, work, work.by_alpha),
        "transformers, one batch of all": partial(plain, model, tokenizer, work, [work.requests]),
        LIKELIHOOD: partial(likelihood, model, tokenizer, work, texts),
        PRODUCT: partial(product, left, torch.randn(model.config.hidden_size, model.config.intermediate_size)),
    }
    return {f"{side}, {count} threads": partial(with_threads, count, run) for side, run in sides.items() for count in threads}


@contextmanager
def llama_sides(path: Path, work: Workload, threads: list[int]) -> Iterator[dict[str, Callable[[], object]]]:
    """llama.cpp on a GGUF file, and on the same with its tensors dequantised."""
    with tempfile.TemporaryDirectory() as aside:
        whole = Path(aside) / "float32.gguf"
        llama_cpp.as_float32(path, whole)
        sides: dict[str, Callable[[], object]] = {}
        rows, tokens = len(work.by_alpha[0]), max(map(len, work.ids)) + work.new
        for name, file in {"llama.cpp, the file as it is": path, "llama.cpp, dequantised": whole}.items():
            model = llama_cpp.LlamaCpp(file, rows, tokens, 1)
            for count in threads:
                sides[f"{name}, {count} threads"] = partial(on_threads, model, count, partial(with_llama_cpp, model, work))
        yield sides


def table(seconds: dict[str, list[float]], threads: int, work: Workload, model: Any) -> str:
    """Medians on so many threads."""
    suffix = f", {threads} threads"
    median = {side.removesuffix(suffix): statistics.median(runs) for side, runs in seconds.items() if side.endswith(suffix)}
    config = model.config
    rate = 2 * PRODUCTS * PRODUCT_ROWS * config.hidden_size * config.intermediate_size / median.pop(PRODUCT)
    weights = sum(module.weight.numel() for module in model.modules() if isinstance(module, torch.nn.Linear))
    checked = median.pop(LIKELIHOOD)
    title = f"### {threads} threads, {len(work.requests)} rows of {work.new} tokens, block {work.layer}"
    lines = [f"{title}: {PRODUCT} {rate / 1e9:.0f} GFLOP/s", ""]
    lines += [
        "| side | new tokens per second | share of that rate | probesteer's speed over it | seconds |",
        "|---|---|---|---|---|",
    ]
    for side, took in median.items():
        speed, runs = work.tokens / took, ", ".join(f"{run:.1f}" for run in seconds[side + suffix])
        lines.append(f"| {side} | {speed:.0f} | {2 * weights * speed / rate:.0%} | {took / median[OURS]:.2f} | {runs} |")
    runs = ", ".join(f"{run:.1f}" for run in seconds[LIKELIHOOD + suffix])
    lines.append(f"| {LIKELIHOOD}, {checked / median[OURS]:.0%} of the writing |  |  |  | {runs} |")
    return "\n".join(lines)


def profiled(run: Callable[[], object]) -> str:
    """Shares of the time of a run on one thread, by kind of work."""
    draw = engine.sample

    def named(*arguments: Any) -> torch.Tensor:
        with record_function("sampling"):
            return draw(*arguments)

    engine.sample = named
    try:
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            run()
    finally:
        engine.sample = draw
    events = [event for event in seen.events() or [] if event.device_type == torch.autograd.DeviceType.CPU]
    spent: Counter[str] = Counter()
    for event in events:
        spent[_part(event)] += event.self_cpu_time_total
    begins, ends = min(event.time_range.start for event in events), max(event.time_range.end for event in events)
    spent["Python, between operations"] = ends - begins - spent.total()
    lines = ["| part | share |", "|---|---|"]
    lines += [f"| {part} | {time / (ends - begins):.1%} |" for part, time in spent.most_common()]
    return "\n".join(lines)


def _part(event: Any) -> str:
    """What kind of work an operation does: that of the outermost operation that says so."""
    chain = [event]
    while chain[-1].cpu_parent:
        chain.append(chain[-1].cpu_parent)
    if any(step.name == "sampling" for step in chain):
        return "sampling"
    for step in reversed(chain):
        for part, names in PARTS.items():
            if step.name in names or (part == "attention" and step.name.startswith(names)):
                return part
    return "other operations"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=SMOLLM2)
    parser.add_argument("--alphas", type=int, default=8)
    parser.add_argument("--samples", type=int, default=8, help=f"of each of {SCENARIOS} scenarios at each alpha")
    parser.add_argument("--tokens", type=int, default=48, help="that each row writes")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--llama-cpp", action="store_true")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    threads = [int(count) for count in args.threads.split(",")]
    with loaded(args.model) as (model, tokenizer, _folder):
        endless(model, tokenizer)
        work = Workload(model, tokenizer, args.alphas, args.samples, args.tokens)
        sides = sides_of(model, tokenizer, work, threads)
        if args.profile:
            torch.set_num_threads(1)
            print(profiled(partial(continuations, model, tokenizer, work.requests, work.new, TEMPERATURE)))
        elif args.llama_cpp:
            with llama_sides(args.model, work, threads) as more:
                seconds = timed(sides | more, args.repeats)
        else:
            seconds = timed(sides, args.repeats)
        if not args.profile:
            print("\n\n".join(table(seconds, count, work, model) for count in threads))


if __name__ == "__main__":
    main()
