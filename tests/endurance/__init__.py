# SPDX-License-Identifier: ISC
"""Hours of a steady load while everything around the relays is restarted: does anything grow, is anything lost?"""
import os
import sys

# The harness of the system tests is used here too.
_HARNESS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system")
if _HARNESS not in sys.path:
    sys.path.append(_HARNESS)
