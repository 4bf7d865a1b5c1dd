"""open_clip models whose text tower or tokenizer is Hugging Face's, from local files alone."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
from huggingface_hub import try_to_load_from_cache
from open_clip.hf_model import HFTextEncoder
from open_clip.tokenizer import HFTokenizer
from torch import Tensor, nn

from clip_surgery_ros.core.errors import ConfigError, WeightsError
from clip_surgery_ros.networks.slim_imports import import_adapters
from clip_surgery_ros.weights.fetching import weights_folder

ENGLISH = ("bert-base-uncased", "roberta-base")
"""Tokenizers of Hugging Face's in open_clip's models that were made from English text."""


def create_model(name: str) -> nn.Module:
    """An open_clip model with random weights.

    :raises ConfigError: when the text tower needs a package that is not there.
    :raises WeightsError: when the text tower's configuration is not in place.
    """
    import_adapters()
    text = _text_config(name)
    repository = text.get("hf_model_name")
    if not repository:
        return open_clip.create_model(name, load_weights=False, pretrained_text=False)
    with _local(repository) as folder:
        options = text | {"hf_model_name": str(folder), "hf_model_pretrained": False}
        return open_clip.create_model(
            name, load_weights=False, pretrained_text=False, text_cfg=options
        )


def get_tokenizer(name: str) -> Any:
    """The tokenizer of an open_clip model.

    :raises ConfigError: when it needs a package that is not there.
    :raises WeightsError: when its files are not in place.
    """
    text = _text_config(name)
    repository = text.get("hf_tokenizer_name")
    if not repository:
        return open_clip.get_tokenizer(name)
    with _local(repository) as folder:
        return HFTokenizer(
            str(folder),
            context_length=text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH),
            **text.get("tokenizer_kwargs", {}),
        )


def is_multilingual(name: str) -> bool:
    """Whether the text tower of an open_clip model learnt from many languages."""
    repository = _text_config(name).get("hf_tokenizer_name")
    return bool(repository) and repository not in ENGLISH


def padding(tokenize: Any) -> int:
    """Id that a tokenizer fills up short prompts with; 0 is CLIP's own."""
    return getattr(getattr(tokenize, "tokenizer", None), "pad_token_id", None) or 0


def strip_padding(model: Any, tokens: Tensor, pad: int) -> Tensor:
    """(P, L) token ids without what is padding in every prompt, where the tower masks padding."""
    if not isinstance(getattr(model, "text", None), HFTextEncoder):
        return tokens
    return tokens[:, : int((tokens != pad).sum(dim=1).max())]


def _text_config(name: str) -> dict[str, Any]:
    return dict(open_clip.get_model_config(name)["text_cfg"])


@contextmanager
def _local(repository: str) -> Iterator[Path]:
    """The folder with the files of a Hugging Face repository, and a sentence if reading fails.

    It is below the folder of weights, or in Hugging Face's own cache. A path is given on, so that
    nothing is looked for in the network.
    """
    if importlib.util.find_spec("transformers") is None:
        raise ConfigError(
            f"the text tower '{repository}' needs the package transformers: pip install -r "
            "setup/requirements-multilingual.txt"
        )
    folder, cached = (
        weights_folder() / repository,
        try_to_load_from_cache(repository, "config.json"),
    )
    if isinstance(cached, str) and not (folder / "config.json").is_file():
        folder = Path(cached).parent
    vocabulary = "spiece.model" if "mt5" in repository else "tokenizer.json"
    advice = (
        f"`hf download {repository} config.json tokenizer_config.json {vocabulary} --local-dir "
        f"{weights_folder() / repository}` fetches what is needed"
    )
    if not (folder / "config.json").is_file():
        raise WeightsError(
            f"the text tower '{repository}' has no files in {folder}; {advice}, or copy the "
            "folder from another machine"
        )
    try:
        yield folder
    except Exception as error:  # tokenizers raises no less
        raise WeightsError(
            f"the text tower '{repository}' cannot be read from {folder}: {error}; {advice}"
        ) from error
