# SPDX-License-Identifier: ISC
"""`status --watch` in a terminal: what it shows, how it ends, and what is never drawn."""
import os
import signal
import subprocess

import pytest

from harness.relay import BINARY, merge
from harness.terminal import Terminal, svg
from harness.waiting import until
from harness.writers import insert

# Of 300 events at once, within the last 10 s or since the relay's start. Each is shown for a second or so.
RATES = [f"{'rate':15}{300 / seconds:.1f}/s," for seconds in range(1, 11)]


@pytest.fixture
def terminal(directory):
    made = []

    def one(**wanted):
        made.append(Terminal(directory, **wanted))
        return made[-1]
    yield one
    for each in made:
        each.quit()


@pytest.fixture
def heard(new_relay, directory):
    """A relay that `status` finds."""
    def one(**settings):
        return new_relay(**merge(settings, {"http": {"listen": f"unix:{directory}/http"}}))
    return one


def watch(terminal, relay):
    terminal.run(BINARY, "status", "--watch", "-c", relay.config)


def picture(terminal, name):
    """SCREENSHOTS=DIRECTORY keeps what the terminal shows."""
    if os.environ.get("SCREENSHOTS"):
        with open(os.path.join(os.environ["SCREENSHOTS"], f"watch-{name}.svg"), "w") as kept:
            kept.write(svg(terminal.text(escapes=True)))


def wait_prompt(terminal):
    """Until the shell reads again: it echoes nothing before."""
    until(lambda: not terminal.alternate() and terminal.text().rstrip().endswith(terminal.prompt), 20,
          "the other screen to be left, and the prompt of the shell", every=0.05)


def given_back(terminal, exit_status):
    """The screen of before, with its cursor and what was on it; the shell echoes again."""
    wait_prompt(terminal)
    terminal.type("echo status=$? $(stty -a | tr ' ;' '\\n\\n' | grep -xE '(-?echo|-?icanon)' | tr '\\n' ' ')")
    terminal.key("Enter")
    shown = terminal.wait(f"status={exit_status} icanon echo")
    assert terminal.cursor() and "status --watch" in shown and "tr '" in shown


def test_well_backlog_and_gone(database, heard, kafka, topic, terminal):
    """Publishing; without Kafka the problem, its runbook and the backlog; then nobody who answers."""
    topic()
    relay = heard(outbox={"stall_timeout": "1s"}).start()
    window = terminal()
    watch(window, relay)
    window.wait("[+] Publishing: nothing waits")
    insert(database, 300)
    until(lambda: any(rate in window.text() for rate in RATES), 20, "the rate")
    shown = window.wait("p99")
    assert "[+] Kafka connected for" in shown and "owns 1 of 1 shard" in shown
    until(lambda: "█" in window.text(), 20, "a curve")
    picture(window, "well")
    kafka.stop()
    insert(database, 1234)
    window.wait("[x] In trouble", 30)
    window.wait("1234, oldest", 30)
    shown = window.wait("kafka_unreachable for", 30)
    assert "see docs/runbooks/kafka-unreachable.md" in shown
    picture(window, "trouble")
    relay.kill()
    shown = window.wait("[?] No answer from a relay since ")
    window.wait("1234, oldest")
    window.key("q")
    given_back(window, 0)


def test_without_database(database, postgres, heard, terminal):
    """It says since when, and goes on with what the relay knows; later with the database, too."""
    relay = heard().start()
    window = terminal()
    watch(window, relay)
    window.wait("[+] Publishing: nothing waits")
    postgres.stop()
    window.wait("[x] Not asked since ", 30)
    until(lambda: "[?] No answer" not in window.text(), 20, "the relay to have answered")
    window.wait("database_unreachable", 30)
    postgres.start()
    until(lambda: "Not asked" not in window.text(), 60, "the database to be asked again", every=0.1)


def test_sizes(database, heard, terminal):
    """Drawn anew in the new size; no line is longer; what is cut is counted."""
    relay = heard()
    window = terminal(columns=100, rows=40)
    watch(window, relay)
    window.wait("[?] No answer from a relay")
    for columns, rows in ((40, 40), (200, 50), (60, 5)):
        window.resize(columns, rows)
        until(lambda: max(map(len, window.text().splitlines())) < columns, 10, f"lines for {columns} columns")
        window.wait("[?] No answer")
        assert len(window.text().splitlines()) <= rows
    window.wait("more lines: enlarge the window")


@pytest.mark.parametrize("how", ["q", "C-c", "SIGTERM", "C-z"])
def test_ends(database, heard, terminal, how):
    """However it ends, the terminal is as it was."""
    relay = heard()
    window = terminal()
    watch(window, relay)
    window.wait("[?] No answer from a relay")
    assert window.alternate() and not window.cursor()
    if how == "SIGTERM":
        found = subprocess.run(["pgrep", "-f", f"status --watch -c {relay.config}$"], check=True, text=True,
                               stdout=subprocess.PIPE).stdout.split()
        os.kill(int(found[-1]), signal.SIGTERM)
    else:
        window.key(how)
    if how == "C-z":
        wait_prompt(window)
        window.run("fg")
        window.wait("[?] No answer from a relay")
        assert window.alternate() and not window.cursor()
        window.key("q")
        how = "q"
    given_back(window, {"q": 0, "C-c": 130, "SIGTERM": 143}[how])


def test_hostile_names(empty_database, settings, migrate, new_relay, terminal):
    """What comes from the database does not move the cursor, and has no colours."""
    table = "a\x1b[31m\x1b[2J\x07\u202eb甲乙"
    migrate("--table", f'public."{table}"')
    relay = new_relay(**merge(settings, {"outbox": {"table": "NAME"}}))
    with open(relay.config, "r+") as config:
        text = config.read().replace("NAME", f'public.\\"{table}\\"')
        config.seek(0)
        config.write(text)
    window = terminal()
    watch(window, relay)
    shown = window.wait("甲乙")
    assert "a\ufffd[31m\ufffd[2J\ufffd\ufffdb甲乙" in shown
    assert "\x1b[31m" not in window.text(escapes=True)


def test_ascii_and_no_colour(database, heard, terminal):
    """Where the locale is not UTF-8, and NO_COLOR is set."""
    relay = heard()
    window = terminal(env={"LC_ALL": "C", "NO_COLOR": "1"})
    watch(window, relay)
    shown = window.wait("backlog        0\n               _")
    assert shown.isascii() and "\x1b" not in window.text(escapes=True)


def test_no_terminal(database, new_relay):
    relay = new_relay()
    done = relay.command("status", "--watch", env={"TERM": "xterm"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("outbox-relay status: --watch: standard output is no terminal; leave --watch away, or use "
                           "--json in a program\n")
    done = relay.command("status", "--watch", "--json")
    assert done.returncode == 2 and "--watch is for people, --json for programs" in done.stderr


def test_dumb_terminal(database, heard, terminal):
    window = terminal(env={"TERM": "dumb"})
    window.type("export TERM=dumb")
    window.key("Enter")
    watch(window, heard())
    window.wait("by TERM this terminal cannot move its cursor")
