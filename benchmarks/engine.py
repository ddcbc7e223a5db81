"""Extraction and sweep against the reference way, plain transformers, and (with --peers) repeng and steering-vectors.

python benchmarks/engine.py extraction|sweep [--size 12x768] [--peers peers/bin/python]   prints a Markdown table.
The reference way is that of the usual notebook: a forward pass per layer at batch 1, a generation per sample without a
key-value cache.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from workload import SIZES, load_workload, markdown, timed, write_workload

from probesteer.lm.capture import capture
from probesteer.lm.generate import Request, generate_tokens, steering

OURS = "probesteer"


def extraction(model, tokenizer, work: dict, repeats: int) -> dict[str, list[float]]:
    """Mean-pooled activations of every text at every layer."""
    encoded = [torch.tensor([tokenizer(text)["input_ids"]]) for text in work["texts"]]

    @torch.inference_mode()
    def reference() -> None:
        for layer in work["layers"]:
            for ids in encoded:
                model(input_ids=ids, output_hidden_states=True).hidden_states[layer + 1].mean(1)

    @torch.inference_mode()
    def bare() -> None:
        for ids in encoded:
            hidden = model.model.embed_tokens(ids)
            rotary = model.model.rotary_emb(hidden, torch.arange(hidden.shape[1])[None])
            for block in model.model.layers[: max(work["layers"]) + 1]:
                hidden = block(hidden, position_embeddings=rotary)

    return {
        OURS: timed(lambda: capture(model, tokenizer, work["texts"], work["layers"]), repeats),
        "bare blocks, batch 1": timed(bare, repeats),
        "reference way": timed(reference, 1),
    }


def sweep(model, tokenizer, work: dict, repeats: int) -> dict[str, list[float]]:
    """Every prompt at every alpha, `samples` texts each."""
    direction = np.zeros(model.config.hidden_size, dtype=np.float32)
    direction[3] = 1
    layer, tokens = work["steer_at"], work["new_tokens"]
    requests = [
        Request(prompt, layer, direction, float(alpha), (0, number, sample))
        for number, prompt in enumerate(work["prompts"])
        for alpha in work["alphas"]
        for sample in range(work["samples"])
    ]
    settings = {"do_sample": True, "temperature": 0.7, "top_k": 0, "max_new_tokens": tokens, "min_new_tokens": tokens}

    def plain() -> None:
        rows = tokenizer([request.prompt for request in requests], return_tensors="pt", padding=True)
        model.generate(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"], **settings)

    def reference() -> None:
        for request in requests:
            push = torch.tensor(request.alpha * direction)[None]
            ids = torch.tensor([tokenizer(request.prompt)["input_ids"]])
            with steering(model, {layer}, {layer: push}):
                model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **settings)

    return {
        OURS: timed(lambda: generate_tokens(model, tokenizer, requests, tokens, 0.7), repeats),
        "plain transformers, unsteered, one batch": timed(plain, repeats),
        "reference way": timed(reference, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["extraction", "sweep"])
    parser.add_argument("--size", choices=SIZES, default="12x768")
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3, help="of every side but the reference way, which runs once")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", type=Path, help="the Python of an environment with repeng and steering-vectors")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        write_workload(Path(folder), args.size, args.texts)
        run = {"extraction": extraction, "sweep": sweep}[args.task]
        seconds = run(*load_workload(Path(folder)), args.repeats)
        if args.peers:
            script = Path(__file__).parent / "peers.py"
            command = [args.peers, script, folder, args.task, str(args.repeats), str(args.threads)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            seconds |= json.loads(done.stdout.splitlines()[-1])
    print(markdown(f"{args.task}, {args.size}, {args.threads} CPU threads", seconds, OURS))


if __name__ == "__main__":
    main()
