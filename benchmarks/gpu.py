"""The engine on a GPU, with the shapes of Qwen2.5-7B at random weights: python benchmarks/gpu.py   prints a Markdown table.

--size tiny runs the same on a CPU. Rates are measured on the device at hand: the matrix rate on a large product in the model's
dtype, the bandwidth on a copy.
"""

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from workload import ORGANISM

from probesteer.lm.capture import capture
from probesteer.lm.engine.cache import cached_bytes
from probesteer.lm.generate import continuations
from probesteer.lm.request import Request

SIZES = {
    "qwen2.5-7b": {
        "shape": {
            "vocab_size": 152_064,
            "hidden_size": 3584,
            "intermediate_size": 18_944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "max_position_embeddings": 32_768,
        },
        "texts": 256,
        "layers": [12, 16, 20],
        "samples": 5,
        "new_tokens": 200,
        "product": 8192,
    },
    "tiny": {
        "shape": {
            "vocab_size": 1000,
            "hidden_size": 256,
            "intermediate_size": 1024,
            "num_hidden_layers": 4,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1024,
        },
        "texts": 8,
        "layers": [2],
        "samples": 1,
        "new_tokens": 8,
        "product": 1024,
    },
}
# The paper's grid for Qwen: 3 layers x 3 scenarios x 9 alphas x 5 samples are 405 texts.
MAX_TOKENS = 512  # of a captured text
ALPHAS, PROMPT_TOKENS = [-20, -10, -5, -3, 0, 3, 5, 10, 20], (120, 160, 200)


def seconds_of(run: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """Median seconds of `repeats` runs after one to warm up."""
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def text_of(tokenizer, tokens: int, seed: int) -> str:
    """A random text of about as many tokens."""
    return tokenizer.decode(np.random.default_rng(seed).integers(300, 700, tokens))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="qwen2.5-7b")
    size = SIZES[parser.parse_args().size]
    cuda = torch.cuda.is_available()
    device, dtype = torch.device("cuda" if cuda else "cpu"), torch.bfloat16 if cuda else torch.float32
    name = torch.cuda.get_device_name() if cuda else f"CPU, {platform.machine()}"
    torch.manual_seed(0)
    config = AutoConfig.for_model("qwen2", **size["shape"], dtype=dtype)
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    model.generation_config.eos_token_id = None  # every row writes all its tokens
    tokenizer = AutoTokenizer.from_pretrained(ORGANISM)
    tokenizer.eos_token = None

    square = torch.randn(size["product"], size["product"], device=device, dtype=dtype)
    flops = 2 * size["product"] ** 3 / seconds_of(lambda: square @ square, device)
    buffer = torch.empty(2**30 if cuda else 2**26, device=device, dtype=torch.uint8)
    bandwidth = 2 * buffer.numel() / seconds_of(buffer.clone, device)

    texts = [text_of(tokenizer, 2 * MAX_TOKENS, seed) for seed in range(size["texts"])]  # cut at MAX_TOKENS
    assert all(len(tokenizer(text)["input_ids"]) >= MAX_TOKENS for text in texts)
    block_parameters = sum(parameter.numel() for parameter in model.model.layers.parameters())
    attention = 2 * size["shape"]["num_hidden_layers"] * size["shape"]["hidden_size"] * MAX_TOKENS  # causal: half the square
    capture_flops = len(texts) * MAX_TOKENS * (2 * block_parameters + attention)
    capture_seconds = seconds_of(lambda: capture(model, tokenizer, texts, max_tokens=MAX_TOKENS), device)

    direction = np.random.default_rng(0).standard_normal(config.hidden_size).astype(np.float32)
    direction /= np.linalg.norm(direction)
    prompts = [text_of(tokenizer, tokens, 1000 + tokens) for tokens in PROMPT_TOKENS]
    requests = [
        Request(prompt, layer, direction, float(alpha), (0, number, sample))
        for layer in size["layers"]
        for number, prompt in enumerate(prompts)
        for alpha in ALPHAS
        for sample in range(size["samples"])
    ]
    new = size["new_tokens"]
    batch = continuations(model, tokenizer, requests, new, 0.7)[0].batch_rows
    sweep_seconds = seconds_of(lambda: continuations(model, tokenizer, requests, new, 0.7), device)
    # a step reads all weights once and the keys and values of its rows
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    tokens = sum(len(tokenizer(request.prompt)["input_ids"]) + new / 2 for request in requests)
    least_seconds = new * (weights * -(-len(requests) // batch) + tokens * cached_bytes(model, device)) / bandwidth

    print(f"### {name}, {dtype}, {datetime.date.today()}, torch {torch.__version__}\n")
    print("| what | value |\n|---|---|")
    print(f"| matrix rate, TFLOP/s | {flops / 1e12:.2f} |")
    print(f"| memory bandwidth, GB/s | {bandwidth / 1e9:.0f} |")
    print(f"| capture, {len(texts)} texts of {MAX_TOKENS} tokens, all blocks, seconds | {capture_seconds:.2f} |")
    print(f"| capture, tokens per second | {len(texts) * MAX_TOKENS / capture_seconds:,.0f} |")
    print(f"| capture, share of the measured matrix rate | {100 * capture_flops / capture_seconds / flops:.0f} % |")
    print(f"| sweep, {len(requests)} texts of {new} tokens, batches of {batch}, seconds | {sweep_seconds:.2f} |")
    print(f"| sweep, tokens per second | {len(requests) * new / sweep_seconds:,.0f} |")
    print(f"| sweep, share of the memory-bandwidth roofline | {100 * least_seconds / sweep_seconds:.0f} % |")


if __name__ == "__main__":
    main()
