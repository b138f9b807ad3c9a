# SPDX-License-Identifier: ISC
"""A terminal that a person would have: a window of tmux, with a server of its own."""
import html
import os
import re
import shlex
import subprocess

from harness.waiting import until


class Terminal:
    """A shell in a window of `columns` x `rows`."""

    def __init__(self, directory, columns=100, rows=40, env=None):
        self.socket = os.path.join(directory, "tmux")
        names = {"LC_ALL": "C.UTF-8", "NO_COLOR": "", **(env or {})}
        self._ask("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows),
                  *(part for name, value in names.items() for part in ("-e", f"{name}={value}")), "sh")
        try:
            self.prompt = until(lambda: self.text().strip(), 20, "the prompt of the shell")
        except AssertionError:
            self.quit()
            raise

    def _ask(self, *argv):
        # -u: it is UTF-8, whatever the locale of the tests is.
        return subprocess.run(["tmux", "-u", "-S", self.socket, *argv], check=True, stdout=subprocess.PIPE,
                              text=True).stdout

    def type(self, text):
        self._ask("send-keys", "-l", text)

    def key(self, name):
        self._ask("send-keys", name)

    def run(self, *argv):
        self.type(shlex.join(argv))
        self.key("Enter")

    def resize(self, columns, rows):
        self._ask("resize-window", "-x", str(columns), "-y", str(rows))

    def text(self, escapes=False):
        return self._ask("capture-pane", "-p", *(["-e"] if escapes else []))

    def alternate(self):
        """Whether the other screen is shown."""
        return self._ask("display-message", "-p", "#{alternate_on}").strip() == "1"

    def cursor(self):
        return self._ask("display-message", "-p", "#{cursor_flag}").strip() == "1"

    def wait(self, words, timeout=20):
        """What it shows then."""
        def look():
            text = self.text()
            return words in text and text
        try:
            return until(look, timeout, f"the terminal to show {words!r}", every=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}; it shows:\n{self.text()}") from None

    def quit(self):
        self._ask("kill-server")


COLOURS = {"31": "#ff9c96", "32": "#6fd69b", "33": "#f4c36a", "39": "", "0": "", "": ""}


def svg(text, columns=100, width=8, height=18):
    """What Terminal.text(escapes=True) has told, as a picture."""
    rows, colour = [], ""
    for row, line in enumerate(text.rstrip().split("\n")):
        column = 0
        for escape, words in re.findall(r"\x1b\[([0-9;]*)m|([^\x1b]+)", line):
            if not words:
                for part in escape.split(";"):
                    colour = COLOURS.get(part, colour)
                continue
            # Each word on its column, whatever font the reader has.
            for word in re.finditer(r"\S+", words):
                rows.append(f'<text x="{12 + (column + word.start()) * width}" y="{24 + row * height}"'
                            f' textLength="{len(word[0]) * width}" lengthAdjust="spacingAndGlyphs"'
                            + (f' fill="{colour}" font-weight="bold"' if colour else "")
                            + f">{html.escape(word[0])}</text>")
            column += len(words)
    across, down = 24 + columns * width, 24 + (row + 1) * height
    return ("<!-- SPDX-License-Identifier: ISC -->\n"
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{across}" height="{down}" viewBox="0 0 {across} {down}"'
            ' font-family="ui-monospace, DejaVu Sans Mono, monospace" font-size="13.3" fill="#e9edf2">\n'
            '<rect width="100%" height="100%" rx="8" fill="#101318"/>\n' + "\n".join(rows) + "\n</svg>\n")
