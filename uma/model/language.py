"""The language encoder h_omega: maps a text to task tokens, in place of the task encoder (paper D.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor, nn

from uma.model.attention import CrossAttention, SelfAttention
from uma.model.config import LanguageConfig, ModelConfig
from uma.model.encoders import mlp
from uma.model.orientation import AXIS_FEATURES
from uma.model.siglip import load_tower
from uma.model.turn import PRODUCTS
from uma.types import InputError

MAX_CHARACTERS = 500
"""Longest accepted text, characters. Shorter texts are truncated to the tower's tokens."""


@dataclass(frozen=True)
class TextBatch:
    """Embedded texts: ``tokens`` ``(B, L, w)``, ``is_valid`` ``(B, L)`` bool, False for padding."""

    tokens: Tensor
    is_valid: Tensor


def split_words(text: str) -> list[str]:
    """Return the lower-cased words and numbers, without punctuation."""
    return re.findall(r"\w+", text.lower())


def check_texts(texts: Sequence[str]) -> None:
    """Raise `InputError` for a text without a word or with more than `MAX_CHARACTERS`."""
    for i, text in enumerate(texts):
        if not isinstance(text, str) or not split_words(text):
            raise InputError(f"texts[{i}]: {str(text)[:40]!r} holds no word, at least 1 required")
        if len(text) > MAX_CHARACTERS:
            raise InputError(f"texts[{i}]: {len(text)} characters, limit {MAX_CHARACTERS}")


class WordTower(nn.Module):
    """A trained table of hashed words with a position embedding; needs no download.

    A word is the sum of two rows, selected by two independent hashes. Two words collide only if both agree (1 in 2^24).
    Words outside the training data have untrained rows.
    """

    rows = 4096

    def __init__(self, config: LanguageConfig):
        super().__init__()
        self.max_tokens = config.max_tokens
        self.words = nn.Embedding(self.rows, config.embedding)
        self.position = nn.Embedding(config.max_tokens, config.embedding)

    def row_pair(self, word: str) -> tuple[int, int]:
        """Return the two row indices; unlike Python's hash(), they are equal in every process."""
        digest = blake2b(word.encode(), digest_size=8).digest()
        return int.from_bytes(digest[:4], "little") % self.rows, int.from_bytes(digest[4:], "little") % self.rows

    def embed(self, texts: Sequence[str]) -> TextBatch:
        """Embed texts as ``(B, L, w)``; L is the largest number of words, at most ``max_tokens``."""
        rows = [torch.tensor([self.row_pair(word) for word in split_words(text)[: self.max_tokens]]) for text in texts]
        device = self.words.weight.device
        count = torch.tensor([len(r) for r in rows], device=device)
        index = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
        step = torch.arange(index.shape[1], device=device)
        return TextBatch(self.words(index).sum(2) * 0.5**0.5 + self.position(step), step < count[:, None])


class SiglipTower(nn.Module):
    """The frozen SigLIP 2 text tower: hidden states of its last layer. None of it is in the state dict.

    Raises:
        InputError: the weights or the tokenizer are not available (see `load_tower`), or do not fit ``config``.
    """

    def __init__(self, config: LanguageConfig):
        super().__init__()
        self.tower = load_tower(config.path, config.sha256, "text", "language")
        own = self.tower.module.config
        if own.hidden_size != config.embedding:
            raise InputError(
                f"language.embedding: {config.embedding}, must be {own.hidden_size}, the width of {config.path}"
            )
        if config.max_tokens > own.max_position_embeddings:
            raise InputError(
                f"language.max_tokens: {config.max_tokens}, limit {own.max_position_embeddings}, the length "
                f"of {config.path}"
            )
        from tokenizers import Tokenizer

        file = Path(config.path) / "tokenizer.json"
        if not file.is_file():
            raise InputError(f"language.path: {config.path} lacks tokenizer.json")
        # The tokenizer file, not a transformers class: its lower-casing and padding would depend on the transformers
        # version.
        self.tokenizer = Tokenizer.from_file(str(file))
        pad = self.tokenizer.token_to_id("<pad>")
        if pad is None:
            raise InputError(f"language.path: {file} has no token '<pad>'")
        self.tokenizer.enable_truncation(config.max_tokens)
        self.tokenizer.enable_padding(
            length=own.max_position_embeddings, pad_id=pad, pad_token="<pad>", direction="right"
        )

    def embed(self, texts: Sequence[str]) -> TextBatch:
        """Embed texts as ``(B, L, w)``; L is the tower's full length (64).

        SigLIP 2 was trained on lower-cased texts padded to that length, with attention to the padding. It scored a text
        by its last position, so that position is valid even if it is padding.
        """
        encoded = self.tokenizer.encode_batch([text.lower() for text in texts])
        device = self.tower.anchor.device
        is_valid = torch.tensor([e.attention_mask for e in encoded], dtype=torch.bool, device=device)
        is_valid[:, -1] = True
        return TextBatch(self.tower(torch.tensor([e.ids for e in encoded], device=device)).last_hidden_state, is_valid)


