# SPDX-License-Identifier: ISC
"""One wrong in a random good history is always found, and called by its name."""
import random

import pytest

from faults.checker import violated
from faults.made_up import good
from faults.mutations import KINDS

SEEDS = 20


@pytest.mark.parametrize("seed", range(100))
def test_good_histories_hold(seed):
    assert violated(good(seed)) == set()


@pytest.mark.parametrize("mutation, invariant", KINDS, ids=[kind.__name__ for kind, _ in KINDS])
def test_mutation_is_named(mutation, invariant):
    """Over so many histories in which it was possible at all."""
    done = 0
    for seed in range(SEEDS * 10):
        history = good(seed)
        if mutation(history, random.Random(seed)):
            assert invariant in violated(history), f"seed {seed}"
            done += 1
        if done == SEEDS:
            return
    assert done >= SEEDS / 4, "the good histories hardly allow it"
