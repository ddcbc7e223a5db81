"""repeng with a control vector of ours; run by the Python of an environment that has it, and asked by `carried.py`.

One line of JSON a question: the token ids, the file of the vector (or null), its dose, and where the answer goes, an .npz file.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from repeng import ControlModel, ControlVector
from transformers import AutoModelForCausalLM


def main(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for line in sys.stdin:
        asked = json.loads(line)
        ids, found = torch.tensor([asked["ids"]]), {}
        with torch.inference_mode():
            if asked["vector"]:
                vector = ControlVector.import_gguf(asked["vector"])
                found = {str(layer): direction for layer, direction in vector.directions.items()}
                control = ControlModel(model, list(vector.directions))  # puts its modules into the model
                control.set_control(vector, asked["dose"])
                logits = control(ids, use_cache=False).logits
                control.unwrap()
            else:
                logits = model(ids, use_cache=False).logits
        np.savez(asked["answer"], logits=logits[0].numpy(), **found)
        print(asked["answer"], flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
