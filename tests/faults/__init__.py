# SPDX-License-Identifier: ISC
"""Faults of every kind against real servers, and a checker of what came of them."""
import os
import sys

# The harness of the system tests is used here too, and modules of this directory under their own names.
_HERE = os.path.dirname(os.path.abspath(__file__))
for _path in (_HERE, os.path.join(_HERE, "..", "system")):
    if _path not in sys.path:
        sys.path.append(_path)
