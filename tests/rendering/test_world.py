"""Ten families of tokenizers: the ids of a conversation worked out by hand, and wrong variants that must be found."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_maker import make_checkpoint
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import chat_template_utils
from world_tokenizers import ENCODER_TEMPLATE, FAMILIES, world_base

from rewardsmith.doctor.checkpoints import checkpoint_findings
from rewardsmith.errors import RenderingError
from rewardsmith.modeling.exports import export_checkpoint
from rewardsmith.pipeline.commands.verify import verify_job
from rewardsmith.pipeline.events import Silent
from rewardsmith.rendering import Renderer, load_renderer
from rewardsmith.scoring import LocalScorer
from rewardsmith.types import Conversation, Message

ASKED = Message("user", "A river?")
ANSWERED = Message("assistant", "Loire.")
AGAIN = Message("user", "Sure?")
YES = Message("assistant", "Yes.")
SYSTEM = Message("system", "Be brief.")
THOUGHT = Message("assistant", "Yes.", reasoning_content="I know it.")
LONG = (ASKED, ANSWERED, AGAIN, YES)
TODAY = f"{datetime.now(UTC):%Y-%m-%d}"

HEADER = ("<|start_header_id|>", "<|end_header_id|>")
BOT, EOT = "<|begin_of_text|>", "<|eot_id|>"
IM, END = "<|im_start|>", "<|im_end|>"
TURN, CLOSE = "<start_of_turn>", "<end_of_turn>"
SENTENCE = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")
START, SAID, DONE, FINAL = "<|start|>", "<|message|>", "<|end|>", ("<|start|>", "assistant", "<|channel|>", "final")


def llama(role: str, text: str) -> tuple[str, ...]:
    return (HEADER[0], role, HEADER[1], f"\n\n{text}", EOT)


# LONG as each family's own files would write it, closed with its EOS. Pieces between special tokens stand alone.
WRITTEN: dict[str, tuple[str, ...]] = {
    "llama 3.1": (
        BOT,
        *llama("system", "Knowledge: 2023\n\n"),
        *llama("user", "A river?"),
        *llama("assistant", "Loire."),
        *llama("user", "Sure?"),
        *llama("assistant", "Yes."),
    ),
    "qwen 2.5": (
        *(IM, "system\nYou help.", END, "\n", IM, "user\nA river?", END, "\n", IM, "assistant\nLoire.", END, "\n"),
        *(IM, "user\nSure?", END, "\n", IM, "assistant\nYes.", END),
    ),
    "qwen 3": (
        *(IM, "user\nA river?", END, "\n", IM, "assistant\nLoire.", END, "\n", IM, "user\nSure?", END, "\n"),
        *(IM, "assistant\n", "<think>", "\n\n", "</think>", "\n\nYes.", END),
    ),
    "gemma 2": (
        *("<bos>", TURN, "user\nA river?", CLOSE, "\n", TURN, "model\nLoire.", CLOSE, "\n"),
        *(TURN, "user\nSure?", CLOSE, "\n", TURN, "model\nYes.", CLOSE, "\n", "<eos>"),
    ),
    "mistral 0.3": (
        *("<s>", "[INST]", " A river?", "[/INST]", " Loire.", "</s>"),
        *("[INST]", " Sure?", "[/INST]", " Yes.", "</s>"),
    ),
    "tekken": ("<s>", "[INST]", "A river?", "[/INST]", "Loire.", "</s>", "[INST]", "Sure?", "[/INST]", "Yes.", "</s>"),
    "phi 4": (
        *(IM, "user", "<|im_sep|>", "A river?", END, IM, "assistant", "<|im_sep|>", "Loire.", END),
        *(IM, "user", "<|im_sep|>", "Sure?", END, IM, "assistant", "<|im_sep|>", "Yes.", END),
    ),
    "olmo 2": (
        *("<|endoftext|>", "<|user|>\nA river?\n<|assistant|>\nLoire.", "<|endoftext|>"),
        *("\n<|user|>\nSure?\n<|assistant|>\nYes.", "<|endoftext|>"),
    ),
    "deepseek v3": (
        *(SENTENCE[0], "<｜User｜>", "A river?", "<｜Assistant｜>", "Loire.", SENTENCE[1]),
        *("<｜User｜>", "Sure?", "<｜Assistant｜>", "Yes.", SENTENCE[1]),
    ),
    "gpt-oss": (
        *(START, "system", SAID, f"Date: {TODAY}", DONE, START, "user", SAID, "A river?", DONE, *FINAL, SAID, "Loire."),
        *(DONE, START, "user", SAID, "Sure?", DONE, *FINAL, SAID, "Yes.", "<|return|>"),
    ),
    "modernbert": ("[CLS]", "A river?", "[SEP]", "Loire.", "[SEP]", "Sure?", "[SEP]", "Yes.", "[SEP]"),
}
WRITTEN["gemma 3"] = WRITTEN["gemma 2"]
WRITTEN["smollm2"] = WRITTEN["qwen 2.5"]

# (EOS, BOS, pad) after preparation: names of tokens, from which the place in the vocabulary follows.
SETTLED = {
    "llama 3.1": (EOT, BOT, "<|finetune_right_pad_id|>"),
    "qwen 2.5": (END, None, "<|endoftext|>"),
    "qwen 3": (END, None, "<|endoftext|>"),
    "gemma 2": ("<eos>", "<bos>", "<pad>"),
    "gemma 3": ("<eos>", "<bos>", "<pad>"),
    "mistral 0.3": ("</s>", "<s>", "[control_768]"),
    "tekken": ("</s>", "<s>", "<pad>"),
    "phi 4": (END, "<|endoftext|>", "<|dummy_85|>"),
    "olmo 2": ("<|endoftext|>", "<|endoftext|>", "<|pad|>"),
    "deepseek v3": (SENTENCE[1], SENTENCE[0], "<｜▁pad▁｜>"),
    "gpt-oss": ("<|return|>", "<|startoftext|>", "<|endoftext|>"),
    "smollm2": (END, IM, "<|pad|>"),  # `<|endoftext|>` is its unknown token
    "modernbert": ("[SEP]", "[CLS]", "[PAD]"),
}
NAMES = sorted(FAMILIES)


def settled(name: str) -> list[int | None]:
    """The ids of SETTLED; a new token comes after the vocabulary."""
    tokens = FAMILIES[name].tokens
    places = {token: place for place, token in enumerate(tokens)} | {None: None, "<|pad|>": len(tokens) + 256}
    return [tokens.index(token) if token in tokens else places[token] for token in SETTLED[name]]


def renderer_of(name: str, **changes: Any) -> Renderer:
    template = ENCODER_TEMPLATE if name == "modernbert" else None
    return Renderer.from_tokenizer(FAMILIES[name].tokenizer(**changes), max_length=400, chat_template=template)


def test_each_family_is_worked_out() -> None:
    assert set(WRITTEN) == set(SETTLED) == set(FAMILIES)


@pytest.mark.parametrize("name", NAMES)
def test_a_conversation_has_the_ids_worked_out_by_hand_and_is_read_at_its_one_eos(name: str) -> None:
    family, renderer = FAMILIES[name], renderer_of(name)
    ids = renderer.ids(LONG).tolist()
    assert ids == family.spelled(*WRITTEN[name])
    eos, bos, pad = settled(name)
    assert (renderer.eos_token_id, renderer.record.bos_token_id, renderer.pad_token_id) == (eos, bos, pad)
    assert (ids[-1], ids[-2] == eos) == (eos, False)
    assert pad not in ids
    assert pad not in (eos, bos)
    assert renderer.record.added_pad_token == (name == "smollm2")  # elsewhere the embedding does not grow
    assert ids[:2].count(family.tokens.index(family.adds_bos) if family.adds_bos else -1) == bool(family.adds_bos)


@pytest.mark.parametrize("name", NAMES)
def test_plain_text_has_one_bos_where_the_tokenizer_adds_one_and_one_eos(name: str) -> None:
    family = FAMILIES[name]
    renderer = Renderer.from_tokenizer(family.tokenizer(), max_length=400, conversational=False)
    begin = (family.adds_bos,) if family.adds_bos else ()
    assert renderer.ids((Message("text", "A river"),)).tolist() == family.spelled(*begin, "A river", SETTLED[name][0])


@pytest.mark.parametrize("name", NAMES)
def test_a_generation_prompt_begins_the_conversation(name: str) -> None:
    """So that a policy continues where the reward model reads on. ModernBERT is asked nothing."""
    renderer = renderer_of(name)
    asked = renderer.text((ASKED, ANSWERED, AGAIN), add_generation_prompt=True)
    assert renderer.text(LONG).startswith(asked)
    headers = {"mistral 0.3": "[/INST]", "tekken": "[/INST]", "gpt-oss": "<|start|>assistant", "modernbert": "[SEP]"}
    headers |= {"deepseek v3": "<｜Assistant｜>", "phi 4": "assistant<|im_sep|>", "gemma 2": "model\n"}
    headers |= {"gemma 3": "model\n", "llama 3.1": "assistant<|end_header_id|>\n\n", "olmo 2": "<|assistant|>\n"}
    assert asked.endswith(headers.get(name, "<|im_start|>assistant\n"))


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("llama 3.1", (BOT, *llama("system", "Knowledge: 2023\n\nBe brief."), *llama("user", "A river?"))),
        ("qwen 2.5", (IM, "system\nBe brief.", END, "\n", IM, "user\nA river?", END, "\n")),
        ("qwen 3", (IM, "system\nBe brief.", END, "\n", IM, "user\nA river?", END, "\n")),
        ("smollm2", (IM, "system\nBe brief.", END, "\n", IM, "user\nA river?", END, "\n")),
        ("gemma 3", ("<bos>", TURN, "user\nBe brief.\n\nA river?", CLOSE, "\n")),
        ("mistral 0.3", ("<s>", "[INST]", " Be brief.\n\nA river?", "[/INST]")),
        ("tekken", ("<s>", "[SYSTEM_PROMPT]", "Be brief.", "[/SYSTEM_PROMPT]", "[INST]", "A river?", "[/INST]")),
        ("phi 4", (IM, "system", "<|im_sep|>", "Be brief.", END, IM, "user", "<|im_sep|>", "A river?", END)),
        ("olmo 2", ("<|endoftext|>", "<|system|>\nBe brief.\n<|user|>\nA river?")),
        ("deepseek v3", (SENTENCE[0], "Be brief.", "<｜User｜>", "A river?")),
        (
            "gpt-oss",
            (
                *(START, "system", SAID, f"Date: {TODAY}", DONE, START, "developer", SAID, "Be brief.", DONE),
                *(START, "user", SAID, "A river?", DONE),
            ),
        ),
    ],
)
def test_a_system_turn_stands_where_the_family_puts_it(name: str, before: tuple[str, ...]) -> None:
    ids = renderer_of(name).ids((SYSTEM, ASKED, ANSWERED)).tolist()
    wanted = FAMILIES[name].spelled(*before)
    assert ids[: len(wanted)] == wanted


def test_mistral_puts_the_system_turn_into_the_last_question_so_earlier_turns_are_no_prefix() -> None:
    renderer, family = renderer_of("mistral 0.3"), FAMILIES["mistral 0.3"]
    ids = renderer.ids((SYSTEM, *LONG)).tolist()
    first = ("<s>", "[INST]", " A river?", "[/INST]", " Loire.", "</s>")
    assert ids == family.spelled(*first, "[INST]", " Be brief.\n\nSure?", "[/INST]", " Yes.", "</s>")


def test_gemma_2_refuses_a_system_turn_and_the_row_says_so() -> None:
    found = renderer_of("gemma 2").render_many([(SYSTEM, ASKED, ANSWERED), (ASKED, ANSWERED)])
    assert [one.reason for one in found] == ["template_refused", ""]
    assert "no system turn" in found[0].detail


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("qwen 3", (IM, "assistant\n", "<think>", "\nI know it.\n", "</think>", "\n\nYes.", END)),
        (
            "gpt-oss",
            (
                *(START, "assistant", "<|channel|>", "analysis", SAID, "I know it.", DONE),
                *(*FINAL, SAID, "Yes.", "<|return|>"),
            ),
        ),
    ],
)
def test_thoughts_of_the_answer_are_shown_and_those_before_the_last_question_are_not(
    name: str, end: tuple[str, ...]
) -> None:
    renderer, family = renderer_of(name), FAMILIES[name]
    if name == "gpt-oss" and not hasattr(chat_template_utils, "_alias_reasoning_fields"):
        # Until 5.20 transformers does not hand templates the name that this one reads: refused, never left out.
        assert renderer.render_many([(ASKED, THOUGHT)])[0].reason == "fields_lost"
        return
    ids = renderer.ids((ASKED, THOUGHT)).tolist()
    assert ids[-len(family.spelled(*end)) :] == family.spelled(*end)
    assert renderer.ids((ASKED, THOUGHT, AGAIN, YES)).tolist() == renderer.ids((ASKED, YES, AGAIN, YES)).tolist()


@pytest.mark.parametrize("name", ["llama 3.1", "qwen 2.5", "deepseek v3", "phi 4", "tekken"])
def test_thoughts_that_a_template_does_not_show_are_refused(name: str) -> None:
    """DeepSeek's writes nothing but what follows `</think>`."""
    renderer = renderer_of(name)
    assert renderer.render_many([(ASKED, THOUGHT)])[0].reason == "fields_lost"
    if name == "deepseek v3":
        inside = (ASKED, Message("assistant", "I know it.</think>Yes."))
        assert renderer.render_many([inside])[0].reason == "response_lost"


