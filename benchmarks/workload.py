"""What every side of a benchmark runs on: a model, texts and a sweep; and how they are timed.

Imports nothing of probesteer, so that peers in an environment of their own can use it.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

ROOT = Path(__file__).parent.parent
ORGANISM = ROOT / "resources/organisms/llama"
PAIRS = ROOT / "resources/concepts/empathy_in_action/pairs.jsonl"
SIZES = {
    "organism": {
        "vocab_size": 768,
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
    },
    "12x768": {
        "vocab_size": 32_000,
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    },
    "memory": {
        "vocab_size": 768,
        "hidden_size": 256,
        "intermediate_size": 64,
        "num_hidden_layers": 24,
        "num_attention_heads": 4,
    },
}
PROMPT_TOKENS = (20, 80, 160)


def write_workload(folder: Path, size: str, texts: int) -> None:
    """A random Llama of a size with the organisms' tokenizer, texts of 15 to 45 words, prompts of 20 to 160 tokens."""
    torch.manual_seed(0)
    config = AutoConfig.for_model("llama", **SIZES[size], max_position_embeddings=2048, pad_token_id=0, bos_token_id=1)
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config.eos_token_id = None  # every row writes all its tokens
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(ORGANISM)
    tokenizer.save_pretrained(folder)
    pairs = [json.loads(line) for line in PAIRS.read_text().splitlines()]
    sides = [pair[side].split() for pair in pairs for side in ("positive", "negative")]
    cut = [" ".join(words[: 15 + 7 * number % 31]) for number, words in enumerate(sides * (1 + texts // len(sides)))]
    long = tokenizer(" ".join(cut[:20]))["input_ids"]
    prompts = [tokenizer.decode(long[:count]) for count in PROMPT_TOKENS]
    blocks = config.num_hidden_layers
    workload = {
        "texts": cut[:texts],
        "layers": sorted({blocks * part // 12 for part in (2, 4, 6, 8, 10)}),
        "prompts": prompts,
        "alphas": [-10, -5, -1, 0, 1, 5, 10],
        "samples": 4,
        "new_tokens": 32,
        "steer_at": blocks // 2,
    }
    (folder / "workload.json").write_text(json.dumps(workload))


def load_workload(folder: Path) -> tuple:
    """(model, tokenizer, workload) in float32 on the CPU."""
    # from the bare file: older transformers cannot read the configuration that newer ones save
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), padding_side="left", pad_token="<pad>")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, tokenizer, json.loads((folder / "workload.json").read_text())


def timed(sides: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of `repeats` runs of each side; the sides take turns, so that a slow minute of the machine meets them all."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, run in sides.items():
            started = time.perf_counter()
            run()
            seconds[side].append(round(time.perf_counter() - started, 3))
    return seconds


def markdown(title: str, seconds: dict[str, list[float]]) -> str:
    """Medians, and how many times longer each side takes than the first."""
    base = statistics.median(next(iter(seconds.values())))
    lines = [f"### {title}", "", "| side | median seconds | times the first | runs |", "|---|---|---|---|"]
    for side, runs in seconds.items():
        median = statistics.median(runs)
        lines.append(f"| {side} | {median:.3f} | {median / base:.2f} | {', '.join(f'{run:.3f}' for run in runs)} |")
    return "\n".join(lines)
