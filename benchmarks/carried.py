"""Does an exported direction steer elsewhere as it does here? Files of the verb `export`, opened by the loaders of other tools.

python benchmarks/carried.py [MODEL ...] [--repeng PYTHON]   prints a Markdown table. Models are those of `oracles.py`, whose
head says how its environment is made; repeng needs an older numpy, and so one of its own:

python -m venv repeng && repeng/bin/pip install torch==2.13.0 repeng==0.4.0
"""

import argparse
import importlib.util
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import gguf
import llama_cpp
import numpy as np
import torch
from oracles import ORGANISMS, Logits, print_table
from safetensors import safe_open

from probesteer.directions import Probe, save_probe
from probesteer.files.cards import write_card
from probesteer.lm.export import export

DIGEST = "0" * 64  # of the model that the push is for


def exported(folder: Path, ending: str, block: int, push: np.ndarray, model: Path) -> Path:
    """The push at a block as a file of the verb `export`, its length the declared dose."""
    config = json.loads((model / "config.json").read_text())
    length = float(np.linalg.norm(push))
    save_probe(Probe(block, push / length, length, 1.0, {"model": DIGEST}), folder / "probe.safetensors")
    card = {
        "digest": DIGEST,
        "source": str(model),
        "blocks": config["num_hidden_layers"],
        "architecture": config["architectures"][0],
    }
    write_card(folder / "card.json", card)
    export(folder / "probe.safetensors", folder / "card.json", folder / f"push{ending}")
    return folder / f"push{ending}"


def declared_dose(path: Path) -> float:
    """The dose that a control vector declares: what a user reads off the file and gives as its scale."""
    return float(gguf.GGUFReader(path).fields["probesteer.dose"].contents())


def transformer_lens(model: Path, aside: Path) -> Logits:
    """The logits of TransformerLens's bridge, with the block, direction and dose that an exported safetensors file names."""
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(str(model), device="cpu", dtype=torch.float32)

    @torch.inference_mode()
    def logits(ids: Sequence[int], block: int, push: np.ndarray | None) -> np.ndarray:
        hooks = []
        if push is not None:
            with safe_open(exported(aside, ".safetensors", block, push, model), "pt") as file:
                layer, dose = file.metadata()["layer"], float(file.metadata()["dose"])
                add = dose * file.get_tensor(f"direction.{layer}")
            hooks = [(f"blocks.{layer}.hook_resid_post", lambda hidden, hook: hidden + add)]
        return bridge.run_with_hooks(torch.tensor([ids]), return_type="logits", fwd_hooks=hooks)[0].numpy()

    return logits


def of_llama_cpp(weights: Path, model: Path, vocabulary: int, aside: Path) -> Logits:
    """The logits of llama.cpp, which opens an exported control vector itself, as `--control-vector-scaled FILE:DOSE` does."""
    runs = llama_cpp.LlamaCpp(weights, 1, 256, torch.get_num_threads())

    def logits(ids: Sequence[int], block: int, push: np.ndarray | None) -> np.ndarray:
        runs.push(1, None)
        if push is not None:
            file = exported(aside, ".gguf", block, push, model)
            runs.control_vector(file, declared_dose(file))
        return runs.logits(ids, vocabulary)

    return logits


class Repeng:
    """The logits of repeng, which opens an exported control vector itself, in an environment of its own."""

    def __init__(self, python: Path, model: Path, aside: Path) -> None:
        self.model, self.aside = model, aside
        script = Path(__file__).parent / "repeng_logits.py"
        self.process = subprocess.Popen(
            [python, script, model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"HF_HUB_OFFLINE": "1"}
        )
        self.directions: dict[int, np.ndarray] = {}
        """What it found in the last file, by its number of the block."""

    def __enter__(self) -> "Repeng":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.communicate()

    def __call__(self, ids: Sequence[int], block: int, push: np.ndarray | None) -> np.ndarray:
        vector = exported(self.aside, ".gguf", block, push, self.model) if push is not None else None
        asked = {"ids": list(ids), "vector": vector and str(vector), "dose": vector and declared_dose(vector)}
        assert self.process.stdin and self.process.stdout
        print(json.dumps({**asked, "answer": str(self.aside / "answer.npz")}), file=self.process.stdin, flush=True)
        assert self.process.stdout.readline(), "repeng ended; its message stands above"
        with np.load(self.aside / "answer.npz") as answer:
            self.directions = {int(name): answer[name] for name in answer.files if name != "logits"}
            return answer["logits"]


def sides_of(
    path: Path, folder: Path, vocabulary: int, aside: Path, python: Path | None
) -> Iterator[tuple[str, Callable | str]]:
    """Each tool with what it opens, and what makes its logits or why it is not run."""
    lens = importlib.util.find_spec("transformer_lens")
    yield (
        "TransformerLens, safetensors",
        ((lambda: transformer_lens(folder, aside)) if lens else "transformer-lens is not installed"),
    )
    yield "repeng, gguf", (lambda: Repeng(python, folder, aside)) if python else "no `--repeng`"
    fault = "" if llama_cpp.installed() else "xllamacpp is not installed"
    fault = fault if path.suffix == ".gguf" else "no GGUF file"

    def dequantised() -> Logits:
        llama_cpp.as_float32(path, aside / "float32.gguf")
        return of_llama_cpp(aside / "float32.gguf", folder, vocabulary, aside)

    yield "llama.cpp, gguf", fault or (lambda: of_llama_cpp(path, folder, vocabulary, aside))
    yield "llama.cpp with dequantised weights, gguf", fault or dequantised


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, default=ORGANISMS)
    parser.add_argument("--repeng", type=Path, help="the Python of an environment with repeng")
    args = parser.parse_args()
    print_table(args.models, lambda *where: sides_of(*where, args.repeng))


if __name__ == "__main__":
    main()
