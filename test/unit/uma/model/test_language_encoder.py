"""The language encoder: texts to task tokens, by hashed words and by a frozen SigLIP 2 text tower through transformers'
own code."""

import dataclasses
import hashlib
import itertools
import os
import socket
import subprocess
import sys

import pytest
import torch
from siglip_folders import LENGTH, SENTENCES, WIDTH, save_siglip

from uma.model.config import LanguageConfig, ModelConfig, small, tiny
from uma.model.encoders import PointBatch, ReferenceBatch, TaskEncoder
from uma.model.inputs import Normalization
from uma.model.language import MAX_CHARACTERS, LanguageEncoder, WordTower, check_texts
from uma.types import InputError

FAMILIES = ["siglip", "siglip2"]
COMMANDS = [
    " ".join(words)
    for words in itertools.product(
        ["pick up the", "push the", "fold the"], ["red", "blue", "green"], ["cup", "towel", "spoon"]
    )
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("siglip")
    return {family: (root / family, save_siglip(root / family, family)) for family in FAMILIES}


def words(config: ModelConfig | None = None, layers: int = 2, **changes) -> LanguageEncoder:
    torch.manual_seed(0)
    language = LanguageConfig(**{"kind": "words", "layers": layers, "embedding": 32, **changes})
    return LanguageEncoder(dataclasses.replace(config or tiny(), language=language))


def siglip(folder, **changes) -> LanguageEncoder:
    return words(**{"kind": "siglip2", "max_tokens": LENGTH, "embedding": WIDTH, "path": str(folder), **changes})


def encoder(kind: str, folders) -> LanguageEncoder:
    return words() if kind == "words" else siglip(folders[kind][0])


@pytest.mark.parametrize("kind", ["words", *FAMILIES])
def test_text_gives_its_words_tokens_in_order(kind, folders):
    model = encoder(kind, folders)
    a, b, c = (
        "push the blue cup to the red plate",
        "push the red cup to the blue plate",
        "Push the BLUE cup to the red plate",
    )
    with torch.no_grad():
        tokens = model([a, b, c, a])
    assert tokens.shape == (4, tiny().task_tokens, tiny().width)
    assert torch.equal(tokens[0], tokens[3]) and torch.allclose(tokens[0], tokens[2], atol=1e-6)
    assert (tokens[0] - tokens[1]).std() > 0.05 * tokens.std()


@pytest.mark.parametrize("kind", ["words", *FAMILIES])
def test_padding_changes_nothing(kind, folders):
    model = encoder(kind, folders)
    short, long = "fold the towel", " ".join(SENTENCES)[:200]
    with torch.no_grad():
        assert torch.allclose(model([short])[0], model([short, long])[0], atol=1e-5)
        # and what stands in padded places is not read at all
        text = model.tower.embed([short, long])
        noise = torch.where(text.is_valid[..., None], text.tokens, torch.randn_like(text.tokens) * 10)
        before = model([short, long])
        model.tower.embed = lambda _: dataclasses.replace(text, tokens=noise)
        assert (~text.is_valid).any() and torch.allclose(before, model([short, long]), atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("preset", [tiny, small])
def test_tokens_differ_between_texts_as_much_as_tokens_do(preset, layers):
    """An encoder with a nearly constant initial output collapses in training (see `TaskEncoder`).

    These commands differ by one to four words.
    """
    with torch.no_grad():
        tokens = words(preset(), layers)(COMMANDS)
    assert tokens.std(0).mean() > 0.3 * tokens.std()


def test_text_tokens_differ_as_much_as_motion_tokens():
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    N, B = small().points.total, 16
    points = PointBatch(
        torch.randn(B, N, 3, generator=g) * 0.1 + torch.tensor([0, 0, 0.9]),
        torch.rand(B, N, 3, generator=g),
        torch.rand(B, N, generator=g) * 0.1,
    )
    start = torch.randn(B, 8, 3, generator=g) * 0.1 + torch.tensor([0, 0, 0.9])
    reference = ReferenceBatch(
        start + torch.randn(B, 8, 3, generator=g) * 0.1,
        start,
        torch.rand(B, 8, generator=g),
        torch.ones(B, 8, dtype=torch.bool),
    )
    with torch.no_grad():
        motion, text = TaskEncoder(small(), Normalization())(points, reference), words(small())(COMMANDS)
    assert 0.4 < text.std(0).mean() / motion.std(0).mean() < 2.5
    assert 0.4 < text.std() / motion.std() < 2.5


def test_commands_are_distinguishable_after_training():
    """48 steps teach the tokens which of three objects is meant, whatever the verb and the colour; verbs and colours
    are held out in part."""
    model = words(tiny())
    probe = torch.nn.Linear(tiny().width, 3)
    label = torch.arange(len(COMMANDS)) % 3
    is_train = torch.tensor([(i // 3) % 4 != 0 for i in range(len(COMMANDS))])
    texts = [c for c, t in zip(COMMANDS, is_train) if t]
    optimizer = torch.optim.AdamW([*model.parameters(), *probe.parameters()], 3e-3)
    for _ in range(48):
        loss = torch.nn.functional.cross_entropy(probe(model(texts).mean(1)), label[is_train])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        guess = probe(model(COMMANDS).mean(1)).argmax(-1)
    assert (guess == label)[is_train].all() and (guess == label)[~is_train].float().mean() > 0.8


@pytest.mark.slow
def test_words_are_hashed_the_same_in_every_process():
    tower = WordTower(LanguageConfig("words"))
    assert tower.row_pair("cup") == (2220, 1550)
    code = (
        "from uma.model.config import LanguageConfig as C; from uma.model.language import WordTower as W; "
        "print(W(C('words', embedding=2)).row_pair('cup'))"
    )
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"  # another than here
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == str(tower.row_pair("cup"))
    many = [f"word{i}" for i in range(1000)]
    assert len({tower.row_pair(w) for w in many}) == len(many)
    assert len({row for w in many for row in tower.row_pair(w)}) > 1500  # 2000 draws from 4096 rows: 1582 expected


def test_longer_texts_are_cut_at_the_number_of_tokens():
    model = words(max_tokens=4)
    with torch.no_grad():
        assert torch.equal(model(["put the red cup down now"]), model(["put the red cup away"]))
        assert not torch.allclose(model(["put the red cup down now"]), model(["put the red spoon down now"]))
    assert words(max_tokens=64).tower.embed(["cup " * 100]).tokens.shape == (1, 64, 32)


@pytest.mark.parametrize("family", FAMILIES)
def test_longer_texts_keep_the_end_token_of_the_tower(family, folders):
    path, _ = folders[family]
    model = siglip(path)
    ids = model.tower.tokenizer.encode(" ".join(SENTENCES)).ids
    assert len(ids) == LENGTH and ids[-1] == 1


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "holds no word"),
        (" .!? ", "holds no word"),
        (None, "holds no word"),
        ("cup " * 200, f"800 characters, limit {MAX_CHARACTERS}"),
    ],
)
def test_what_is_no_instruction_is_refused(text, message):
    with pytest.raises(InputError, match=rf"texts\[1\]: .*{message}"):
        words()(["fold the towel", text])
    check_texts(["x" * MAX_CHARACTERS])


@pytest.mark.parametrize("family", FAMILIES)
def test_tower_matches_the_hidden_states_of_transformers(family, folders):
    """As trained: lower-cased, <eos> at the end, padded to full length, and no attention mask."""
    path, model = folders[family]
    from transformers import PreTrainedTokenizerFast

    reference = PreTrainedTokenizerFast(
        tokenizer_file=str(path / "tokenizer.json"), pad_token="<pad>", eos_token="<eos>", padding_side="right"
    )
    inputs = reference(["fold the towel", "push the cup"], padding="max_length", max_length=LENGTH, return_tensors="pt")
    with torch.no_grad():
        expected = model.text_model(input_ids=inputs.input_ids).last_hidden_state
    text = siglip(path).tower.embed(["Fold the TOWEL", "push the cup"])
    assert torch.allclose(text.tokens, expected, atol=1e-6)
    attended = inputs.attention_mask.bool()
    attended[:, -1] = True
    assert torch.equal(text.is_valid, attended) and not attended.all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_with_the_text_tower_alone_gives_the_same(family, folders, tmp_path):
    path, model = folders[family]
    model.text_model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((path / "tokenizer.json").read_bytes())
    assert torch.equal(siglip(path)(COMMANDS), siglip(tmp_path)(COMMANDS))


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_of_the_tower_is_stored_or_trained(family, folders):
    model = siglip(folders[family][0]).train()
    tower = model.tower.tower.module
    stored = set(model.state_dict())
    assert stored == {name for name, _ in model.named_parameters()} and not any(
        name.startswith("tower.") for name in stored
    )
    assert not tower.training
    model(COMMANDS).square().mean().backward()
    assert all(p.grad is None and not p.requires_grad for p in tower.parameters())
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_every_parameter_of_the_word_encoder_is_trained():
    model = words()
    model(COMMANDS).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
    assert {"tower.words.weight", "tower.position.weight", "class_tokens", "queries"} < set(model.state_dict())


def test_what_does_not_fit_is_named(folders, tmp_path, monkeypatch):
    path, _ = folders["siglip"]
    sha256 = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    siglip(path, sha256=sha256)
    for changes, message in [
        ({"sha256": "f" * 64}, r"language\.sha256: .* must be ffff"),
        ({"path": str(tmp_path / "nowhere")}, r"language\.path: .*nowhere lacks config\.json"),
        ({"embedding": 768}, f"language.embedding: 768, must be {WIDTH}"),
        ({"max_tokens": 64}, f"language.max_tokens: 64, limit {LENGTH}"),
    ]:
        with pytest.raises(InputError, match=message):
            siglip(path, **changes)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((path / name).read_bytes())
    with pytest.raises(InputError, match=r"lacks tokenizer\.json"):
        siglip(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"language\.kind 'siglip2' needs .* pip install 'uma\[siglip2\]'"):
        siglip(path)


def test_language_encoder_needs_no_network(folders, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def refuse(*args, **kwargs):
        raise AssertionError(f"a connection was tried: {args}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert siglip(folders["siglip"][0])(COMMANDS).isfinite().all()


@pytest.mark.slow
def test_transformers_is_not_loaded_where_it_is_not_needed():
    code = (
        "import sys, dataclasses; from uma.model.config import *; from uma.model.language import "
        "LanguageEncoder; from uma.model.image import image_encoder;"
        "LanguageEncoder(dataclasses.replace(tiny(), language=LanguageConfig('words', "
        "embedding=8)))(['fold']); image_encoder(ImageConfig('small'));"
        "assert not {'transformers', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
