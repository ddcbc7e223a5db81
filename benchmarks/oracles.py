"""Is a push the same push elsewhere? The engine against TransformerLens and llama.cpp, each in code of its own.

python benchmarks/oracles.py [MODEL ...]   prints a Markdown table. A model is a folder with a checkpoint, or a GGUF file, which
llama.cpp reads too, as it is and with its tensors dequantised to float32. What is not installed is named as not run:

python -m venv oracles && oracles/bin/pip install -r requirements.lock && oracles/bin/pip install --no-deps -e .
oracles/bin/pip install -c requirements.lock transformer-lens==4.3.0 xllamacpp==2026.10.11549
"""

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp
import numpy as np
import torch
from workload import ROOT

from probesteer.lm.capture import capture
from probesteer.lm.engine.prefill import prefill
from probesteer.lm.generate import continuations
from probesteer.lm.gguf import convert
from probesteer.lm.load import encode_prompt, load_model
from probesteer.lm.request import Request
from probesteer.study.model import Model

ORGANISMS = [ROOT / "resources/organisms" / name for name in ("llama", "qwen2", "phi3")]
TEXTS = (
    "The nurse saw the old man fall and walked back to him. The last bus was about to leave,",
    "A bell rings twice. The wall is old and grey, and the light is low. Nobody came to the",
)
DEPTHS, SHARE, NEW, PREFIXES = (0.25, 0.5, 0.75), 0.5, 24, 4

Logits = Callable[[Sequence[int], int, np.ndarray | None], np.ndarray]
"""(token ids, block, push or None) to the logits of every position, float (tokens, vocabulary)."""


@contextmanager
def loaded(path: Path) -> Iterator[tuple[Any, Any, Path]]:
    """(model, tokenizer, folder with the weights) of a checkpoint in float32 on the CPU; a GGUF file is dequantised first."""
    with tempfile.TemporaryDirectory() as aside:
        folder = path
        if path.suffix == ".gguf":
            folder = Path(aside) / "model"
            convert(Model(name=path.stem, source=str(path)), path, folder)
        yield *load_model(str(folder), dtype="float32", device="cpu"), folder


def transformer_lens(folder: Path) -> Logits:
    """The logits of TransformerLens's bridge, with the push at `hook_resid_post`."""
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32)

    @torch.inference_mode()
    def logits(ids: Sequence[int], block: int, push: np.ndarray | None) -> np.ndarray:
        add = torch.zeros(bridge.cfg.d_model) if push is None else torch.from_numpy(push)
        hooks = [(f"blocks.{block}.hook_resid_post", lambda hidden, hook: hidden + add)]
        return bridge.run_with_hooks(torch.tensor([ids]), return_type="logits", fwd_hooks=hooks)[0].numpy()

    return logits


def of_llama_cpp(path: Path, vocabulary: int) -> Logits:
    """The logits of llama.cpp, with the push as its control vector."""
    model = llama_cpp.LlamaCpp(path, 1, 256, torch.get_num_threads())

    def logits(ids: Sequence[int], block: int, push: np.ndarray | None) -> np.ndarray:
        model.push(block, push)
        return model.logits(ids, vocabulary)

    return logits


class Agreement(NamedTuple):
    """How far an oracle and the engine agree on a push at a block."""

    block: int
    unpushed: float
    """Largest difference of logits without the push."""
    pushed: float
    """The same under the push."""
    alike: list[float]
    """Correlation over logits of what its push does at the block with what ours does at the block before, there, and after."""
    same: float
    """Share of our greedy tokens under the push that are its own too."""


