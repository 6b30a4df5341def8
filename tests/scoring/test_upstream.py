"""RewardBench's script as a consumer: its pipeline class on our checkpoints gives our rewards under `upstream`.

`script_rewards` repeats `RewardBenchPipeline` and run_v2.py of allenai/reward-bench in the test, on stock transformers
without any code of ours; `test_the_packages_own_class_gives_our_rewards` runs the class itself where the package is
importable (`docs/rewardbench.md` says how).
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from conftest import WORDS, make_pairs, make_tokenizer
from rewardsmith.errors import RenderingError
from rewardsmith.modeling.checkpoint import save_checkpoint
from rewardsmith.modeling.layouts import pad_right
from rewardsmith.modeling.loading import load_base
from rewardsmith.modeling.reward_head import position_limit
from rewardsmith.records.checkpoint import CheckpointRecord
from rewardsmith.rendering import UpstreamRenderer, load_renderer
from rewardsmith.scoring import CachedScorer, LocalScorer
from rewardsmith.spec import Spec
from rewardsmith.types import Message

BOS_CHATML = (
    "{{ bos_token }}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
)
CONVERSATIONS = [pair.prompt + side for pair in make_pairs(12, seed=3) for side in (pair.chosen, pair.rejected)]


def save_model(
    folder: Path,
    *,
    bos: str | None = None,
    pad: str | None = "<|pad|>",
    side: str = "right",
    template: str = BOS_CHATML,
) -> Path:
    """A published checkpoint without `rewardsmith.json`: a tiny reward model and its tokenizer.

    With `bos` the tokenizer puts it before plain text, and the template writes it too: the script doubles it.
    """
    tokenizer = make_tokenizer(pad=pad)
    tokenizer.chat_template = template if bos else template.removeprefix("{{ bos_token }}")
    tokenizer.truncation_side = side
    if bos:
        from tokenizers.processors import TemplateProcessing

        tokenizer.add_special_tokens({"bos_token": bos})
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
        )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(5)
    config = transformers.Qwen3Config(
        vocab_size=420, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=4096, num_labels=1, problem_type="regression",
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    transformers.Qwen3ForSequenceClassification(config).save_pretrained(folder)
    return folder


def script_model(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer as run_v2.py loads and completes them, in float32 on the CPU."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    if tokenizer.pad_token_id is None:
        model.config.pad_token_id = tokenizer.eos_token_id
        tokenizer.pad_token_id = tokenizer.eos_token_id
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def script_texts(tokenizer: Any, conversations: Any) -> list[str]:
    """`prepare_dialogue_from_tokenizer`: the chat template over the messages, as a string."""
    messages = [[{"role": turn.role, "content": turn.content} for turn in texts] for texts in conversations]
    return [tokenizer.apply_chat_template(each, tokenize=False) for each in messages]


def script_rewards(folder: Path, conversations: Any, batch_size: int = 5) -> np.ndarray:
    """`RewardBenchPipeline.__call__`, batch by batch as in run_v2.py."""
    model, tokenizer = script_model(folder)
    texts = script_texts(tokenizer, conversations)
    rewards = []
    for start in range(0, len(texts), batch_size):
        inputs = tokenizer(
            texts[start : start + batch_size], truncation=True, max_length=2048, padding=True, return_tensors="pt"
        )
        if tokenizer.bos_token:
            mask, ids = inputs["attention_mask"], inputs["input_ids"]
            rows = torch.arange(len(ids))
            first = mask.argmax(dim=1)
            second = torch.clamp(first + 1, max=ids.shape[1] - 1)
            doubled = (ids[rows, first] == tokenizer.bos_token_id) & (ids[rows, second] == tokenizer.bos_token_id)
            mask[rows[doubled], first[doubled]] = 0
        with torch.no_grad():
            rewards += model(**inputs).logits[:, 0].tolist()
    return np.array(rewards)


def long_conversation(words: int) -> tuple[Message, ...]:
    return (Message("user", "Say red."), Message("assistant", " ".join(WORDS[i % len(WORDS)] for i in range(words))))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ours: the tiny base with a reward head, saved with `rewardsmith.json`."""
    base = save_model(tmp_path_factory.mktemp("base"))
    prepared = load_renderer(base, max_length=512)
    model = load_base(Spec(), base, prepared.tokenizer, seed=1)
    folder = tmp_path_factory.mktemp("run") / "model"
    record = CheckpointRecord(
        rewardsmith_version="0", base_model=str(base), rendering=prepared.record, data_fingerprints=()
    )
    save_checkpoint(folder, model, prepared, record)
    return folder


