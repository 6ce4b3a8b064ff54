"""Fine-tuning by itself: what it learns, that it is the same twice, and goes on where it was."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from checkpoints import FAMILIES, save_classifier, save_encoder
from honed_adapt.encoders.lineage import Lineage, base_of, read_lineage, trained_to
from honed_adapt.encoders.store import EncoderFiles, import_encoder, open_encoder
from honed_adapt.training.examples import Example, examples_from, fingerprint, lacking
from honed_adapt.training.fit import Fit
from honed_adapt.training.network import Network
from honed_adapt.training.store import store_trained
from honed_adapt.training.train import Surroundings, data_of, train
from honed_adapt.training.tuning import Tuning, epoch_batches, epoch_rows, slices
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.encoders.texts import encode_texts
from honed_server.serving.tokenizer import Tokenizer

QUICK = Tuning(rank=4, rate=2e-3, head_rate=0.02, epochs=4, patience=4, dropout=0.05, seed=3)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> EncoderFiles:
    home = tmp_path_factory.mktemp("home")
    return open_encoder(home, import_encoder(save_encoder(home / "source"), home))


def examples(count: int = 60, model: str = "m", seen: int = 0) -> list[Example]:
    """Texts of two classes that words tell apart; one in five is held out."""
    found = []
    for n in range(count):
        label = ("grant", "notice")[n % 2]
        text = f"{('the grant of a license to work', 'a notice file for work')[n % 2]} {n}"
        digest = hashlib.sha256(text.encode()).digest()
        found.append(Example(model, n + 1, text, digest, label, seen=n < seen, held=n % 10 > 7))
    return found


def around(files: EncoderFiles, work: Path | None = None, **doors) -> Surroundings:
    tokenizer = Tokenizer(files)
    return Surroundings(
        lambda texts: [tokens.ids for tokens in tokenizer.tokenise(texts)], work=work, **doors
    )


def test_training_makes_classes_that_were_not_apart_apart(base):
    fit = Fit(Network(base, 2, QUICK), data_of(examples(), around(base).tokenise), QUICK)
    fit.start()
    before = fit.score()
    trained = train(base, examples(), QUICK, around(base))
    accuracy, loss = trained.progress.scores[trained.progress.best]
    assert loss < before[1]
    assert accuracy >= before[0]
    assert accuracy > 0.9


@pytest.mark.parametrize("kind", ["adapter", "full"])
def test_the_same_seed_gives_the_same_weights_and_another_gives_others(base, kind):
    tuning = replace(QUICK, kind=kind, epochs=1)
    one, same, other = (
        train(base, examples(30), replace(tuning, seed=seed), around(base)) for seed in (3, 3, 4)
    )
    assert all(torch.equal(one.tensors[name], same.tensors[name]) for name in one.tensors)
    assert not all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


def test_soft_labels_are_targets_and_name_classes(base):
    """Two words of one class in three to one parts are answered so, not as certain."""
    shares = (("grant", 0.75), ("notice", 0.25))
    rows = [
        replace(one, shares=shares, held=False) if one.label == "grant" else one
        for one in examples()
    ]
    assert fingerprint(rows) != fingerprint(examples())
    data = data_of(rows, around(base).tokenise)
    network = Network(base, 2, QUICK)
    fit = Fit(network, data, replace(QUICK, patience=50, epochs=12))
    fit.start()
    while not fit.progress.done:
        fit.advance()
    soft = [at for at, one in enumerate(rows) if one.shares]
    with torch.no_grad():
        odds = network.logits(fit.vectors(soft)).softmax(1).mean(0)
    assert odds[0].item() == pytest.approx(0.75, abs=0.1)
    only = [replace(one, shares=(("grant", 0.75), ("third", 0.25))) for one in rows[:1]]
    assert data_of([*only, *rows[1:]], around(base).tokenise).names[-1] == ("m", "third")


class Killed(BaseException):
    """Stands for a trainer's sudden end."""


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(base, tmp_path):
    whole = train(base, examples(), QUICK, around(base))
    steps = []

    def report(step, _steps, _left):
        steps.append(step)
        if step == 7:
            raise Killed

    with pytest.raises(Killed):
        train(base, examples(), QUICK, around(base, tmp_path, report=report, save_steps=3))
    again = []
    doors = {"report": lambda step, _steps, _left: again.append(step)}
    resumed = train(base, examples(), QUICK, around(base, tmp_path, **doors))
    assert again[0] == 7  # the checkpoint was that of step 6
    assert resumed.progress.scores == whole.progress.scores
    assert all(torch.equal(whole.tensors[k], resumed.tensors[k]) for k in whole.tensors)
    damaged = next(tmp_path.glob("*.safetensors"))
    damaged.write_bytes(damaged.read_bytes()[:-7])
    anew = train(base, examples(), QUICK, around(base, tmp_path))
    assert all(torch.equal(whole.tensors[k], anew.tensors[k]) for k in whole.tensors)


def test_a_checkpoint_of_other_labels_is_not_gone_on_with(base, tmp_path):
    first = train(base, examples(40), QUICK, around(base, tmp_path))
    others = [replace(one, weight=2.0) if one.position == 1 else one for one in examples(40)]
    assert fingerprint(others) != fingerprint(examples(40))
    second = train(base, others, QUICK, around(base, tmp_path))
    assert not all(torch.equal(first.tensors[k], second.tensors[k]) for k in first.tensors)


