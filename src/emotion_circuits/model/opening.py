"""A model's name → its folder, configuration, family and tokenizer: everything that comes before its weights.

What is loaded and what is only looked at (:mod:`emotion_circuits.model.blueprint`) both begin here, so that they cannot disagree.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils import cached_file
from transformers.utils import logging as hf_logging

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import bundled
from emotion_circuits.model.families import Family, family_of, language_config
from emotion_circuits.model.files import Stored, check_folder, check_recorded
from emotion_circuits.model.foreign import one_line, understood
from emotion_circuits.model.gguf import converted_gguf
from emotion_circuits.model.unread import check_read, check_said_once
from emotion_circuits.paths import read_json

__all__ = ["Opened", "explained", "is_bundled", "is_gguf", "locate", "open_model", "outline", "quiet"]

_log = logging.getLogger(__name__)

_COUNTS = {
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size", "vocab_size",
    "head_dim", "max_position_embeddings", "n_embd", "n_layer", "n_head", "n_positions", "n_inner", "num_layers", "num_heads",
    "ffn_dim", "word_embed_proj_dim", "rotary_dim",
}  # fmt: skip
_MOST_LAYERS = 10_000  # where nothing is known of the tensors yet


@dataclass(frozen=True)
class Opened:
    """What is known of a model before its weights are read.

    Attributes:
        name: what the user called it.
        folder: where it lies; ``None``: on the hub.
        config: of the language model, which may be a part of a larger one.
        family: its row in the table of families.
        tokenizer: its (fast) tokenizer.
        options: to pass to ``from_pretrained``.
        stored: its tensors by name, where their headers could be read.
        larger: the kind of model that it is a part of, with other towers beside it; empty: it stands alone.
    """

    name: str
    folder: Path | None
    config: Any
    family: Family
    tokenizer: Any
    options: dict[str, Any] = field(default_factory=dict)
    stored: Mapping[str, Stored] = field(default_factory=dict)
    larger: str = ""

    @property
    def source(self) -> str:
        """What ``from_pretrained`` is given."""
        return self.name if self.folder is None else str(self.folder)


def open_model(name: str, *, revision: str | None = None, allow_pickle: bool = False) -> Opened:
    """Find a model and read what describes it.

    Args:
        name: bundled name, folder, ``.gguf`` file or hub id.
        revision: hub branch, tag or commit.
        allow_pickle: pickled weights will do.

    Raises:
        EmotionCircuitsError: nothing there, an adapter, a configuration that cannot be, an unsupported family, no fast
            tokenizer.
    """
    folder = locate(name)
    options = {} if folder is not None else _hub_options(name, revision)
    source = name if folder is None else str(folder)
    stored: dict[str, Stored] = {}
    if folder is not None:
        check_recorded(folder)
        stored = check_folder(folder)
        _check_written(folder)
    with quiet(), understood(lambda error: explained(name, folder, error, options, allow_pickle)):
        whole = AutoConfig.from_pretrained(source, trust_remote_code=False, **options)
        config = language_config(whole)
        family = family_of(config)
        _check_code(whole, config, name)
        _check_numbers(config.to_dict(), f"{name}: config.json")
        check_read(config, f"{name}: config.json")
        _check_layers(config, stored, name)
    tokenizer = _tokenizer(name, folder, options)
    return Opened(
        name, folder, config, family, tokenizer, options, stored, larger=whole.model_type if config is not whole else ""
    )


def _tokenizer(name: str, folder: Path | None, options: Mapping[str, Any]) -> Any:
    """The fast tokenizer, which makes the tokens that ``tokenizer.json`` says, and the same ones every time."""
    source = name if folder is None else str(folder)
    with quiet(), understood(lambda error: f"{name}: its tokenizer cannot be read: {one_line(error)}"):
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **options)
        tokenizer(["a"])  # what is wrong with it may show only when it is used
        if not tokenizer.is_fast:
            raise EmotionCircuitsError(
                f"{name}: its tokenizer has no fast version; only those give the character offsets that find words"
            )
        written = _file(name, folder, options, "tokenizer.json")
        begins = get_tokenizer_config(source, **options).get("add_bos_token")
        said = None if written is None else Tokenizer.from_file(str(written))
        if said is not None:
            said.no_truncation()
            said.no_padding()
        for one in (tokenizer.backend_tokenizer, *([] if said is None else [said])):
            if getattr(one.model, "dropout", None):
                one.model.dropout = None  # a text is cut by chance in training, and only there
        if said is not None and not _cuts_alike(tokenizer, said):
            # Some classes put their own rules in the place of those in the file.
            tokenizer = PreTrainedTokenizerFast.from_pretrained(source, **options)
            if not _cuts_alike(tokenizer, said):
                raise EmotionCircuitsError(
                    f"{name}: its tokenizer_config.json makes other tokens of a text than its tokenizer.json says; take its "
                    "tokenizer_class and add_prefix_space away"
                )
    begun = tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    if begins is not None and tokenizer.bos_token_id is not None and bool(begins) != begun:
        _log.warning(
            "%s: tokenizer_config.json says that add_bos_token is %s; tokenizer.json does the opposite, and is what counts",
            name,
            str(begins).lower(),
        )
    return tokenizer


_PROBE = (
    "Hello  there,\n\n it's 2024: 650841823 na\u00efve na\u0131\u0308ve \u732b\u3067\u3059\u3002 don't (\uff21) end "
)
"""Blanks, line ends, digits, marks and scripts: what rules of cutting treat differently."""


def _file(name: str, folder: Path | None, options: Mapping[str, Any], kind: str) -> Path | None:
    """A file of a model's, here or from the hub, where there is one."""
    if folder is None:
        found = cached_file(name, kind, _raise_exceptions_for_missing_entries=False, **options)
        return None if found is None else Path(found)
    return folder / kind if (folder / kind).is_file() else None


