# SPDX-License-Identifier: ISC
"""A file with a secret that changes."""
import os


class Secret:
    """A file with a secret, replaced as a whole."""

    def __init__(self, path):
        self.path = path

    def write(self, text, end="\n"):
        with open(self.path + ".new", "w", newline="") as file:
            file.write(text + end)
        os.chmod(self.path + ".new", 0o644)
        os.rename(self.path + ".new", self.path)
