"""The same work with repeng and steering-vectors; run by the Python of an environment that has them.

python -m venv peers && peers/bin/pip install torch==2.13.0 repeng steering-vectors
"""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from repeng import ControlModel, ControlVector
from repeng.extract import batched_get_hiddens
from steering_vectors import SteeringVector, record_activations
from workload import load_workload, timed


def generate(model, tokenizer, work: dict, together: bool) -> None:
    """All prompts and samples of one alpha: in one padded batch, or in a batch per prompt."""
    tokens = work["new_tokens"]
    for prompts in [work["prompts"]] if together else [[prompt] for prompt in work["prompts"]]:
        rows = [prompt for prompt in prompts for _ in range(work["samples"])]
        batch = tokenizer(rows, return_tensors="pt", padding=True, return_token_type_ids=False)
        model.generate(**batch, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=True, temperature=0.7, top_k=0)


def extraction(model, tokenizer, work: dict, repeats: int) -> dict[str, list[float]]:
    def steering_vectors() -> None:
        with torch.inference_mode():
            for text in work["texts"]:
                with record_activations(model, layer_nums=work["layers"]) as recorded:
                    model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False))
                for layer in work["layers"]:
                    recorded[layer][0].float().mean(1)

    def repeng(batch: int) -> None:
        batched_get_hiddens(model, tokenizer, work["texts"], work["layers"], batch)

    sides = {"steering-vectors, batch 1": steering_vectors}
    for batch in (1, 4, 8):
        sides[f"repeng, batch {batch} (last token)"] = partial(repeng, batch)
    return timed(sides, repeats)


def sweep(model, tokenizer, work: dict, repeats: int) -> dict[str, list[float]]:
    direction = np.zeros(model.config.hidden_size, dtype=np.float32)
    direction[3] = 1
    layer = work["steer_at"]
    vector = SteeringVector({layer: torch.tensor(direction)})

    def steering_vectors(together: bool) -> None:
        for alpha in work["alphas"]:
            with vector.apply(model, multiplier=alpha):
                generate(model, tokenizer, work, together)

    def repeng(together: bool) -> None:
        for alpha in work["alphas"]:
            control.set_control(ControlVector("llama", {layer: direction}), alpha)
            generate(control, tokenizer, work, together)

    batches = {"a batch per alpha": True, "a batch per alpha and prompt": False}
    seconds = timed({f"steering-vectors, {name}": partial(steering_vectors, whole) for name, whole in batches.items()}, repeats)
    control = ControlModel(model, [layer])  # puts its modules into the model, for good
    return seconds | timed({f"repeng, {name}": partial(repeng, whole) for name, whole in batches.items()}, repeats)


if __name__ == "__main__":
    folder, task, repeats, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    model, tokenizer, work = load_workload(Path(folder))
    run = {"extraction": extraction, "sweep": sweep}[task]
    print(json.dumps(run(model, tokenizer, work, int(repeats))))
