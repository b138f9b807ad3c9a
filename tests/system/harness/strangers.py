# SPDX-License-Identifier: ISC
"""Brokers that are not Apache Kafka, by the proxy of tests/faults."""
import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

from faults.profiles import CLOSE, ERROR, Stranger, batches, refused_produce  # noqa: E402,F401
