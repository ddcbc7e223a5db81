"""Extraction and sweep against the reference way, plain transformers, and (with --peers) repeng and steering-vectors.

python benchmarks/engine.py extraction|sweep|scaling [--size 12x768] [--peers peers/bin/python]   prints a Markdown table.
The reference way is that of the usual notebook: a forward pass per layer at batch 1, a generation per sample without a
key-value cache.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from workload import SIZES, load_workload, markdown, timed, write_workload

from probesteer.lm.blocks import decoder_blocks
from probesteer.lm.capture import capture
from probesteer.lm.engine.batch import batches, pad_rows
from probesteer.lm.generate import generate
from probesteer.lm.hooks import steering
from probesteer.lm.request import Request, push_rows

OURS = "probesteer"


def extraction(model, tokenizer, work: dict, repeats: int) -> dict[str, list[float]]:
    """Mean-pooled activations of every text at every layer."""
    rows = [tokenizer(text)["input_ids"] for text in work["texts"]]
    blocks = model.model.layers[: max(work["layers"]) + 1]

    @torch.inference_mode()
    def reference() -> None:
        for layer in work["layers"]:
            for ids in rows:
                model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[layer + 1].mean(1)

    @torch.inference_mode()
    def bare(tokens: int) -> None:
        for batch in batches([len(ids) for ids in rows], tokens):
            ids, _mask = pad_rows([rows[i] for i in batch], "right")
            hidden = model.model.embed_tokens(ids)
            rotary = model.model.rotary_emb(hidden, torch.arange(hidden.shape[1])[None])
            for block in blocks:  # causal, so what is padded on the right needs no mask
                hidden = block(hidden, position_embeddings=rotary)

    sides: dict[str, Callable[[], object]] = {OURS: lambda: capture(model, tokenizer, work["texts"], work["layers"])}
    for tokens in (1, 256, 512, 1024):
        sides[f"bare blocks, {f'{tokens} tokens' if tokens > 1 else 'one text'} a batch"] = partial(bare, tokens)
    return timed(sides, repeats) | timed({"reference way": reference}, 1)


def requests_of(work: dict, hidden: int) -> list[Request]:
    """Every prompt at every alpha, `samples` of each."""
    direction = np.zeros(hidden, dtype=np.float32)
    direction[3] = 1
    return [
        Request(prompt, work["steer_at"], direction, float(alpha), (0, number, sample))
        for number, prompt in enumerate(work["prompts"])
        for alpha in work["alphas"]
        for sample in range(work["samples"])
    ]


def sweep(model, tokenizer, work: dict, repeats: int) -> dict[str, list[float]]:
    """Texts of every prompt at every alpha."""
    requests, tokens = requests_of(work, model.config.hidden_size), work["new_tokens"]
    settings = {"do_sample": True, "temperature": 0.7, "top_k": 0, "max_new_tokens": tokens, "min_new_tokens": tokens}

    def plain() -> None:
        rows = tokenizer([request.prompt for request in requests], return_tensors="pt", padding=True)
        model.generate(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"], **settings)

    def reference() -> None:
        for request in requests:
            ids = torch.tensor([tokenizer(request.prompt)["input_ids"]])
            with steering(decoder_blocks(model), push_rows(model, [request])):
                model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **settings)

    sides = {
        OURS: partial(generate, model, tokenizer, requests, tokens, 0.7),
        "plain transformers, unsteered, one batch": plain,
    }
    return timed(sides, repeats) | timed({"reference way": reference}, 1)


def scaling(model, tokenizer, work: dict, repeats: int) -> dict[str, list[float]]:
    """What more texts, layers or cells cost."""
    texts, requests = work["texts"], requests_of(work, model.config.hidden_size)
    blocks = model.config.num_hidden_layers
    sides: dict[str, Callable[[], object]] = {}
    for share in (4, 2, 1):
        part = texts[::share]
        sides[f"extraction, {len(part)} texts, 5 blocks"] = partial(capture, model, tokenizer, part, work["layers"])
    for name, layers in {"the last block": [blocks - 1], "all blocks": range(blocks)}.items():
        sides[f"extraction, {len(texts)} texts, {name}"] = partial(capture, model, tokenizer, texts, layers)
    for share in (4, 2, 1):
        rows = [request for request in requests if request.seed_key[2] % share == 0]
        sides[f"sweep, {len(rows)} rows"] = partial(generate, model, tokenizer, rows, work["new_tokens"], 0.7)
    return timed(sides, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["extraction", "sweep", "scaling"])
    parser.add_argument("--size", choices=SIZES, default="12x768")
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3, help="of every side but the reference way, which runs once")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", type=Path, help="the Python of an environment with repeng and steering-vectors")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        write_workload(Path(folder), args.size, args.texts)
        run = {"extraction": extraction, "sweep": sweep, "scaling": scaling}[args.task]
        seconds = run(*load_workload(Path(folder)), args.repeats)
        if args.peers and args.task != "scaling":
            script = Path(__file__).parent / "peers.py"
            command = [args.peers, script, folder, args.task, str(args.repeats), str(args.threads)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            seconds |= json.loads(done.stdout.splitlines()[-1])
    print(markdown(f"{args.task}, {args.size}, {args.threads} CPU threads", seconds))


if __name__ == "__main__":
    main()
