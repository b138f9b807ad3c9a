# SPDX-License-Identifier: ISC
"""All faults there are, by importing what registers them; and the choice that CI plays."""
import random

# They register.
from faults import (faults_endtxn, faults_failpoints, faults_kafka, faults_kafkalink, faults_parked, faults_postgres,  # noqa: F401
                    faults_relay, faults_table)
from faults.catalog import chosen

# Of each number one, as the seed says.
CI = ("F01", "F02", "F03", "F05", "F06", "F11", "F12", "F13", "F14", "F15", "F16", "F17", "F18",
      "F21", "F31", "F32", "F33", "F35", "F38", "F41", "F42", "F47")


def ci(seed):
    """The entries that CI plays."""
    rng = random.Random(seed)
    return [rng.choice(chosen([number])) for number in sorted(CI)]
