"""Numbers do not change without a bump of their NUMERICS version.

After a deliberate change: bump NUMERICS in the module, then `python tests/test_golden.py` writes the new values.
"""

import json
from pathlib import Path

import numpy as np

from probesteer.concepts import grammar
from probesteer.detection import activations
from probesteer.lm.capture import pooled_activations
from probesteer.lm.generate import generate
from probesteer.lm.load import load_model, render_prompt
from probesteer.lm.request import Request
from probesteer.steering import sweep

GOLDEN = Path(__file__).parent / "golden.json"
ORGANISM = Path(__file__).parent.parent / "resources/organisms/qwen2"


def current() -> dict:
    model, tokenizer = load_model(str(ORGANISM), device="cpu")
    scene = grammar.SCENES["the_maze"]
    prompt = render_prompt(
        tokenizer, grammar.SYSTEM_PROMPTS["neutral"][0], grammar.situation(scene, scene.persons[0], scene.goals[0])
    )
    direction = np.zeros(64, dtype=np.float32)
    direction[5] = 1
    requests = [Request(prompt, 3, direction, alpha, (0, "the_maze", sample)) for alpha in (0.0, 4.0) for sample in range(3)]
    pooled = pooled_activations(model, tokenizer, ["I put the old man before the route."])
    return {
        "steering": {"numerics": sweep.NUMERICS, "texts": generate(model, tokenizer, requests, 24, 0.7)},
        "activations": {"numerics": activations.NUMERICS, "values": pooled[0, :, :3].round(5).tolist()},
    }


def test_generated_texts_are_those_of_their_numerics_version():
    golden, now = json.loads(GOLDEN.read_text())["steering"], current()["steering"]
    assert now == golden, "texts changed: bump sweep.NUMERICS and write the golden file again"


def test_activations_are_those_of_their_numerics_version():
    golden, now = json.loads(GOLDEN.read_text())["activations"], current()["activations"]
    assert now["numerics"] == golden["numerics"]
    np.testing.assert_allclose(now["values"], golden["values"], atol=2e-4, err_msg="bump activations.NUMERICS")


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(current(), indent=1) + "\n")
