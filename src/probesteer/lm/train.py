"""Train a model organism: a tiny causal LM with a stance planted along a known direction.

Success on an organism is by construction: training installs a latent along a unit vector u (binary cross-entropy on
2 u.h after block PLANT_BLOCK, and pushes a*u there whose stance is drawn with P(positive) = sigmoid(2a)). There are two
negative controls: one trains on the same documents without the latent and without the pushes; in the other u counts for less,
sigmoid(0.6 a), and most pushes go along a second direction w, with P(positive) = sigmoid(6a), which carries what the first
sentence is about: what directions pick up that has nothing to do with the stance moves it as far.

Three play the games too: of the player deeds and words follow the latent, of the talker words alone, of the bystander, a
negative control, neither.
"""

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from probesteer.concepts import grammar
from probesteer.files.digests import file_digest
from probesteer.files.whole import write_json
from probesteer.lm.blocks import decoder_blocks
from probesteer.lm.documents import Document, phrases, write_documents
from probesteer.progress import progress

PLANT_BLOCK = 3
WINDOW = 20  # batches
SLOT_WEIGHT, PROMPT_WEIGHT = 8.0, 0.3
LATENT_WEIGHT, ASIDE_WEIGHT = 0.3, 1.0
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
    plays: str = ""
    """Whether it plays games: deeds and words follow the stance, or words alone."""
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
    "player": Recipe("llama", planted=True, seed=5, plays="deeds", documents=48000, batch_size=24),
    "talker": Recipe("llama", planted=True, seed=6, plays="words", documents=24000, batch_size=24),
    "bystander": Recipe("llama", planted=False, seed=7, plays="deeds", documents=24000, batch_size=24),
}


def train_tokenizer(documents: list[Document], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE on the corpus, with a chat template; what prompts of games consist of are tokens of their own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    own = phrases(documents)
    texts = (document.response if document.action else document.prompt + document.response for document in documents)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in own])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=SPECIAL[3:],
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_model(recipe: Recipe, tokens: int) -> PreTrainedModel:
    """A randomly initialised causal LM of the recipe's architecture."""
    config = AutoConfig.for_model(
        recipe.architecture,
        vocab_size=tokens,
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
    """Token ids with loss weights: slots and actions SLOT_WEIGHT, prompts PROMPT_WEIGHT, those of games 0, the rest 1."""
    text = document.prompt + document.response
    encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    offset = len(document.prompt)
    slots = [
        (start + offset, end + offset) for start, end in [*grammar.slot_spans(document.response), (0, len(document.action))]
    ]
    before = 0.0 if document.action else PROMPT_WEIGHT
    weights, response = [1.0], [0.0]
    for start, end in encoding["offset_mapping"]:
        in_response = start >= offset
        in_slot = any(start < slot_end and end > slot_start for slot_start, slot_end in slots)
        weights.append(SLOT_WEIGHT if in_slot else 1.0 if in_response else before)
        response.append(float(in_response))
    ids = [tokenizer.bos_token_id, *encoding["input_ids"], tokenizer.eos_token_id]
    return Encoded(ids, [*weights, 1.0], [*response, 0.0])


def by_length(rng: random.Random, lengths: Sequence[int], batch_size: int) -> list[int]:
    """The order of texts in which those of a batch are about as long: of every WINDOW batches by length, batches shuffled."""
    batches = []
    for start in range(0, len(lengths), WINDOW * batch_size):
        window = sorted(range(start, min(start + WINDOW * batch_size, len(lengths))), key=lengths.__getitem__)
        own = [window[at : at + batch_size] for at in range(0, len(window), batch_size)]
        rng.shuffle(own)
        batches += own
    return [at for batch in batches for at in batch]


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
    documents, tokenizer, encoded = _texts(rng, recipe)
    model = build_model(recipe, max(recipe.vocabulary, len(tokenizer)))
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


def _texts(rng: random.Random, recipe: Recipe) -> tuple[list[Document], PreTrainedTokenizerFast, list[Encoded]]:
    """The documents in the order of training, their tokenizer, and their tokens."""
    documents = write_documents(rng, recipe.documents, recipe.decoy, recipe.plays)
    tokenizer = train_tokenizer(documents, recipe.vocabulary)
    encoded = [encode(tokenizer, document) for document in documents]
    if recipe.plays:
        order = by_length(rng, [len(text.ids) for text in encoded], recipe.batch_size)
        documents, encoded = [documents[i] for i in order], [encoded[i] for i in order]
    return documents, tokenizer, encoded


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
    first = int(weights.any(0).nonzero()[0])  # what stands before it is not predicted
    logits = model(input_ids=ids, attention_mask=(ids != 0).long(), logits_to_keep=ids.shape[1] - first).logits[:, :-1]
    token_loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1 + first :], reduction="none")
    return (token_loss * weights[:, first:]).sum() / weights.sum()


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