class Ours:
    """What the engine makes of every text under the push at every block, and without: all rows of one batch."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        count, hidden = model.config.num_hidden_layers, model.config.hidden_size
        self.blocks = sorted({max(1, round(depth * count)) for depth in DEPTHS})
        sites = sorted({near for block in self.blocks for near in (block - 1, block, block + 1) if near < count})
        direction = np.random.default_rng(0).standard_normal(hidden).astype(np.float32)
        direction /= np.linalg.norm(direction)
        norms = capture(model, tokenizer, TEXTS, self.blocks).norms.mean(0)
        self.pushes = {block: SHARE * float(norm) * direction for block, norm in zip(self.blocks, norms, strict=True)}
        self.prompts = [encode_prompt(tokenizer, text) for text in TEXTS]
        self.asked = [(text, block) for text in range(len(TEXTS)) for block in self.blocks]
        requests = [self._request(TEXTS[text], block, block) for text, block in self.asked]
        answers = continuations(model, tokenizer, requests, NEW, temperature=0)
        self.rows = [self.prompts[text] + answer.tokens for (text, _), answer in zip(self.asked, answers, strict=True)]
        self.ends = [[len(ids) * part // PREFIXES for part in range(1, PREFIXES + 1)] for ids in self.rows]
        self.logits = {site: self._logits(model, site) for site in (None, *sites)}

    def _request(self, prompt: str, site: int | None, like: int) -> Request:
        """The push of block `like`, made at block `site`, or nowhere."""
        length = float(np.linalg.norm(self.pushes[like]))
        return Request(prompt, site, self.pushes[like] / length, length)

    def _logits(self, model: Any, site: int | None) -> list[np.ndarray]:
        """Of each row's prefixes, padded in one batch, with the row's push made at `site`: (prefixes, vocabulary)."""
        prefixes = [(row, end) for row, ends in enumerate(self.ends) for end in ends]
        requests = [self._request("", site, self.asked[row][1]) for row, _ in prefixes]
        found = prefill(model, [self.rows[row][:end] for row, end in prefixes], requests, 1).logits.numpy()
        return list(found.reshape(len(self.rows), PREFIXES, -1))

    def compared(self, theirs: Logits) -> Iterator[Agreement]:
        """Ours against theirs, per block."""
        for block in self.blocks:
            near = block - 1, block, block + 1
            unpushed, pushed, same, effects = 0.0, 0.0, [], []
            for row, (text, asked) in enumerate(self.asked):
                if asked != block:
                    continue
                ids, at = self.rows[row], np.array(self.ends[row]) - 1
                moved, plain = theirs(ids, block, self.pushes[block]), theirs(ids, block, None)
                unpushed = max(unpushed, float(np.abs(plain[at] - self.logits[None][row]).max()))
                pushed = max(pushed, float(np.abs(moved[at] - self.logits[block][row]).max()))
                effects.append([(moved - plain)[at], *(self.logits[site][row] - self.logits[None][row] for site in near)])
                start = len(self.prompts[text])
                same += list(moved[start - 1 : -1].argmax(-1) == ids[start:])
            their, *ours = (np.concatenate([effect[side].ravel() for effect in effects]) for side in range(4))
            alike = [float(np.corrcoef(their, own)[0, 1]) for own in ours]
            yield Agreement(block, unpushed, pushed, alike, float(np.mean(same)))


def sides_of(path: Path, folder: Path, vocabulary: int, aside: Path) -> Iterator[tuple[str, Callable[[], Logits] | str]]:
    """Each oracle, and what makes its logits or why it is not run."""
    lens = importlib.util.find_spec("transformer_lens")
    yield "TransformerLens", (lambda: transformer_lens(folder)) if lens else "transformer-lens is not installed"
    fault = "" if llama_cpp.installed() else "xllamacpp is not installed"
    fault = fault if path.suffix == ".gguf" else "no GGUF file"
    yield "llama.cpp, the file as it is", fault or (lambda: of_llama_cpp(path, vocabulary))

    def dequantised() -> Logits:
        llama_cpp.as_float32(path, aside / "float32.gguf")
        return of_llama_cpp(aside / "float32.gguf", vocabulary)

    yield "llama.cpp, dequantised", fault or dequantised


def print_table(
    models: Sequence[Path], sides: Callable[[Path, Path, int, Path], Iterator[tuple[str, Callable[[], Logits] | str]]]
) -> None:
    """A row for each model, side and block, as Markdown."""
    print("| model | oracle | block | unpushed logits differ by | pushed by | effect correlates with ours", end="")
    print(" a block before | at the block | a block after | greedy tokens in common |")
    print("|---|---|---|---|---|---|---|---|---|")
    for path in models:
        with loaded(path) as (model, tokenizer, folder), tempfile.TemporaryDirectory() as aside:
            ours, vocabulary = Ours(model, tokenizer), model.config.vocab_size
            for oracle, side in sides(path, folder, vocabulary, Path(aside)):
                if isinstance(side, str):
                    print(f"| {path.stem} | {oracle} | not run: {side} |  |  |  |  |  |  |")
                    continue
                for found in ours.compared(side()):
                    numbers = [f"{found.unpushed:.0e}", f"{found.pushed:.0e}", *(f"{value:.4f}" for value in found.alike)]
                    print("|", " | ".join([path.stem, oracle, str(found.block), *numbers, f"{found.same:.0%}"]), "|")
                sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, default=ORGANISMS)
    print_table(parser.parse_args().models, sides_of)


if __name__ == "__main__":
    main()
