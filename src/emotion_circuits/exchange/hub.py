"""A vector on the Hugging Face hub: a repository with the card as its page and one safetensors file."""

from __future__ import annotations

import json
from pathlib import Path

from emotion_circuits.exchange.card import Card
from emotion_circuits.exchange.portable import PortableVector
from emotion_circuits.exchange.tensor_files import read_tensors, write_tensors
from emotion_circuits.model.foreign import one_line, understood
from emotion_circuits.model.opening import quiet
from emotion_circuits.paths import replacing

__all__ = ["HUB_FILE", "from_pretrained", "push_to_hub", "read_hub_folder", "write_hub_folder"]

HUB_FILE = "vector.safetensors"
_PAGE = "README.md"


def write_hub_folder(folder: Path, vector: PortableVector) -> None:
    """Write the folder that :func:`push_to_hub` uploads and :func:`from_pretrained` reads.

    Raises:
        EmotionCircuitsError: it cannot be written.
    """
    write_tensors(folder / HUB_FILE, vector)
    with replacing(folder / _PAGE) as temporary:
        temporary.write_text(_page(vector.card), encoding="utf-8")


def _page(card: Card | None) -> str:
    said = ["library_name: emotion-circuits", "tags: [steering-vector, activation-steering]"]
    if card is None:
        return "\n".join(["---", *said, "---", "", "A steering vector; of what model is not known.", ""])
    # A base model is linked only where its name is that of a repository.
    if card.model.name.count("/") == 1 and not card.model.name.startswith((".", "/", "~")):
        said.append(f"base_model: {json.dumps(card.model.name)}")
    said.append(f"language: {json.dumps(card.language)}")
    if card.model.licence:
        said += ["license: other", f"license_name: {json.dumps(card.model.licence)}"]
    use = (
        "```python\nimport emotion_circuits as ec\n\n"
        'vector = ec.read_vector("OWNER/NAME")\n'
        f"model = ec.load_model({json.dumps(card.model.name)})\n"
        "vector.check_fits(model)\n"
        'print(ec.generate(model, ["When the bus arrived, she"], interventions=vector.interventions())[0].text)\n```\n'
    )
    return "\n".join(["---", *said, "---", "", card.markdown("the Hugging Face hub"), "## Use", "", use])


def read_hub_folder(folder: Path) -> PortableVector:
    """Read :func:`write_hub_folder` back.

    Raises:
        EmotionCircuitsError: as :func:`read_tensors`.
    """
    return read_tensors(folder / HUB_FILE)


def push_to_hub(
    folder: Path, repository: str, *, token: str | None = None, private: bool | None = None, endpoint: str | None = None
) -> str:
    """Upload a folder of :func:`write_hub_folder`; the repository is made where it is missing.

    Args:
        folder: with the card and the vector, read before anything is sent.
        repository: ``OWNER/NAME``.
        token: of the hub; by default the one that ``hf auth login`` keeps.
        private: nobody else sees it; by default as the owner's settings say.
        endpoint: of another hub.

    Returns:
        Address of the commit.

    Raises:
        EmotionCircuitsError: the folder holds no vector, or the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    read_hub_folder(folder)
    with quiet(), understood(lambda error: f"{repository}: could not be uploaded: {one_line(error)}"):
        api = HfApi(endpoint=endpoint, token=token)
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=[HUB_FILE, _PAGE], commit_message="A steering vector"
        )
        return str(done.commit_url)


def from_pretrained(
    repository: str, *, revision: str | None = None, token: str | None = None, endpoint: str | None = None
) -> PortableVector:
    """Read a vector from the hub, or from what was downloaded of it before.

    Args:
        repository: ``OWNER/NAME``.
        revision: branch, tag or commit.
        token: of the hub, for a private repository.
        endpoint: of another hub.

    Raises:
        EmotionCircuitsError: no such repository, no connection and nothing downloaded before, or no vector in it.
    """
    from huggingface_hub import hf_hub_download

    with (
        quiet(),
        understood(
            lambda error: (
                f"{repository}: no vector could be had from the hub ({one_line(error)}); name a file or a folder"
            )
        ),
    ):
        file = hf_hub_download(repository, HUB_FILE, revision=revision, token=token, endpoint=endpoint)
    return read_tensors(Path(file))
