"""What a model is asked: rendered whole, the same on every day, tokenised as its template wrote it."""

import datetime
import time

import pytest
from conftest import ORGANISMS
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

from probesteer.errors import InputError
from probesteer.lm.load import encode_prompt, load_tokenizer, render_prompt, settled

SYSTEM, USER = "Be brief.", "I put the old man before the route."
TURNS = "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% endfor %}{{ '<|assistant|>' }}"


@pytest.fixture
def tokenizer():
    return AutoTokenizer.from_pretrained(ORGANISMS / "llama")


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages if m.role == 'user' %}{{ '<|user|>' + m.content }}{% endfor %}",
        "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}<|user|>{{ messages[0].content }}",
        "<|user|>{{ messages[0].content }}",  # of two turns it shows the first alone
    ],
)
def test_a_template_without_a_system_role_gets_its_text_in_the_user_turn(template, tokenizer):
    tokenizer.chat_template = template
    assert render_prompt(tokenizer, SYSTEM, USER) == f"<|user|>{SYSTEM}\n\n{USER}"


def test_white_space_that_a_template_trims_is_no_lost_turn(tokenizer):
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}{% endfor %}"
    assert render_prompt(tokenizer, f"  {SYSTEM}\n", f"{USER}\n") == f"[system]{SYSTEM}[user]{USER}"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ messages[0].role }}", "drops the text of a turn"),
        ("{{ raise_exception('not today') }}", "fails: not today"),
        ("{% for m in messages %}", "fails: Unexpected end of template"),
        ("{{ 1 / 0 }}", "fails: division by zero"),
        ("{{ messages[7].content.strip() }}", "fails: list object has no element 7"),
    ],
)
def test_a_template_that_fails_or_drops_the_user_turn_is_one_line(template, says, tokenizer):
    tokenizer.chat_template = template
    with pytest.raises(InputError, match=f"{says}.*; mend it, or set chat_template: false"):
        render_prompt(tokenizer, SYSTEM, USER)


def test_a_template_that_loops_is_one_line_after_a_while(tokenizer, monkeypatch):
    monkeypatch.setattr("probesteer.lm.load.RENDERING", 0.2)
    tokenizer.chat_template = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    before = time.monotonic()
    with pytest.raises(InputError, match=r"the chat template is not done after 0.2 seconds; mend it"):
        render_prompt(tokenizer, SYSTEM, USER)
    assert time.monotonic() - before < 2
    time.sleep(0.3)  # no alarm is left


def test_arguments_reach_the_template(tokenizer):
    template = TURNS + "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}{{ note }}"
    tokenizer.chat_template = settled(template, {"enable_thinking": False, "note": 'a "b" {{ c }}', "nothing": None})
    assert render_prompt(tokenizer, SYSTEM, USER).endswith('<think></think>a "b" {{ c }}')


def test_the_date_of_a_template_is_pinned(tokenizer, monkeypatch, tmp_path):
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }} {{ strftime_now('%Y-%m-%d') }}" + TURNS
    tokenizer.save_pretrained(tmp_path)

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return datetime.datetime(2031, 1, 2, tzinfo=tz)

    pinned = load_tokenizer(str(tmp_path))
    today = render_prompt(pinned, SYSTEM, USER)
    monkeypatch.setattr(chat_template_utils, "datetime", Later)
    assert render_prompt(tokenizer, SYSTEM, USER).startswith("02 Jan 2031"), "the clock is another one now"
    assert render_prompt(pinned, SYSTEM, USER) == today and today.startswith("26 Jul 2024 2024-07-26<|system|>")


@pytest.fixture
def closing(tokenizer):
    """A tokenizer that puts <s> before a text and </s> behind it."""
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    assert tokenizer(USER)["input_ids"][0] == 1 and tokenizer(USER)["input_ids"][-1] == 2
    return tokenizer


def test_an_end_of_sequence_token_never_ends_a_plain_prompt(closing):
    bare = closing(USER, add_special_tokens=False)["input_ids"]
    assert encode_prompt(closing, USER) == [1, *bare]
    assert encode_prompt(closing, f"<s>{USER}") == [1, *bare]
    plain = render_prompt(closing, SYSTEM, USER, chat_template=False)
    assert encode_prompt(closing, plain)[0] == 1 and encode_prompt(closing, plain)[-1] != 2


@pytest.mark.parametrize("start", ["", "<s>"])
def test_a_rendered_template_is_tokenised_as_it_stands(start, closing):
    """As `apply_chat_template` does it: a template without a beginning-of-sequence token gets none."""
    closing.chat_template = start + TURNS
    ids = encode_prompt(closing, render_prompt(closing, SYSTEM, USER))
    turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER}]
    assert ids == closing.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert ids.count(1) == len(start) // 3 and 2 not in ids
