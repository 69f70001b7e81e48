"""Tiny SigLIP checkpoints with random weights, saved by transformers itself in the form that the hub has."""

from pathlib import Path

import torch

PATCH, SIDE, WIDTH, LENGTH = 4, 8, 16, 12
"""Pixels of a patch, pixels of the image that the fixed position embeddings are for, width of both towers, tokens of
the text tower."""

SENTENCES = [
    "put the red cup on the plate",
    "push the blue block to the left",
    "fold the towel in half",
    "insert the spoon into the holder",
]


def save_siglip(folder: Path, family: str = "siglip", part: str | None = None) -> torch.nn.Module:
    """Save a whole model (``part`` None) or one tower, with its tokenizer; returns what was saved."""
    import transformers

    name = {"siglip": "Siglip", "siglip2": "Siglip2"}[family]
    common = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    grid = {"image_size": SIDE} if family == "siglip" else {"num_patches": (SIDE // PATCH) ** 2}
    vision = getattr(transformers, f"{name}VisionConfig")(**common, patch_size=PATCH, **grid)
    text = getattr(transformers, f"{name}TextConfig")(
        **common, vocab_size=400, max_position_embeddings=LENGTH, pad_token_id=0, bos_token_id=2, eos_token_id=1
    )
    torch.manual_seed(0)
    if part is None:
        config = getattr(transformers, f"{name}Config")(text_config=text.to_dict(), vision_config=vision.to_dict())
        model = getattr(transformers, f"{name}Model")(config)
    else:
        model = getattr(transformers, f"{name}{part.capitalize()}Model")({"vision": vision, "text": text}[part])
    with torch.no_grad():  # as transformers starts them, biases are zero and a bias that was not loaded would not show
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    model.eval().save_pretrained(folder)
    save_tokenizer(folder)
    return model


def save_tokenizer(folder: Path) -> None:
    """A byte-pair tokenizer trained in memory, in Gemma's form: no lower-casing, spaces as underscores, <eos> at the
    end."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_previous")
    tokenizer.decoder = decoders.Replace("▁", " ")
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    tokenizer.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
