"""The random-mask placebo: is it the Key, or would any few tokens of the completion do?"""

import hashlib
from dataclasses import replace

import numpy as np
import torch

from sftkey_train.batches.batch import Example
from sftkey_train.batches.region_weights import KEY, token_regions


def with_placebo(example: Example, seed: int, depth: int) -> Example:
    """The example with the Key's weight on as many randomly drawn tokens of the completion, EOS included.

    A drawn token takes the Key's role, and a token of the Key takes the role of one of those drawn. Each role keeps its
    number of tokens, so the weights have the same sum as in the arm with the Key, whatever they are. Tokens of the Key
    are drawn only where the rest of the completion is shorter than the Key. The first token of `input_ids`, which
    nothing predicts, keeps its role.

    Args:
        example: Its `roles` are replaced.
        seed: That of the recipe.
        depth: That of the stage, see `Recipe.depth`; arms forked from one stage draw the same tokens.

    Returns:
        A copy whose `roles`, int64 (T,), follow from seed, depth and id alone: the same in every epoch and after a
        resume.
    """
    roles = token_regions(example.borders)
    start = max(1, example.borders.prompt_tokens)
    completion = np.arange(start, len(roles))
    in_key = roles[start:].numpy() == KEY
    # Not `hash`, which differs between processes.
    digest = hashlib.sha256(example.id.encode()).digest()
    generator = np.random.default_rng([seed, depth, int.from_bytes(digest[:8], "big")])
    preferred = np.concatenate([generator.permutation(completion[~in_key]), generator.permutation(completion[in_key])])
    drawn = preferred[: in_key.sum()]
    outside = torch.from_numpy(drawn[~np.isin(drawn, completion[in_key])])
    given_up = torch.from_numpy(np.setdiff1d(completion[in_key], drawn))
    roles[given_up], roles[outside] = roles[outside], KEY
    return replace(example, roles=roles)
