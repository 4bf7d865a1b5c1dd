"""open_clip models whose text tower or tokenizer is Hugging Face's, from local files only."""

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

ENGLISH_TOKENIZERS = ("bert-base-uncased", "roberta-base")
"""Hugging Face's tokenizers among open_clip's models that were made from English text."""


def create_model(name: str) -> nn.Module:
    """Return an open_clip model with random weights.

    :raises ConfigError: when its text tower needs a package that is not installed.
    :raises WeightsError: when the configuration of its text tower is not installed.
    """
    import_adapters()
    text = _text_config(name)
    repository = text.get("hf_model_name")
    if not repository:
        return open_clip.create_model(name, load_weights=False, pretrained_text=False)
    with _local_files(repository) as folder:
        options = text | {"hf_model_name": str(folder), "hf_model_pretrained": False}
        return open_clip.create_model(
            name, load_weights=False, pretrained_text=False, text_cfg=options
        )


def get_tokenizer(name: str) -> Any:
    """Return the tokenizer of an open_clip model.

    :raises ConfigError: when it needs a package that is not installed.
    :raises WeightsError: when its files are not installed.
    """
    text = _text_config(name)
    repository = text.get("hf_tokenizer_name")
    if not repository:
        return open_clip.get_tokenizer(name)
    with _local_files(repository) as folder:
        return HFTokenizer(
            str(folder),
            context_length=text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH),
            **text.get("tokenizer_kwargs", {}),
        )


def is_multilingual(name: str) -> bool:
    """Return whether an open_clip model was trained on texts in many languages."""
    repository = _text_config(name).get("hf_tokenizer_name")
    return bool(repository) and repository not in ENGLISH_TOKENIZERS


def padding_id(tokenize: Any) -> int:
    """Return the token id that a tokenizer fills short prompts with; CLIP's own is 0."""
    return getattr(getattr(tokenize, "tokenizer", None), "pad_token_id", None) or 0


def strip_padding(model: Any, tokens: Tensor, padding: int) -> Tensor:
    """Return (P, L) token ids without the columns that are padding in every prompt.

    Only Hugging Face's towers mask padding; for others the tokens are returned unchanged.
    """
    if not isinstance(getattr(model, "text", None), HFTextEncoder):
        return tokens
    return tokens[:, : int((tokens != padding).sum(dim=1).max())]


def _text_config(name: str) -> dict[str, Any]:
    return dict(open_clip.get_model_config(name)["text_cfg"])


@contextmanager
def _local_files(repository: str) -> Iterator[Path]:
    """Yield the folder with the files of a Hugging Face repository.

    It is below the folder of weights, or in Hugging Face's cache. transformers gets a path instead
    of a name, so that it never looks for files on the network.

    :raises ConfigError: when transformers is not installed.
    :raises WeightsError: when there is no such folder, or the code in the block cannot read it.
    """
    if importlib.util.find_spec("transformers") is None:
        raise ConfigError(
            f"the text tower '{repository}' needs the package transformers: pip install -r "
            "setup/requirements-multilingual.txt"
        )
    folder = weights_folder() / repository
    cached = try_to_load_from_cache(repository, "config.json")
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
    except Exception as error:  # the package tokenizers raises plain Exception
        raise WeightsError(
            f"the text tower '{repository}' cannot be read from {folder}: {error}; {advice}"
        ) from error
