# SPDX-License-Identifier: ISC
"""The status page at / as a browser shows it. SCREENSHOTS=DIRECTORY keeps pictures of it."""
import json
import os
import subprocess
import sys

import pytest

from harness.browser import Browser
from harness.relay import merge
from harness.waiting import until
from harness.writers import insert

HERE = os.path.dirname(os.path.abspath(__file__))
pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture(scope="module")
def one_browser():
    made = Browser()
    yield made
    made.quit()


@pytest.fixture
def browser(one_browser):
    """Of which nothing may complain, and which asks the relay alone."""
    one_browser.size(1100, 800)
    one_browser.complaints()
    yield one_browser
    said, urls = one_browser.complaints()
    assert [line for line in said if "ERR_CONNECTION" not in line] == []
    assert [url for url in urls if not url.startswith(("http://127.0.0.1:", "data:"))] == []
    one_browser.driver.get("data:,")


def shows(browser, name, words, timeout=20):
    until(lambda: words in browser.text(name), timeout, f"the page to show {words!r} in {name}", every=0.2)


def picture(browser, name, dark=False, phone=False):
    browser.size(*((390, 844) if phone else (1100, 800)), dark=dark)
    assert browser.script("return document.documentElement.scrollWidth <= innerWidth"), f"{name} scrolls sideways"
    for low, ratio in contrasts(browser):
        assert ratio >= 4.5, f"{name}: {low}: {ratio}"
    if os.environ.get("SCREENSHOTS"):
        browser.save(os.path.join(os.environ["SCREENSHOTS"], f"status-{name}.png"))


def contrasts(browser):
    """Of each piece of text with what is behind it, as WCAG 2 computes it."""
    return browser.script("""
        const rgb = s => s.match(/[0-9.]+/g).map(Number);
        const light = c => { const [r, g, b] = rgb(c).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
                             return .2126 * r + .7152 * g + .0722 * b; };
        const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
                              if ((rgb(c)[3] ?? 1) > 0) return c; } return "rgb(255, 255, 255)"; };
        return [...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())
                                                                  && e.tagName !== "SCRIPT")
          .map(e => { const a = light(getComputedStyle(e).color), b = light(behind(e));
                      return [e.textContent.slice(0, 40), (Math.max(a, b) + .05) / (Math.min(a, b) + .05)]; });""")


def test_the_policy_names_the_script(relay):
    """Otherwise the browser runs none: tests/page_hash.py writes it anew."""
    done = subprocess.run([sys.executable, os.path.join(HERE, "..", "page_hash.py"), "--check"])
    assert done.returncode == 0, "run tests/page_hash.py"
    status, page = relay.get("/")
    assert status == 200 and len(page.encode()) < 40 * 1024 and "http://" not in page.split("<body>")[0]


def test_well_paused_and_gone(browser, relay, database, reader):
    """Rate, latency, shards and peers as events are published; then who paused; then that nobody answers."""
    browser.open(relay)
    shows(browser, "word", "Publishing: nothing waits")
    consumer = reader()
    # Of a younger relay the rate is over the time since its start: it would be this one for a moment only.
    until(lambda: json.loads(relay.get("/status")[1])["uptime_seconds"] > 11, 20, "the relay to be there for ten seconds")
    insert(database, 400)
    shows(browser, "rate", "40/s")  # for ten seconds only
    consumer.take(400)
    shows(browser, "tail", "p99")
    shows(browser, "relays", "owns shard 0 of 1")
    shows(browser, "peers", "✓ Kafka connected for")
    for name, dark, phone in (("well", False, False), ("well-dark", True, False), ("well-phone", False, True)):
        picture(browser, name, dark, phone)
    assert relay.command("pause").returncode == 0
    shows(browser, "word", "Paused")
    shows(browser, "actions", "pause by outbox_relay")
    shows(browser, "problems", "runbook: paused")
    assert relay.get("/runbooks/paused")[1].startswith("# ")
    picture(browser, "paused-phone", phone=True)
    relay.kill()
    shows(browser, "word", "No answer since")
    assert "pause by outbox_relay" in browser.text("actions")
    picture(browser, "gone")


def test_parked_and_waiting(browser, relay, database):
    """Which keys wait, since when and why; which topic events wait for, as /status would say it."""
    browser.open(relay)
    shows(browser, "held", "no key waits")
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers)"
                     " VALUES ('thing', 'bad', '0', '{}', '[]'), ('thing', 'bad', '1', '{}', NULL)")
    shows(browser, "held", "events: 2, oldest: ")
    assert (browser.text("parked"), browser.text("whys"), browser.text("letters")) == ("1", "headers: 1", "0")
    shows(browser, "word", "Publishing, but: parked keys")
    shows(browser, "problems", "keys that wait behind a rejected event: 1 (headers 1)")
    for name, dark, phone in (("parked", False, False), ("parked-dark-phone", True, True)):
        picture(browser, name, dark, phone)

    def waits():
        # Read as it is shown: the page asks again by itself.
        return browser.script("return fetch('status').then(answer => answer.json()).then("
                              "s => { show({...s, deferred_events: 10001, deferred_topic: 'events.absent'});"
                              " return ['aside', 'topic'].map(id => document.getElementById(id).textContent); })"
                              ) == ["≥ 10,001", "events for events.absent, or others"]
    until(waits, 10, "the page to show what waits for a topic", every=0.2)


def test_in_trouble(browser, database, new_relay, kafka, topic):
    """Kafka is gone: the state says so, with its runbook; the backlog grows. It is all over once Kafka is back."""
    topic()
    relay = new_relay(outbox={"stall_timeout": "1s"}).start()
    browser.open(relay)
    shows(browser, "word", "Publishing: nothing waits")
    kafka.stop()
    insert(database, 1234)
    shows(browser, "word", "In trouble: Kafka unreachable", 30)
    shows(browser, "problems", "runbook: kafka-unreachable")
    shows(browser, "depth", "1,234", 30)
    for name, dark, phone in (("trouble", False, False), ("trouble-dark-phone", True, True)):
        picture(browser, name, dark, phone)
    kafka.start()
    shows(browser, "word", "Publishing", 60)
    shows(browser, "depth", "0", 30)


def test_hostile_names(browser, empty_database, settings, new_relay, migrate):
    """What comes from the database is text, whatever it looks like."""
    table = "<script>document.title=1</script><img src=x onerror=alert(1)>"
    name = f'public."{table}"'
    migrate("--table", name)
    relay = new_relay(**merge(settings, {"outbox": {"table": name}})).start()
    browser.open(relay)
    shows(browser, "outbox", table)
    empty_database.execute("SET application_name = '<b>mallory</b>'; UPDATE outbox_relay.outboxes SET paused = true")
    shows(browser, "actions", "<b>mallory</b>")
    assert browser.script("return document.querySelectorAll('img, b:not(#word), body script').length") == 1
    picture(browser, "hostile", phone=True)
