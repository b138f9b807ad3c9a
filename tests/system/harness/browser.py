# SPDX-License-Identifier: ISC
"""A headless Chromium that asks nobody but the relay."""
import json
import shutil
import tempfile

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --lang=en""".split()


class Browser:
    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="outbox-relay-browser-")
        options = webdriver.ChromeOptions()
        for flag in FLAGS + [f"--user-data-dir={self.profile}"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)

    def size(self, width, height, dark=False):
        """Of the window's inside, also where a real window cannot be as narrow."""
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})

    def open(self, relay):
        self.driver.get("http://" + relay.wait_log(r"http listens on (\S+:\d+)").group(1) + "/")

    def text(self, name):
        return self.driver.execute_script("return document.getElementById(arguments[0]).textContent", name)

    def script(self, code):
        return self.driver.execute_script(code)

    def complaints(self):
        """What the console has said, and the requests made, since the last time."""
        said = [line["message"] for line in self.driver.get_log("browser")]
        messages = [json.loads(line["message"])["message"] for line in self.driver.get_log("performance")]
        return said, [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def save(self, path):
        height = self.script("return document.documentElement.scrollHeight")
        width = self.script("return innerWidth")
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
        self.driver.save_screenshot(path)

    def quit(self):
        self.driver.quit()
        shutil.rmtree(self.profile, ignore_errors=True)