class LanguageLayer(nn.Module):
    """Self-attention among the language tokens, then cross-attention of the aggregation queries to them."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.among_norm, self.ffn_norm, self.query_norm, self.gather_norm = (nn.LayerNorm(width) for _ in range(4))
        self.among = SelfAttention(width, heads)
        self.ffn = mlp(width, width)
        self.gather_in = nn.Linear(2 * width, width)
        self.gather = CrossAttention(width, heads)
        # As in the task encoder: default weights would scale down the differences between texts.
        nn.init.normal_(self.gather_in.weight[:, width:], std=1.4 * width**-0.5)
        nn.init.constant_(self.query_norm.weight, 2.0)
        for linear in (self.gather.q, self.gather.kv, self.gather.out):
            nn.init.orthogonal_(linear.weight, gain=1.2)

    def forward(self, z: Tensor, c: Tensor, raw: Tensor, queries: Tensor, is_valid: Tensor) -> tuple[Tensor, Tensor]:
        """Update language tokens ``z`` ``(B, M + L, d)`` and gathered tokens ``c`` ``(B, M, d)``."""
        z = z + self.among(self.among_norm(z), is_valid)
        z = z + self.ffn(self.ffn_norm(z))
        gathered = self.gather_in(torch.cat([self.gather_norm(z), raw], -1))
        return z, c + self.gather(self.query_norm(queries + c), self.gather.keys_values(gathered), is_valid)


class LanguageEncoder(nn.Module):
    """h_omega: M task tokens from a text, in the latent of the task encoder (paper D.1).

    M classification tokens precede the text tokens. N_l layers alternate self-attention among them with cross-attention
    from M aggregation queries, whose sums are the task tokens.

    As in `TaskEncoder`, the queries gather raw embeddings beside normalised features, and no norm follows. The queries
    are not part of the output, so no constant part dominates the differences between texts.

    Raises:
        InputError: see `SiglipTower`.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        d, h, M, language = config.width, config.heads, config.task_tokens, config.language
        self.tower: WordTower | SiglipTower = WordTower(language) if language.kind == "words" else SiglipTower(language)
        self.text_in = nn.Linear(language.embedding, d)
        self.class_tokens = nn.Parameter(torch.randn(M, d))
        self.queries = nn.Parameter(torch.randn(M, d))
        self.layers = nn.ModuleList(LanguageLayer(d, h) for _ in range(language.layers))
        self.out_norm = nn.LayerNorm(d)
        self.out = mlp(d, d)
        self.place = nn.Linear(d, 3) if config.ways else None
        self.line = nn.Linear(d, AXIS_FEATURES) if config.lines else None
        self.products = nn.Linear(d, PRODUCTS) if config.follow else None
        nn.init.normal_(self.text_in.weight, std=language.embedding**-0.5)  # unit scale in, unit scale out
        for stated in self._stated():  # the centre of the scene, and no line and no turn, until they are trained
            nn.init.zeros_(stated.weight)
            nn.init.zeros_(stated.bias)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Encode B texts as ``(B, M, task_width)`` task tokens.

        Raises:
            InputError: a text without a word, or longer than `MAX_CHARACTERS`.
        """
        check_texts(texts)
        text = self.tower.embed(texts)
        embedded = text.tokens.to(self.text_in.weight.dtype)
        x = self.text_in(nn.functional.layer_norm(embedded, embedded.shape[-1:]))
        first = self.class_tokens.expand(len(x), -1, -1)
        is_valid = torch.cat([text.is_valid.new_ones(first.shape[:2]), text.is_valid], 1)
        z, raw, c = torch.cat([first, x], 1), torch.cat([torch.zeros_like(first), x], 1), torch.zeros_like(first)
        for layer in self.layers:
            z, c = layer(z, c, raw, self.queries, is_valid)
        c = c + self.out(self.out_norm(c))
        return torch.cat([c, *(stated(c) for stated in self._stated())], -1)

    def _stated(self) -> list[nn.Linear]:
        return [head for head in (self.place, self.line, self.products) if head is not None]