def test_what_a_champion_said_is_not_gone_on_with_when_it_says_nothing_any_more(base, tmp_path):
    rows = [replace(one, seen=True) for one in examples(40)]

    def champion(rows, names):
        said = np.zeros((len(rows), len(names)), np.float32)
        said[:, 0] = 1.0
        return said

    alone = train(base, rows, QUICK, around(base))
    heard = train(base, rows, QUICK, around(base, tmp_path), champion)
    assert not all(torch.equal(alone.tensors[k], heard.tensors[k]) for k in alone.tensors)
    anew = train(base, rows, QUICK, around(base, tmp_path))
    assert all(torch.equal(alone.tensors[k], anew.tensors[k]) for k in alone.tensors)


def test_every_slice_is_announced_so_that_serving_has_its_turn(base):
    pauses = []
    tuning = replace(QUICK, epochs=1, slice_tokens=32)
    train(base, examples(20), tuning, around(base, pause=lambda: pauses.append(1)))
    assert len(pauses) > 2 * 20 / QUICK.batch  # far more often than once a step


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["adapter", "full"])
def test_the_stored_encoder_computes_what_was_trained(tmp_path, family, kind):
    source = save_classifier(tmp_path / "source", family)
    files = open_encoder(tmp_path, import_encoder(source, tmp_path, classifier=True))
    tuning = replace(QUICK, kind=kind, epochs=1)
    trained = train(files, examples(20), tuning, around(files))
    lineage = Lineage(files.digest, files.digest, "r1", kind, {"m": 20})
    digest = store_trained(tmp_path, files, trained, lineage)
    assert digest != files.digest
    stored = open_encoder(tmp_path, digest)
    texts = [one.text for one in examples(4)]
    before = encode_texts(OnnxEncoder(files), Tokenizer(files), texts)
    after = encode_texts(OnnxEncoder(stored), Tokenizer(stored), texts)
    assert np.abs(after - before).max() > 1e-3
    assert read_lineage(tmp_path, digest) == lineage
    assert (base_of(tmp_path, digest), base_of(tmp_path, files.digest)) == (files.digest,) * 2
    assert (trained_to(tmp_path, digest, "m"), trained_to(tmp_path, digest, "x")) == (20, 0)


def test_models_trained_together_are_told_apart_only_among_their_own_labels(base):
    both = examples(40) + [
        replace(one, model="other", label=one.label.upper()) for one in examples(40)
    ]
    trained = train(base, both, QUICK, around(base))
    accuracy, _ = trained.progress.scores[trained.progress.best]
    assert accuracy > 0.9  # the same texts have other labels in the other model


def test_replayed_rows_listen_to_the_champion(base):
    rows = examples(40, seen=30)

    def says(found, names):
        odds = np.zeros((len(found), len(names)), np.float32)
        odds[:30, 0] = 1.0  # nonsense that can be seen in what comes out
        return odds

    plain = train(base, rows, replace(QUICK, epochs=1), around(base))
    led = train(base, rows, replace(QUICK, epochs=1), around(base), says)
    assert led.progress.scores[0][1] > plain.progress.scores[0][1]


def test_half_of_an_epoch_is_new_as_far_as_no_row_comes_too_often():
    labels = ["a", "b"] * 500
    old, new = list(range(900)), list(range(900, 1000))
    rows = epoch_rows(new, old, labels, 10_000, replace(QUICK, repeats=3), 0)
    assert sorted(set(rows)) == list(range(1000))
    assert all(rows.count(row) == 3 for row in new)
    rows = epoch_rows(new, old[:120], labels, 10_000, QUICK, 0)
    assert len(rows) == 220
    limited = epoch_rows([], list(range(900)), ["a"] * 890 + ["b"] * 10, 40, QUICK, 0)
    assert len(limited) == 40
    assert sum(row >= 890 for row in limited) == 10  # the rare class is there as a whole
    assert limited != epoch_rows([], list(range(900)), ["a"] * 890 + ["b"] * 10, 40, QUICK, 1)


def test_batches_hold_rows_of_like_length_and_all_of_them():
    lengths = [int(n) for n in np.random.default_rng(0).integers(3, 60, 500)]
    batches = epoch_batches(range(500), lengths, QUICK, 0)
    assert sorted(row for batch in batches for row in batch) == list(range(500))
    spread = np.mean([max(lengths[r] for r in b) - min(lengths[r] for r in b) for b in batches])
    assert spread < 5
    assert batches == epoch_batches(range(500), lengths, QUICK, 0)
    assert batches != epoch_batches(range(500), lengths, QUICK, 1)
    for part in slices(range(500), lengths, 128):
        assert len(part) == 1 or len(part) * max(lengths[row] for row in part) <= 128


def test_the_rate_rises_and_falls():
    shares = [replace(QUICK, warm_up=0.1).rate_share(step, 100) for step in range(100)]
    assert shares[9] == max(shares) == 1.0
    assert shares[:10] == sorted(shares[:10])
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert shares[99] < 0.02
    with pytest.raises(ValueError, match="above 0"):
        Tuning(rate=0)


def test_what_cannot_be_trained_on_is_said():
    assert lacking(examples(20)) is None
    one_class = [one for one in examples(20) if one.label == "grant"]
    assert "labels of 1 classes" in (lacking(one_class) or "")
    assert lacking([]) is not None
    assert [one.label for one in examples_from("m", [("a", "x"), ("b", "y"), ("a", "z")])] == [
        "z", "y",
    ]  # fmt: skip


def test_transformers_still_loads_what_was_made(tmp_path):
    """The names of the stored tensors stay those of the family."""
    source = save_classifier(tmp_path / "source", "bert")
    model = AutoModelForSequenceClassification.from_pretrained(source)
    files = open_encoder(tmp_path, import_encoder(source, tmp_path, classifier=True))
    network = Network(files, 2, QUICK)
    merged = network.merged()
    stored = {name.removeprefix("bert."): value for name, value in model.state_dict().items()}
    assert all(torch.allclose(merged[name], stored[name]) for name in merged)
