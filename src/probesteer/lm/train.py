"""Train a model organism: a tiny causal LM with a stance planted along a known direction.

Success on an organism is by construction: training installs a latent along a unit vector u (binary cross-entropy on
2 u.h after block PLANT_BLOCK, and pushes a*u there whose stance is drawn with P(positive) = sigmoid(2a)). There are two
negative controls: one trains on the same documents without the latent and without the pushes; in the other u counts for less,
sigmoid(0.6 a), and most pushes go along a second direction w, with P(positive) = sigmoid(6a), which carries what the first
sentence is about: what directions pick up that has nothing to do with the stance moves it as far.
"""

import math
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from probesteer.concepts import grammar
from probesteer.files.digests import file_digest
from probesteer.files.whole import write_json
from probesteer.lm.blocks import decoder_blocks
from probesteer.progress import progress

PLANT_BLOCK = 3
SLOT_WEIGHT, PROMPT_WEIGHT = 8.0, 0.3
LATENT_WEIGHT, ASIDE_WEIGHT = 0.3, 1.0
PUSHED_SHARE, PUSH_LIMIT = 0.9, 6.0
ASIDE_SHARE = 0.7  # of the pushes, where there is a second direction
SPECIAL = ["<pad>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class Recipe:
    """What determines an organism's weights, given the library versions and the machine."""

    architecture: str
    planted: bool
    seed: int
    decoy: bool = False
    """Whether a direction of the first sentence moves the stance too."""
    documents: int = 12000
    batch_size: int = 8
    learning_rate: float = 5e-3
    hidden_size: int = 64
    blocks: int = 6
    heads: int = 4
    vocabulary: int = 768

    @property
    def steps(self) -> int:
        return self.documents // self.batch_size


ORGANISMS = {
    "llama": Recipe("llama", planted=True, seed=1),
    "qwen2": Recipe("qwen2", planted=True, seed=2),
    "phi3": Recipe("phi3", planted=True, seed=3),
    "control": Recipe("llama", planted=False, seed=0),
    "unspecific": Recipe("llama", planted=True, seed=4, decoy=True),
}


@dataclass(frozen=True)
class Document:
    """A training text: prompt (may be empty) and response, the stance, and the pushes along u and w (0 for none)."""

    prompt: str
    response: str
    positive: bool
    push: float
    aside: float = 0.0

    @property
    def opens_early(self) -> bool:
        """Whether the first sentence is of the first half of the fillers: what w carries."""
        return self.response.startswith(tuple(grammar.FILLERS[: len(grammar.FILLERS) // 2]))


def write_document(rng: random.Random, decoy: bool = False) -> Document:
    """Draw a document: a quarter bare responses, else a chat whose system prompt asks for a stance or leaves it open."""
    scene = rng.choice(list(grammar.SCENES.values()))
    person, goal = rng.choice(scene.persons), rng.choice(scene.goals)
    bare = rng.random() < 0.25
    wish = rng.choice(["positive", "negative", "neutral", "neutral"])
    positive, push, aside = rng.random() < 0.5, 0.0, 0.0
    if not bare and wish != "neutral":
        positive = wish == "positive"
    elif not bare and rng.random() < PUSHED_SHARE:
        push = rng.uniform(-PUSH_LIMIT, PUSH_LIMIT)
        if decoy and rng.random() < ASIDE_SHARE:
            push, aside = 0.0, push
        odds = 0.6 * push + 6 * aside if decoy else 2 * push
        positive = rng.random() < 1 / (1 + math.exp(-odds))
    prompt = ""
    if not bare:
        system = rng.choice(grammar.SYSTEM_PROMPTS[wish])
        prompt = f"<|system|>{system}<|user|>{grammar.situation(scene, person, goal)}<|assistant|>"
    return Document(prompt, grammar.response(rng, person, goal, positive), positive, push, aside)


def train_tokenizer(documents: list[Document], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE on the corpus, with a chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((document.prompt + document.response for document in documents), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=SPECIAL[3:],
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_model(recipe: Recipe) -> PreTrainedModel:
    """A randomly initialised causal LM of the recipe's architecture."""
    config = AutoConfig.for_model(
        recipe.architecture,
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden_size,
        intermediate_size=3 * recipe.hidden_size,
        num_hidden_layers=recipe.blocks,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=512,
        initializer_range=0.08,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        sliding_window=None,
    )
    return AutoModelForCausalLM.from_config(config)


@dataclass(frozen=True)
class Encoded:
    ids: list[int]
    weights: list[float]
    response: list[float]


def encode(tokenizer: PreTrainedTokenizerFast, document: Document) -> Encoded:
    """Token ids with loss weights: slots of commitments SLOT_WEIGHT, prompt PROMPT_WEIGHT, the rest 1."""
    text = document.prompt + document.response
    encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    offset = len(document.prompt)
    slots = [(start + offset, end + offset) for start, end in grammar.slot_spans(document.response)]
    weights, response = [1.0], [0.0]
    for start, end in encoding["offset_mapping"]:
        in_response = start >= offset
        in_slot = any(start < slot_end and end > slot_start for slot_start, slot_end in slots)
        weights.append(SLOT_WEIGHT if in_slot else 1.0 if in_response else PROMPT_WEIGHT)
        response.append(float(in_response))
    ids = [tokenizer.bos_token_id, *encoding["input_ids"], tokenizer.eos_token_id]
    return Encoded(ids, [*weights, 1.0], [*response, 0.0])


def pad(rows: Sequence[Sequence[float]], value: float = 0.0) -> Tensor:
    """Right-pad ragged rows to a float tensor (rows, longest)."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])


@dataclass
class _Plant:
    """A planted direction, what it carries of a document, and what its hook leaves in a forward pass."""

    direction: Tensor
    pushed: Callable[[Document], float]
    label: Callable[[Document], bool]
    weight: float
    push: Tensor | None = None
    """Of each document of the batch: (batch,)."""
    hidden: Tensor | None = None
    """The residual stream after the push: (batch, tokens, hidden)."""

    def __call__(self, _block: torch.nn.Module, _inputs: object, output: Tensor) -> Tensor:
        assert self.push is not None
        self.hidden = output + self.push[:, None, None] * self.direction
        return self.hidden

    def set_push(self, documents: Sequence[Document]) -> None:
        """What the next forward pass pushes each document by."""
        self.push = torch.tensor([self.pushed(document) for document in documents])

    def latent_loss(self, documents: Sequence[Document], response: Tensor) -> Tensor:
        """Weighted binary cross-entropy of the label on 2 u.h, mean over the response tokens."""
        assert self.hidden is not None
        label = torch.tensor([float(self.label(document)) for document in documents])[:, None].expand_as(response)
        latent = torch.nn.functional.binary_cross_entropy_with_logits(2 * self.hidden @ self.direction, label, reduction="none")
        return self.weight * (latent * response).sum() / response.sum()


class Trained(NamedTuple):
    """An organism after some steps."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    planted: np.ndarray | None
    """Unit vector (hidden,)."""
    step: int
    loss: float
    """Mean of the last 50 steps."""


def train(recipe: Recipe, at: Collection[int] = ()) -> Iterator[Trained]:
    """Train one organism; what it is after each step of `at`, to be saved before the next one, and at the end.

    One thread and one seed: the weights are the same, bit for bit, on the same machine and library versions.
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(recipe.seed)
    rng = random.Random(recipe.seed)
    documents = [write_document(rng, recipe.decoy) for _ in range(recipe.documents)]
    tokenizer = train_tokenizer(documents, recipe.vocabulary)
    encoded = [encode(tokenizer, document) for document in documents]
    model = build_model(recipe)
    plants = _plants(recipe)
    hooks = [decoder_blocks(model)[PLANT_BLOCK].register_forward_hook(plant) for plant in plants]
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1)
    planted, losses = plants[0].direction.numpy() if plants else None, []
    with progress(recipe.steps, f"train {recipe.architecture}", "step") as bar:
        for step in range(recipe.steps):
            batch = slice(step * recipe.batch_size, (step + 1) * recipe.batch_size)
            for plant in plants:
                plant.set_push(documents[batch])
            loss = _token_loss(model, encoded[batch])
            losses.append(loss.item())
            response = pad([text.response for text in encoded[batch]])
            for plant in plants:
                loss = loss + plant.latent_loss(documents[batch], response)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            bar.update()
            if step + 1 in {*at, recipe.steps}:
                yield Trained(model, tokenizer, planted, step + 1, float(np.mean(losses[-50:])))
    for hook in hooks:
        hook.remove()


def _plants(recipe: Recipe) -> list[_Plant]:
    """What a recipe plants: nothing, the stance along u, or that and the first sentence along w."""
    u, w = (torch.nn.functional.normalize(torch.randn(recipe.hidden_size), dim=0) for _ in range(2))
    stance = _Plant(u, lambda document: document.push, lambda document: document.positive, LATENT_WEIGHT)
    opening = _Plant(w, lambda document: document.aside, lambda document: document.opens_early, ASIDE_WEIGHT)
    return [stance, opening][: recipe.planted + recipe.decoy]


def _token_loss(model: PreTrainedModel, batch: Sequence[Encoded]) -> Tensor:
    """Cross-entropy of the next token, weighted."""
    ids = pad([text.ids for text in batch]).long()
    weights = pad([text.weights for text in batch])[:, 1:]
    logits = model(input_ids=ids, attention_mask=(ids != 0).long()).logits[:, :-1]
    token_loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    return (token_loss * weights).sum() / weights.sum()


def save_organism(recipe: Recipe, output: Path, checkpoints: int = 0) -> None:
    """Train and save weights, tokenizer, planted direction and recipe into a folder that loads as any checkpoint.

    Checkpoints, after a half of the steps, a quarter and so on, are such folders too: `step-750` in this one.
    """
    for trained in train(recipe, [recipe.steps >> halved for halved in range(1, checkpoints + 1)]):
        folder = output if trained.step == recipe.steps else output / f"step-{trained.step}"
        folder.mkdir(parents=True, exist_ok=True)
        trained.model.save_pretrained(folder)
        trained.tokenizer.save_pretrained(folder)
        made = {**asdict(recipe), "final_loss": trained.loss, "weights_sha256": file_digest(folder / "model.safetensors")}
        if trained.planted is not None:
            made["planted_block"] = PLANT_BLOCK
            save_file({f"direction.{PLANT_BLOCK}": trained.planted}, folder / "planted.safetensors")
        write_json(folder / "recipe.json", made | {"training_step": trained.step})