def _cuts_alike(tokenizer: Any, said: Tokenizer) -> bool:
    return bool(
        tokenizer(_PROBE, add_special_tokens=False)["input_ids"] == said.encode(_PROBE, add_special_tokens=False).ids
    )


def locate(name: str) -> Path | None:
    """The local folder to read; ``None``: the hub.

    A bundled model's name always means that model: a folder of the same name is reached as ``./name``.
    """
    if not name.strip():
        raise EmotionCircuitsError("the name of the model is empty")
    path = Path(name).expanduser()
    if is_bundled(name):
        if path.is_dir():
            _log.warning("%s: the bundled model is meant; for the folder of that name write ./%s", name, name)
        return bundled.installed(name) or bundled.install(name)
    if path.is_dir():
        return path
    if is_gguf(name):
        return converted_gguf(path)
    if path.exists():
        raise EmotionCircuitsError(f"{name}: neither a model folder nor a .gguf file")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise EmotionCircuitsError(f"{name}: no such folder or file")
    return None


def is_bundled(name: str) -> bool:
    """Whether a name is that of a bundled model."""
    return name in bundled.BUNDLED


def is_gguf(name: str) -> bool:
    """Whether a name is that of a GGUF file, however its extension is written."""
    return name.lower().endswith(".gguf")


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' bars and reports: what they tell is checked, or told in a line of ours."""
    bars, level = hf_logging.is_progress_bar_enabled(), hf_logging.get_verbosity()
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()


def outline(config: Any, name: str, dtype: torch.dtype | None = None) -> Any:
    """The Hugging Face model without its weights.

    Args:
        config: of the model.
        name: what the user called it.
        dtype: of its parameters.

    Raises:
        EmotionCircuitsError: no model can be made of the configuration.
    """
    with quiet(), understood(lambda e: f"{name}: config.json describes no model: {one_line(e)}"), torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def explained(
    name: str, folder: Path | None, error: BaseException, options: Mapping[str, Any], allow_pickle: bool = False
) -> str:
    """The line to tell of an error in reading a model's configuration or weights."""
    first = one_line(error)
    if folder is None:
        if options.get("local_files_only") and isinstance(error, OSError):
            first = "no connection, and it was not downloaded before"
        return (
            f"{name}: could not be loaded from the hub ({first}). Without a connection use a local folder, a .gguf "
            f"file, or a bundled model: {', '.join(bundled.BUNDLED)}."
        )
    if not allow_pickle and not any(folder.glob("*.safetensors")) and any(folder.glob("*.bin")):
        return (
            f"{name}: only pickled weights were found, and unpickling can run code. If you trust the source, pass "
            "allow_pickle=True (command line: --allow-pickle), or convert the weights to safetensors."
        )
    return f"{name}: could not be loaded: {first}"


