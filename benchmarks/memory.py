"""Peak memory of extraction against the number of texts: python benchmarks/memory.py   prints a Markdown table.

Each count runs in a process of its own that loads a model, captures every block of every text and writes the cache.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from workload import write_workload

from probesteer.files.tables import peak_memory_mb


def extract(folder: Path, texts: int) -> None:
    """Write the activation cache of `texts` texts of four words; prints what it took, in MB."""
    from probesteer.concepts.pairs import Pair
    from probesteer.detection.activations import cache_rows, write_activations
    from probesteer.lm.card import model_card
    from probesteer.study.model import Model

    words = json.loads((folder / "workload.json").read_text())["texts"][0].split()
    pair = Pair(id="p", scenario="the_maze", split="train", voice="first_person", positive="a", negative="b")
    text = " ".join(words[:4])
    pairs = [
        pair.model_copy(update={"id": f"p{i}", "positive": f"{text} {i}", "negative": f"{i} {text}"}) for i in range(texts // 2)
    ]
    card = model_card(Model(name="random", source=str(folder), dtype="float32", chat_template=False), "random")
    rows = cache_rows(pairs, [pair.id for pair in pairs], [], 0)
    write_activations(card, rows, None, "mean", folder / "cache.parquet", {})
    weights, cache = ((folder / name).stat().st_size / 2**20 for name in ("model.safetensors", "cache.parquet"))
    print(json.dumps([round(size) for size in (cache, peak_memory_mb(), peak_memory_mb() - weights)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--folder", type=Path, help="of a workload: do the one count that is given, in this process")
    args = parser.parse_args()
    if args.folder:
        return extract(args.folder, args.texts[0])
    print("| texts | cache on disk, MB | peak of the process, MB | weights apart, MB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        write_workload(Path(folder), "memory", 1)
        for texts in args.texts:
            command = [sys.executable, __file__, "--folder", folder, "--texts", str(texts)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            print(f"| {texts:,} | {' | '.join(map(str, json.loads(done.stdout)))} |")


if __name__ == "__main__":
    main()