# The same rewards as the script


@pytest.mark.parametrize("layout", ["auto", "padded"])
@pytest.mark.parametrize(
    "options", [{}, {"bos": "<|bos|>"}, {"pad": None}, {"side": "left"}], ids=["chatml", "bos", "no pad", "left"]
)
def test_rewards_equal_the_scripts(tmp_path, options, layout):
    folder = save_model(tmp_path, **options)
    conversations = [*CONVERSATIONS, long_conversation(1500)]
    found = LocalScorer.load(folder, layout=layout).as_upstream().score(conversations)
    np.testing.assert_allclose(found, script_rewards(folder, conversations), atol=1e-5, rtol=0)


def test_a_checkpoint_of_ours_gives_the_same_rewards_both_ways(tmp_path, trained):
    scorer = LocalScorer.load(trained)
    found = scorer.as_upstream().score(CONVERSATIONS)
    np.testing.assert_allclose(found, script_rewards(trained, CONVERSATIONS), atol=1e-5, rtol=0)
    np.testing.assert_allclose(found, scorer.score(CONVERSATIONS), atol=1e-5, rtol=0)
    ours, theirs = scorer.render(CONVERSATIONS), scorer.as_upstream().render(CONVERSATIONS)
    assert all(np.array_equal(one.ids, two.ids) for one, two in zip(ours, theirs, strict=True))


def test_the_mask_of_a_doubled_bos_is_what_makes_them_equal(tmp_path):
    """Without it the rewards are others: the fault that the comparison must catch."""
    folder = save_model(tmp_path, bos="<|bos|>")
    upstream = LocalScorer.load(folder).as_upstream()
    wanted = script_rewards(folder, CONVERSATIONS)
    upstream.layout = type(upstream.layout)(upstream.layout.pad_token_id)
    assert np.abs(upstream.score(CONVERSATIONS) - wanted).max() > 1e-3


@pytest.mark.parametrize("bos", [None, "<|bos|>"])
def test_a_published_checkpoint_is_rendered_as_it_ships(tmp_path, bos):
    """Both read a ChatML checkpoint at its last newline, as its trainer did; only the script doubles a BOS."""
    scorer = LocalScorer.load(save_model(tmp_path, bos=bos))
    ours, theirs = scorer.render(CONVERSATIONS[:1])[0], scorer.as_upstream().render(CONVERSATIONS[:1])[0]
    assert ours.ids is not None
    assert theirs.ids is not None
    assert theirs.ids[0 if bos is None else 1 :].tolist() == ours.ids.tolist()
    assert scorer.checkpoint.renderer.tokenizer.decode(ours.ids).endswith("<|im_end|>\n")


# Rendering


def renderer(folder: Path, **options: Any) -> UpstreamRenderer:
    return UpstreamRenderer.load(folder, **options)


def test_a_doubled_bos_keeps_its_place_and_loses_its_mask(tmp_path):
    upstream = renderer(save_model(tmp_path, bos="<|bos|>"))
    ids = upstream.render_many(CONVERSATIONS[:1])[0].ids
    assert ids is not None
    assert ids[0] == ids[1] == upstream.bos_token_id
    inputs = pad_right([ids, ids[1:]], 0, upstream.bos_token_id)
    assert inputs["input_ids"][0].tolist() == ids.tolist()
    assert inputs["attention_mask"].tolist() == [[0] + [1] * (len(ids) - 1), [1] * (len(ids) - 1) + [0]]
    assert pad_right([ids], 0)["attention_mask"].min() == 1


@pytest.mark.parametrize("side", ["right", "left"])
def test_long_texts_are_cut_on_the_tokenizers_side(tmp_path, side):
    folder = save_model(tmp_path, side=side)
    upstream = renderer(folder)
    whole = transformers.AutoTokenizer.from_pretrained(folder)
    wanted = whole(script_texts(whole, [long_conversation(1500)])[0])["input_ids"]
    ids = upstream.render_many([long_conversation(1500)])[0].ids
    assert ids is not None
    assert ids.tolist() == (wanted[:2048] if side == "right" else wanted[-2048:])


