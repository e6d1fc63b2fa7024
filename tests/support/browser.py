"""A real browser, without network but this machine's."""

import json
import os
import subprocess
import threading
import time


class Browser:
    """Headless Chromium, spoken to through a pipe; it ends itself after a while."""

    def __init__(self, profile, seconds=20):
        ours, theirs = os.pipe(), os.pipe()
        flags = (
            "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
            "--disable-component-update --disable-sync --disable-dev-shm-usage --remote-debugging-pipe"
        ).split()
        shell = ["bash", "-c", f'exec chromium "$@" 3<&{theirs[0]} 4>&{ours[1]}', "chromium"]
        self.process = subprocess.Popen(
            [*shell, *flags, "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", f"--user-data-dir={profile}"],
            pass_fds=(theirs[0], ours[1]),
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs[0])
        os.close(ours[1])
        self.inbox, self.outbox, self.session, self.count, self.events = ours[0], theirs[1], {}, 0, []
        self.rest = b""
        self.timer = threading.Timer(seconds, self.process.kill)
        self.timer.start()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """One command of the DevTools protocol; what happens meanwhile is kept."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params, **self.session}
        os.write(self.outbox, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                chunk = os.read(self.inbox, 1 << 20)
                assert chunk, "the browser ended"
                self.rest += chunk
            answer, _, self.rest = self.rest.partition(b"\0")
            answer = json.loads(answer)
            if answer.get("id") == self.count:
                return answer["result"]
            self.events.append(answer)

    def ask(self, script):
        """Evaluates a script and returns its value."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def open(self, path, width):
        """Opens a file, or a page of a server here, and waits until it is drawn: its complaints and requests."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500
        )
        self.call("Page.navigate", url=path if isinstance(path, str) else path.resolve().as_uri())
        while not self.ask("location.href != 'about:blank' && document.documentElement.dataset.ready"):
            time.sleep(0.05)
        return [complaint for event in self.events if (complaint := complains(event))]

    def close(self):
        """Ends the browser."""
        self.process.kill()
        self.process.wait()
        self.timer.cancel()
        os.close(self.inbox)
        os.close(self.outbox)


def complains(event):
    """The complaint of an event of the browser about a page; None where it is none."""
    kind, params = event.get("method", ""), event.get("params", {})
    if kind in (
        "Runtime.exceptionThrown",
        "Log.entryAdded",
        "Runtime.consoleAPICalled",
        "Page.javascriptDialogOpening",
    ):
        return kind
    url = params.get("request", {}).get("url", "file:")
    return None if kind != "Network.requestWillBeSent" or url.startswith("file:") else url
