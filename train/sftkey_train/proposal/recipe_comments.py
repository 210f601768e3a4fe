"""The proposed recipe as a file to read and to change: why each number is what it is."""

from collections.abc import Iterator, Mapping

import numpy as np

from sftkey_train.dry_run import size_text
from sftkey_train.proposal.course import CONTROL, STAGE2
from sftkey_train.proposal.proposed_recipe import MAX_HOURS, ROOM, WAYS, ProposedRecipe
from sftkey_train.recipe_file import recipe_text


def commented_recipe(proposed: ProposedRecipe) -> str:
    """A recipe file; the comment on a key stands before the first line that has it."""
    left = dict(_comments(proposed))
    lines = [f"# {line}".rstrip() for line in _heading(proposed)]
    for line in recipe_text(proposed.recipe).splitlines():
        key = line if line in left else line.partition(" = ")[0]
        if (comment := left.pop(key, None)) is not None:
            lines += [f"# {part}" for part in comment.splitlines()]
        lines.append(line)
    return "\n".join(lines)


def remarks(proposed: ProposedRecipe) -> Iterator[str]:
    """What the one who asked should know before a run, a line each."""
    if proposed.recipe.model.path is None:
        yield "note: no --model, so a small one from scratch: it learns narrow tasks, and shows the path for others"
    yield f"{proposed.machine.name}: {_memory(proposed)}"
    if not proposed.fits:
        mend = "build with a smaller --max-tokens, take a smaller model, or share it over several GPUs (fsdp = true)"
        yield f"warning: too little memory even so: {mend}"
    if proposed.recipe.heldout is None:
        yield "note: no heldout set, so nothing is measured on the way: build with --holdout 0.1, or name --heldout"
    yield f"{'warning: ' if proposed.is_slow else ''}{_time(proposed)}"


def _heading(proposed: ProposedRecipe) -> Iterator[str]:
    recipe, lengths = proposed.recipe, proposed.lengths
    middle, most = (int(np.quantile(lengths, share)) for share in (0.5, 0.95))
    model = recipe.model.path or "a small model from scratch"
    yield f"Proposed for {model} ({_millions(proposed.num_parameters)} parameters)"
    yield f"on {recipe.data}: {len(lengths):,} examples of {lengths.min():,} to {lengths.max():,} tokens,"
    yield f"half of them up to {middle:,}, 95 % up to {most:,}."
    yield f"Machine: {proposed.machine.name}, {size_text(proposed.machine.memory)}."
    yield ""
    yield from (f"{line[0].upper()}{line[1:]}" for line in (_memory(proposed), _time(proposed)))
    if not proposed.fits:
        yield "TOO LITTLE MEMORY for it here, even so."
    yield ""
    yield "sftkey-train run THIS --dry-run shows steps, shapes and memory, and trains nothing. Stage 1 first: what a"
    yield "stage 2 can mend is in docs/choosing.md, and which one does, a study says (sftkey-train study)."


def _memory(proposed: ProposedRecipe) -> str:
    needs = f"{size_text(proposed.memory.total)} estimated, of {size_text(proposed.machine.memory)}"
    others = "; ".join(f"{way}: {size_text(size)}" for way, size in proposed.others.items())
    return f"trains {proposed.way}: {needs}" + (f" (too much: {others})" if others else "")


def _time(proposed: ProposedRecipe) -> str:
    hours, stage = proposed.hours, proposed.recipe.stages[0]
    whole = f"stage 1 of {proposed.num_epochs} epochs takes about {_duration(hours)} here, in its order of magnitude"
    if proposed.is_slow:
        return f"{whole}: too slow a machine for this model; its first steps: --set stage.stage1.steps=20"
    if stage.epochs is not None:
        return whole
    return f"{whole}; its {stage.steps:,} steps, of {proposed.num_steps:,}, are those of a day"


def _duration(hours: float) -> str:
    minutes = hours * 60
    return f"{hours:,.0f} hours" if hours >= 2 else f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute"


def _millions(number: int) -> str:
    return f"{number / 1e9:.1f} billion" if number >= 1e9 else f"{number / 1e6:,.1f} million"


def _comments(proposed: ProposedRecipe) -> Mapping[str, str]:
    recipe = proposed.recipe
    longest, stage = int(proposed.lengths.max()), recipe.stages[0]
    together = stage.max_tokens // longest
    comments = {
        "heldout": "measured, and generated for at the end of a stage; never trained on",
        "out": "the same command goes on in it",
        "precision": "autocast over fp32 weights; with the package flash-attn, packed examples are spared a mask\n"
        'over their whole row by attention = "flash_attention_2" below this line',
        "gradient_checkpointing": "saves memory for a third more time",
        "[lora]": f"adapters, as training all weights does not fit into {ROOM:.0%} of the memory here",
        "epochs": f"{proposed.num_steps:,} steps; each example is seen as often",
        "steps": f"what {MAX_HOURS:.0f} hours here are enough for; {proposed.num_epochs} epochs are "
        f"{proposed.num_steps:,} steps",
        "batch_size": "examples of an optimizer step",
        "max_tokens": f"tokens of a forward pass, padding included: {together} of the longest examples ({longest:,});\n"
        "fewer need less memory and change nothing but rounding",
        "lr": f"customary for {'LoRA' if recipe.lora else 'this size'}, not tuned: try a third of it and its threefold",
        "eval_every": "five times a stage",
        f'name = "{STAGE2}"': "the paper's stage 2: the loss is on the answer alone",
        f'name = "{CONTROL}"': "the control: is a gain of the stage above more than further training? It costs as much",
    }
    if recipe.model.path is None:
        comments["[model.config]"] = "the demo's; the context holds the longest prompt and what sftkey-eval generates"
        comments["lr"] = "the demo's, of a model of this size"
    elif "lora" not in WAYS[proposed.way]:
        comments["[model]"] = "for less memory: lora = { r = 16, alpha = 32 } above this line, and lr = 2e-4"
    return comments
