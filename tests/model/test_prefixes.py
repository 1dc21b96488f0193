"""One neutral token before every text: which one, that it reaches every reader of texts, and that nobody sees it."""

import pytest
import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import Fluency
from emotion_circuits.model import Sampling, Site, generate, intervene, load_model, observe
from emotion_circuits.model.intervening import Add
from emotion_circuits.model.positions import REST
from emotion_circuits.model.prefixes import neutral_prefix
from emotion_circuits.model.source import ModelSource
from emotion_circuits.planted.models import PlantedSpec
from emotion_circuits.planted.texts import planted_tokenizer
from emotion_circuits.study import StudyConfig, run_study
from families import tiny_model, tiny_tokenizer


def test_which_token_stands_before_every_text():
    tokenizer = tiny_tokenizer()
    assert neutral_prefix(tokenizer) == (tokenizer.bos_token_id,)
    assert neutral_prefix(tokenizer, "none") == ()
    tokenizer.bos_token = None
    assert neutral_prefix(tokenizer) == (tokenizer.eos_token_id,)
    tokenizer.eos_token = None
    assert neutral_prefix(tokenizer) == ()  # a line break is unknown to it
    begins_itself, _ = planted_tokenizer(PlantedSpec())
    assert neutral_prefix(begins_itself) == ()


@pytest.fixture
def folder(tmp_path):
    model = tiny_model("llama")
    model.hf.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_a_loaded_model_and_its_copies_begin_texts_alike(folder):
    plain, begun = load_model(folder), load_model(folder, prefix="auto")
    assert (plain.prefix, begun.prefix) == ((), (1,))
    assert ModelSource.of(begun).load().prefix == (1,)
    assert begun.tokenize(["ab"]).input_ids.tolist() == [[1, *plain.tokenize(["ab"]).input_ids[0].tolist()]]
    assert begun.tokenize(["ab"]).offsets == (((0, 0), (0, 1), (1, 2)),)
    # A chat template brings its own beginning.
    assert begun.encode(["ab"], add_special_tokens=False) == plain.encode(["ab"], add_special_tokens=False)
    with pytest.raises(EmotionCircuitsError, match="has no tokens"):
        begun.tokenize([""])
    with pytest.raises(EmotionCircuitsError, match="load it with prefix='none'"):
        run_study(StudyConfig(model=str(folder)), folder / "run", model=begun)


def test_the_prefix_is_neither_shown_nor_scored(folder):
    plain, begun = load_model(folder), load_model(folder, prefix="auto")
    how = Sampling(max_new_tokens=6, min_new_tokens=6)
    (out,) = generate(begun, ["ab"], how)
    assert out.prompt == "ab"
    assert len(out.token_ids) == 6
    by_hand = plain.tokenizer.decode([1]) + "ab"
    assert by_hand == "<s>ab"
    batch = plain.collate([[1, *plain.encode(["ab"]).ids[0], *out.token_ids]])
    with torch.inference_mode():
        nats = -torch.log_softmax(plain.logits(batch)[0].double(), -1)
    expected = nats[torch.arange(2, 8), torch.tensor(out.token_ids)].mean()
    row = Fluency(begun).score(["ab"], [out.text]).iloc[0]
    assert row.n_tokens == 6
    assert row.nats == pytest.approx(float(expected), rel=1e-4)


def test_the_rest_of_a_text_holds_its_first_word(folder):
    model = load_model(folder, prefix="auto")
    site, vector = Site("resid_post", 0), torch.ones(model.d_model)
    states = []
    for change in ((), (Add(site=site, positions=REST, vector=vector, alpha=1.0),)):
        with torch.inference_mode(), intervene(model, change), observe(model, [site]) as record:
            model.hidden(model.tokenize(["ab"]))
        states.append(record[site][0])
    moved = (states[1] - states[0]).abs().amax(-1) > 0.5
    assert moved.tolist() == [False, True, True]