def test_what_stands_behind_the_read_token_is_left_out(tmp_path):
    """Pad is EOS: transformers reads one token early, and so does the script."""
    folder = save_model(tmp_path, pad=None, template=BOS_CHATML.replace("<|im_end|>\n{%", "<|im_end|>{%"))
    upstream = renderer(folder)
    read = upstream.render_many(CONVERSATIONS[:1])[0].ids
    whole = renderer(folder, reads_last_token=False).render_many(CONVERSATIONS[:1])[0].ids
    assert read is not None
    assert whole is not None
    assert whole[-1] == upstream.pad_token_id
    assert read.tolist() == whole[:-1].tolist()
    np.testing.assert_allclose(
        LocalScorer.load(folder).as_upstream().score(CONVERSATIONS), script_rewards(folder, CONVERSATIONS), atol=1e-5
    )


def test_texts_that_the_script_fails_on_have_no_ids_and_a_reason(tmp_path):
    upstream = renderer(save_model(tmp_path), limit=8)
    long, broken = upstream.render_many([CONVERSATIONS[0], (Message("user", "\ud800"),)])
    assert (long.ids, long.reason) == (None, "over_length")
    assert (broken.ids, broken.reason) == (None, "not_unicode")


def test_a_tokenizer_without_template_is_refused(tmp_path):
    tokenizer = make_tokenizer(chat_template=None)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(RenderingError, match="needs a chat template") as caught:
        renderer(tmp_path)
    assert caught.value.fix == "write protocol: checkpoint"


def test_learned_positions_limit_the_length():
    gpt2 = transformers.GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=2, num_labels=1)
    roberta = transformers.RobertaConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=18, pad_token_id=1, num_labels=1,
    )  # fmt: skip
    assert position_limit(transformers.GPT2ForSequenceClassification(gpt2)) == 16
    assert position_limit(transformers.RobertaForSequenceClassification(roberta)) == 16
    qwen = transformers.Qwen3Config(
        vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        num_key_value_heads=1, head_dim=4, num_labels=1,
    )  # fmt: skip
    assert position_limit(transformers.Qwen3ForSequenceClassification(qwen)) is None


def test_a_cached_scorer_keeps_both_renderings_apart(tmp_path):
    """The script cuts a text at 2,048 tokens, and we do not."""
    scorer = CachedScorer(LocalScorer.load(save_model(tmp_path / "model", bos="<|bos|>")), tmp_path / "cache")
    long = (Message("user", "Go on."), Message("assistant", "ü" * 1300))
    conversations = [*CONVERSATIONS, long]
    ours, theirs = scorer.score(conversations), scorer.as_upstream().score(conversations)
    again = scorer.as_upstream()
    np.testing.assert_array_equal(again.score(conversations), theirs)
    assert again.reused == len(set(conversations))
    np.testing.assert_array_equal(scorer.score(conversations), ours)
    assert np.abs(ours - theirs).max() > 1e-3


# The package itself


def package_class() -> Any:
    """`rewardbench.models.pipeline.RewardBenchPipeline`, without the rest of the package and its old dependencies."""
    spec = importlib.util.find_spec("rewardbench")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the rewardbench package is absent: see docs/rewardbench.md")
    path = Path(spec.submodule_search_locations[0]) / "models" / "pipeline.py"
    one_file = importlib.util.spec_from_file_location("rewardbench_pipeline", path)
    assert one_file is not None
    assert one_file.loader is not None
    module = importlib.util.module_from_spec(one_file)
    one_file.loader.exec_module(module)
    return module.RewardBenchPipeline


@contextlib.contextmanager
def cuda_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class says `.to("cuda")`; here that leaves its inputs where they are."""
    with monkeypatch.context() as patch:
        patch.setattr(transformers.BatchEncoding, "to", lambda self, *args, **kwargs: self)
        yield


@pytest.mark.parametrize("options", [{}, {"bos": "<|bos|>"}, {"pad": None}], ids=["chatml", "bos", "no pad"])
def test_the_packages_own_class_gives_our_rewards(tmp_path, monkeypatch, options):
    folder = save_model(tmp_path, **options)
    pipeline_class = package_class()
    model, tokenizer = script_model(folder)
    pipeline = pipeline_class("text-classification", model=model, tokenizer=tokenizer)
    conversations = [*CONVERSATIONS, long_conversation(1500)]
    with cuda_is_the_cpu(monkeypatch):
        logits = pipeline(
            script_texts(tokenizer, conversations), batch_size=64, truncation=True, padding=True, max_length=2048,
            function_to_apply="none", return_token_type_ids=False,
        )  # fmt: skip
    wanted = logits.float().cpu().numpy()[:, 0]
    found = LocalScorer.load(folder).as_upstream().score(conversations)
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=0)
    np.testing.assert_allclose(script_rewards(folder, conversations), wanted, atol=1e-5, rtol=0)
    assert "rewardbench" not in sys.modules  # only the one file was run