# -- the hub -----------------------------------------------------------------------------------------------------------


def _hub_options(name: str, revision: str | None) -> dict[str, Any]:
    """What ``from_pretrained`` is told of the hub: without a connection only what was downloaded before is looked at.

    One question decides that; asked for every file, each one would be tried again and again for half a minute.
    """
    options: dict[str, Any] = {} if revision is None else {"revision": revision}
    if not _connected():
        options["local_files_only"] = True
    asked = ("missing_entries", "gated_repo", "connection_errors")
    with quiet(), understood(lambda error: explained(name, None, error, options)):
        adapter = cached_file(
            name, "adapter_config.json", **{f"_raise_exceptions_for_{of}": False for of in asked}, **options
        )
    if adapter is not None:
        check_folder(Path(adapter).parent)
    return options


def _connected() -> bool:
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception as error:  # of whatever library it is that connects
        _log.info("%s: no connection (%s)", constants.ENDPOINT, one_line(error))
        return False
    return True


# -- configurations that cannot be -------------------------------------------------------------------------------------


def _check_written(folder: Path) -> None:
    """Refuse what ``config.json`` says before anything divides by it."""
    file = folder / "config.json"
    if file.is_file():
        said = read_json(file)
        if not isinstance(said, dict):
            raise EmotionCircuitsError(f"{file}: is no JSON object")
        _check_numbers(said, str(file))
        weights = said.get("transformers_weights")
        if weights is not None and (not isinstance(weights, str) or Path(weights).name != weights):
            raise EmotionCircuitsError(f"{file}: transformers_weights is {weights!r}, not the name of a file beside it")


def _check_code(whole: Any, config: Any, name: str) -> None:
    """Refuse attention by a kernel that the configuration names: code that would be fetched from the hub, and run."""
    for one in (whole, config):
        asked = getattr(one, "_attn_implementation", None)
        if asked not in (None, "eager", "sdpa"):
            raise EmotionCircuitsError(
                f"{name}: config.json: attn_implementation is {asked!r}, which names code to be run; take it away"
            )


def _check_numbers(said: Mapping[str, Any], place: str) -> None:
    """Refuse counts below 1, numbers that are none, and rotary settings that are said twice.

    Args:
        said: a configuration, which may hold others.
        place: where it stands, for the message.
    """
    for key, value in said.items():
        key = str(key)
        if isinstance(value, Mapping):
            _check_numbers(value, f"{place}, {key}")
        elif isinstance(value, float) and not math.isfinite(value):
            raise EmotionCircuitsError(f"{place}: {key} is {value}, not a finite number")
        elif key in _COUNTS and isinstance(value, int) and value < 1:
            raise EmotionCircuitsError(f"{place}: {key} is {value}; at least 1 is needed")
        elif key.endswith(("_eps", "_epsilon")) and isinstance(value, int | float) and value < 0:
            raise EmotionCircuitsError(f"{place}: {key} is {value}, below 0")
    heads, shared = said.get("num_attention_heads"), said.get("num_key_value_heads")
    if isinstance(heads, int) and isinstance(shared, int) and heads % shared:
        raise EmotionCircuitsError(
            f"{place}: num_attention_heads is {heads}, not a multiple of num_key_value_heads {shared}"
        )
    check_said_once(said, place)


def _check_layers(config: Any, stored: Mapping[str, Stored], name: str) -> None:
    """Refuse more layers than there can be, before a module is made for each."""
    most = len(stored) if stored else _MOST_LAYERS
    if config.num_hidden_layers > most:
        what = f"its files hold {most} tensors in all" if stored else f"at most {most} are taken"
        raise EmotionCircuitsError(f"{name}: config.json: num_hidden_layers is {config.num_hidden_layers}, and {what}")
    for tensor, (dtype, _) in stored.items():
        whole = tensor.endswith(".weight") and dtype.startswith(("I", "U", "BOOL"))
        if whole and getattr(config, "quantization_config", None) is None:
            raise EmotionCircuitsError(
                f"{name}: tensor {tensor} holds whole numbers ({dtype}) and config.json has no quantization_config that says "
                "what they mean"
            )
