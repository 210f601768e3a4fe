"""What of a finished model goes to a hub: the files that its stage wrote, and a card of its recipe."""

import json
from pathlib import Path
from typing import Any

from sftkey_data.errors import SFTKeyError
from sftkey_data.publish.hub_push import CARD, Pushed
from sftkey_train.checkpoint.origin import ORIGIN, written_files
from sftkey_train.checkpoint.stage_outputs import RECIPE

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


def pushed_model(folder: Path) -> Pushed:
    """The files of `STAGE/final` or `STAGE/best-STEP`, each as it was written.

    Raises:
        SFTKeyError: It is a checkpoint or none of a run's, or a file is missing or damaged.
    """
    if not (folder / RECIPE).is_file():
        raise SFTKeyError(
            f"{folder}: found no {RECIPE}, expected the `final` or `best-STEP` of a stage; a checkpoint's optimizer "
            "and random state are of use to its own run only"
        )
    names = [*written_files(folder), ORIGIN]
    own_card = (folder / CARD).is_file()
    recipe = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    stage = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))["stage"]
    files = {name: folder / name for name in [*names, *([CARD] if own_card else [])]}
    return Pushed(
        kind="model", files=files, card=None if own_card else model_card(recipe, stage), mark=ORIGIN, replaces=WEIGHTS
    )


def model_card(recipe: dict[str, Any], stage: str) -> str:
    """A README in the hub's format: what the model was trained on, and with which loss."""
    base = recipe["model"]["path"]
    # A path on a disk is no base model that the hub could link to.
    is_hub_name = isinstance(base, str) and base.count("/") == 1 and not base.startswith((".", "/", "~"))
    front = ["---", "library_name: transformers", "pipeline_tag: text-generation", "tags:", "- sftkey"]
    front += [f"base_model: {json.dumps(base)}"] if is_hub_name else []
    trained: dict[str, Any] = next((one for one in recipe["stage"] if one["name"] == stage), {})
    loss = json.dumps(trained["weights"]) if trained.get("weights") else str(trained.get("loss_on"))
    rows = {
        "Recipe": f"{recipe['name']}, seed {recipe['seed']}",
        "Stage": stage,
        "Starts from": str(base or "random weights"),
        "Data": Path(str(trained.get("data") or recipe["data"])).name,
        "Loss on": f"{loss}, {trained.get('normalisation')} normalisation, {trained.get('token_loss')}",
        "Adapter": "in `adapter/`, merged into the weights" if recipe.get("lora") else "none",
    }
    table = [f"| {name} | {' '.join(value.split()).replace('|', '/')} |" for name, value in rows.items()]
    lines = [
        *front,
        "---",
        "",
        f"# {recipe['name']}: {stage}",
        "",
        "Trained with SFTKey.",
        "",
        "| | |",
        "|---|---|",
        *table,
    ]
    return "\n".join([*lines, "", f"`{RECIPE}` has every setting. Generation ends at the end token of the data.", ""])