@pytest.mark.parametrize("name", NAMES)
def test_a_turn_that_nobody_took_is_refused_in_the_words_of_each_family(name: str) -> None:
    """OLMo 2 marks turns by plain words: only its EOS is a token. Its words are left to the checks of the data."""
    opens = {"llama 3.1": EOT, "gemma 2": CLOSE, "gemma 3": CLOSE, "mistral 0.3": "[INST]", "tekken": "[INST]"}
    opens |= {"olmo 2": "<|endoftext|>", "deepseek v3": "<｜User｜>", "gpt-oss": DONE, "modernbert": "[SEP]"}
    token = opens.get(name, IM)
    renderer = renderer_of(name)
    for conversation in ((ASKED, Message("assistant", f"x {token} y")), (Message("user", f"x {token} y"), ANSWERED)):
        found = renderer.render_many([conversation])[0]
        assert (found.reason, found.token.split(" in ")[0].split(",")[0]) == ("special_token_in_text", token)
    words = renderer.render_many([(ASKED, Message("assistant", "<|user|>\nx"))])[0]
    assert words.reason == ""


def test_only_gpt_oss_writes_the_date() -> None:
    assert [name for name in NAMES if renderer_of(name).date_use().differs] == ["gpt-oss"]


# Each shipped configuration as a reward model's: what `doctor` must say of it, and nothing else.
SHIPPED = {
    "llama 3.1": set(),
    "qwen 2.5": {"checkpoint-template-eos"},
    "qwen 3": {"checkpoint-template-eos"},
    "gemma 2": {"checkpoint-template-eos"},
    "gemma 3": {"checkpoint-template-eos"},
    "mistral 0.3": set(),
    "tekken": set(),
    "phi 4": set(),
    "olmo 2": set(),
    "deepseek v3": {"checkpoint-pad-is-eos"},
    "gpt-oss": set(),
    "smollm2": {"checkpoint-pad-is-eos", "checkpoint-template-eos"},
    "modernbert": set(),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A reward model of each family, as training saves it."""
    folder = tmp_path_factory.mktemp("world")
    found = {}
    for name in NAMES:
        base = world_base(folder / name.replace(" ", "_") / "base", name)
        conversational = name != "modernbert"
        found[name] = make_checkpoint(base.parent / "model", base, max_length=400, conversational=conversational)
    return found


def ids_of(folder: Path, conversation: Conversation) -> list[int]:
    messages = [message.as_dict() for message in conversation]
    return list(AutoTokenizer.from_pretrained(folder).apply_chat_template(messages, tokenize=True)["input_ids"])


@pytest.mark.parametrize("name", NAMES)
def test_doctor_finds_nothing_in_ours_and_the_known_faults_in_the_shipped_tokenizer(
    saved: dict[str, Path], name: str, tmp_path: Path
) -> None:
    assert [one.rule for one in checkpoint_findings(saved[name])] == []
    shipped = tmp_path / "shipped"
    export_checkpoint(saved[name], shipped, "hf")
    (shipped / "rewardsmith.json").unlink()
    (shipped / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer = FAMILIES[name].tokenizer()
    tokenizer.save_pretrained(shipped)
    rules = {one.rule for one in checkpoint_findings(shipped)} - {"checkpoint-tokenizer-spelling"}
    wrong = json.loads((shipped / "config.json").read_text())
    if "checkpoint-pad-is-eos" in SHIPPED[name]:
        (shipped / "config.json").write_text(json.dumps(wrong | {"pad_token_id": tokenizer.pad_token_id}))
        said = {one.rule for one in checkpoint_findings(shipped)}
        assert "checkpoint-pad" in said
    assert rules == SHIPPED[name]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("gpt-oss", "modernbert")])
def test_an_export_s_tokenizer_alone_makes_the_ids_worked_out_by_hand(
    saved: dict[str, Path], name: str, tmp_path: Path
) -> None:
    export_checkpoint(saved[name], tmp_path / "out", "vllm")
    assert ids_of(tmp_path / "out", LONG) == FAMILIES[name].spelled(*WRITTEN[name])
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    eos, _, pad = settled(name)
    assert (config["pad_token_id"], config["eos_token_id"]) == (pad, eos)


@pytest.mark.parametrize("name", ["deepseek v3", "llama 3.1", "mistral 0.3", "olmo 2", "smollm2"])
def test_verify_passes_ours(saved: dict[str, Path], name: str) -> None:
    """The families in which one token has two parts, or a server could add one too many."""
    found = verify_job(str(saved[name]), Silent())
    verdicts = {path.path: path.verdict for path in found.paths}
    assert {verdicts[way] for way in ("padded", "saved template", "transformers")} == {"PASS"}
    assert not [one for one in found.findings if one.fails]


def test_a_bos_written_twice_is_refused_at_once() -> None:
    """What encoding a rendered text as plain text does with Llama 3, Gemma, Mistral and DeepSeek."""
    for name in ("llama 3.1", "gemma 2", "mistral 0.3", "deepseek v3"):
        family = FAMILIES[name]
        assert family.tokenizer()(renderer_of(name).text(LONG))["input_ids"][:2] == family.spelled(family.adds_bos) * 2
        doubled = "{{ bos_token }}" + str(family.template)
        with pytest.raises(RenderingError, match="begins with BOS twice"):
            Renderer.from_tokenizer(family.tokenizer(), max_length=400, chat_template=doubled)


def test_another_eos_closes_with_that_one_and_never_with_both_in_one_place() -> None:
    """Llama 3 base checkpoints name `<|end_of_text|>`; the template still writes `<|eot_id|>` before it."""
    family = FAMILIES["llama 3.1"]
    ids = renderer_of("llama 3.1", eos_token="<|end_of_text|>").ids(LONG).tolist()
    assert ids == family.spelled(*WRITTEN["llama 3.1"], "<|end_of_text|>")


def test_an_olmo_text_of_its_one_token_twice_is_no_doubled_bos_but_an_empty_answer() -> None:
    """BOS and EOS are one token: an empty question and answer keep words between them."""
    ids = renderer_of("olmo 2").ids((Message("user", ""), Message("assistant", ""))).tolist()
    assert ids == FAMILIES["olmo 2"].spelled("<|endoftext|>", "<|user|>\n\n<|assistant|>\n", "<|endoftext|>")


@pytest.mark.parametrize("name", ["deepseek v3", "smollm2"])
def test_pad_that_is_eos_is_replaced_from_the_vocabulary_and_rewards_stay_at_eos(
    saved: dict[str, Path], name: str
) -> None:
    """Stock transformers, which looks for the last id that is not pad, reads the same token."""
    scorer = LocalScorer.load(saved[name])
    model = AutoModelForSequenceClassification.from_pretrained(saved[name]).eval()
    ids = FAMILIES[name].spelled(*WRITTEN[name])
    pad = settled(name)[2]
    with torch.no_grad():
        stock = model(torch.tensor([ids + [pad] * 3]), attention_mask=torch.tensor([[1] * len(ids) + [0] * 3]))
    assert stock.logits[0, 0].item() == pytest.approx(float(scorer.score([LONG])[0]), abs=1e-5)


def test_a_tokenizer_of_another_family_in_a_checkpoint_is_refused(saved: dict[str, Path], tmp_path: Path) -> None:
    """Right words, wrong ids: the vocabularies have the same size and other tokens."""
    folder = tmp_path / "mixed"
    shutil.copytree(saved["qwen 2.5"], folder)
    for file in folder.glob("*token*"):
        file.unlink()
    (folder / "chat_template.jinja").unlink()
    FAMILIES["smollm2"].tokenizer(pad_token="<|endoftext|>").save_pretrained(folder)
    with pytest.raises(Exception, match=r"template|tokenizer|golden"):
        LocalScorer.load(folder)
    assert load_renderer(str(saved["qwen 2.5"].parent / "base"), max_length=400).ids(LONG).tolist()
