"""Opens a page of `fastrcaps report` in a headless Chromium with the network off, and does what a reader does. Or opens one that
`fastrcaps serve` shows, and sees that it follows its study.

    python3 tests/report/browser.py PAGE TRIALS_CSV SHOTS [--budget SECONDS]

PAGE is the page's file or its address, TRIALS_CSV the study's trials.csv, SHOTS a folder for screenshots. Exit code 0 if all holds, 1 if
something does not, 77 if there is no browser. Needs nothing but Python and a browser called chromium, or what
FASTRCAPS_BROWSER names. Talks with the browser over a pipe, in the DevTools protocol.
"""

import argparse
import base64
import csv
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ABSENT = 77
# Seconds until what a reader does must have shown: a machine that does something else beside is slow.
PATIENCE = 60


def soon(read, holds, patience=PATIENCE):
    """What `read` gives as soon as it `holds`, or at last."""
    end = time.monotonic() + patience
    while not holds(value := read()) and time.monotonic() < end:
        time.sleep(0.1)
    return value


def find_browser():
    named = os.environ.get("FASTRCAPS_BROWSER")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A browser, and one tab of it."""

    def __init__(self, program, folder):
        flags = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run", "--disable-extensions",
            "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--user-data-dir={folder}/profile", "about:blank",
        ]
        # The browser reads commands from descriptor 3 and answers on 4.
        shell = ["sh", "-c", 'exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null', program]
        self.process = subprocess.Popen(shell + flags, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.number, self.rest, self.events, self.session = 0, b"", [], None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.connect(False)

    def connect(self, is_on):
        self.call("Network.emulateNetworkConditions", offline=not is_on, latency=0, downloadThroughput=-1, uploadThroughput=-1)

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.process.stdin.write(json.dumps(message).encode() + b"\0")
        self.process.stdin.flush()
        while True:
            answer = self.read(PATIENCE)
            if answer is None:
                raise SystemExit(f"the browser does not answer {method}")
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise SystemExit(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def read(self, patience):
        end = time.monotonic() + patience
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            part = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
            if not part:
                return None
            self.rest += part
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def load(self, page):
        """Opens a page, and waits until all of it is there."""
        before = len(self.events)
        self.call("Page.navigate", url=page)
        is_there = lambda: any(event.get("method") == "Page.loadEventFired" for event in self.events[before:])
        while not is_there():
            event = self.read(PATIENCE)
            if event is None:
                raise SystemExit(f"{page} is not loaded")
            self.events.append(event)

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise SystemExit(f"{expression}: {json.dumps(result['exceptionDetails'])[:500]}")
        return result["result"].get("value")

    def wait(self, expression, what, patience=PATIENCE):
        if not soon(lambda: self.evaluate(expression), bool, patience):
            raise SystemExit(f"not within {patience} s: {what}")

    def size(self, width, height, mobile=False, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="", features=[scheme])

    def open(self, page):
        begun = time.monotonic()
        self.call("Page.navigate", url=page)
        self.wait("document.body && document.body.dataset.ready === 'yes'", "the page is ready")
        # Until what was asked for is on the screen.
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
        return time.monotonic() - begun

    def mouse(self, kind, x, y, button="none"):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=0 if button == "none" else 1, clickCount=1)

    def drag(self, start, end):
        self.mouse("mouseMoved", *start)
        self.mouse("mousePressed", *start, "left")
        for step in range(1, 9):
            share = step / 8
            self.mouse("mouseMoved", *(a + (b - a) * share for a, b in zip(start, end)), "left")
        self.mouse("mouseReleased", *end, "left")

    def shot(self, path, whole=True):
        if whole:
            # Charts are drawn when they come into view.
            self.evaluate("(async () => { for (let y = 0; y < document.body.scrollHeight; y += 500) { scrollTo(0, y); "
                          "await new Promise(done => setTimeout(done, 60)); } scrollTo(0, 0); })()")
            time.sleep(0.3)
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(picture["data"]))

    def complaints(self, home=None):
        """What the console says of errors and warnings, and requests that left the page, or its server where it has one."""
        found = []
        for event in self.events:
            method, of = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                details = of["exceptionDetails"]
                found.append(details.get("exception", {}).get("description", details["text"]))
            elif method == "Runtime.consoleAPICalled" and of["type"] in ("error", "warning", "assert"):
                found.append(" ".join(str(part.get("value", part.get("description"))) for part in of["args"]))
            elif method == "Log.entryAdded" and of["entry"]["level"] in ("error", "warning"):
                found.append(of["entry"]["text"])
            elif method == "Network.requestWillBeSent":
                url = of["request"]["url"]
                if url.split(":")[0] in ("http", "https", "ws", "wss") and not (home and url.startswith(home)):
                    found.append(f"the page asks for {url}")
        return found

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


CHART = "echarts.getInstanceByDom(document.getElementById('chart-{}'))"


class Checks:
    """What holds of a page."""

    def __init__(self, browser, arguments, folder):
        self.is_served, self.study = arguments.page.startswith("http"), Path(arguments.trials).parent
        self.browser, self.folder = browser, Path(folder)
        self.page = arguments.page if self.is_served else Path(arguments.page).resolve().as_uri()
        self.shots, self.budget = Path(arguments.shots), arguments.budget
        self.shots.mkdir(parents=True, exist_ok=True)
        with open(arguments.trials, newline="") as file:
            self.trials = list(csv.DictReader(file))
        self.failures = []

    def hold(self, is_so, what):
        print(f"{'ok' if is_so else 'FAILED'}: {what}")
        if not is_so:
            self.failures.append(what)

    def run(self):
        self.browser.size(1280, 900)
        (self.served if self.is_served else self.file)()
        return self.failures

    def served(self):
        self.browser.connect(True)
        self.browser.open(self.page)
        rows, points = self.rows_shown(), self.points_shown()
        self.hold(rows == len(self.trials) and points > 0, f"the served page shows {points} points and {rows} of {len(self.trials)} trials")
        told = "document.getElementById('live').textContent"
        self.browser.wait(f"{told} === 'follows the study'", "the page follows its study")
        os.utime(self.study / "study.toml")
        self.browser.wait(f"{told}.includes('taken anew')", "the page is taken anew when its study changes", 120)
        anew = soon(lambda: (self.points_shown(), self.rows_shown()), lambda shown: shown == (points, rows))
        self.hold(anew == (points, rows), f"taken anew, it shows the same {anew}")
        self.browser.shot(self.shots / "served.png")
        complaints = self.browser.complaints(self.page)
        self.hold(not complaints, f"the console is silent and nothing leaves the server {complaints[:5]}")

    def file(self):
        browser = self.browser
        took = browser.open(self.page)
        self.hold(took <= self.budget, f"the page is interactive after {took:.2f} s, of at most {self.budget:.1f}")
        browser.shot(self.shots / "light.png")
        self.hover()
        self.brush()
        self.filters()
        self.labels()
        browser.size(1280, 900, dark=True)
        browser.open(self.page)
        browser.shot(self.shots / "dark.png")
        self.phone()
        self.without_scripts()
        complaints = browser.complaints()
        self.hold(not complaints, f"the console is silent and nothing leaves the page {complaints[:5]}")

    def rows_shown(self):
        return int(self.browser.evaluate("document.getElementById('shown').textContent").split(" ")[0])

    def points_shown(self):
        """Points in the picture of the front; the baseline always is."""
        self.into_view("front")
        series = f"{CHART.format('front')}.getOption().series.filter(s => s.type === 'scatter')"
        return self.browser.evaluate(f"{series}.reduce((n, s) => n + s.data.length, 0)")

    def into_view(self, chart):
        self.browser.evaluate(f"document.getElementById('chart-{chart}').scrollIntoView({{ block: 'center' }})")
        self.browser.wait(f"Boolean(window.echarts && {CHART.format(chart)})", f"the chart {chart} is drawn")
        time.sleep(0.3)
        return self.browser.evaluate(f"(() => {{ const r = document.getElementById('chart-{chart}').getBoundingClientRect(); return [r.x, r.y]; }})()")

    def hover(self):
        data = json.loads(self.browser.evaluate("document.getElementById('data').textContent"))
        # Points may lie one above another: of all, the one farthest from its neighbours is looked at.
        place = (
            f"(() => {{ const c = {CHART.format('front')}; const series = c.getOption().series.filter(s => s.type === 'scatter' && s.data.length);"
            "const points = (of) => of.flatMap(s => s.data.map(({ value }) => ({ index: value[2], at: c.convertToPixel({ xAxisIndex: 0, yAxisIndex: 0 }, [value[0], value[1]]) })));"
            "const all = points(series);"
            "const alone = (p) => Math.min(1e9, ...all.filter(q => q.index !== p.index).map(q => Math.hypot(q.at[0] - p.at[0], q.at[1] - p.at[1])));"
            "const p = all.filter(p => c.containPixel('grid', p.at)).reduce((p, q) => alone(q) > alone(p) ? q : p);"
            "return [...p.at, p.index]; })()")
        label = None

        def tip():
            nonlocal label
            left, top = self.into_view("front")
            x, y, index = self.browser.evaluate(place)
            label = data["labels"][data["points"]["candidate"][index]]
            for step in (6, 3, 0):
                self.browser.mouse("mouseMoved", left + x - step, top + y)
            time.sleep(0.3)
            return self.browser.evaluate("[...document.querySelectorAll('#chart-front .tip')].map(t => [t.querySelector('b').textContent, t.textContent])")

        # A point of a beginning has its epochs behind its name.
        is_named = lambda name: name == label or name.startswith(f"{label}, ")
        is_its = lambda tips: any(is_named(name) and "validation" in text for name, text in tips)
        tips = soon(tip, is_its)
        self.hold(is_its(tips), f"hovering shows the configuration {label!r} ({tips})")
        self.browser.shot(self.shots / "hover.png", whole=False)
        self.browser.mouse("mouseMoved", 5, 5)

    def brush(self):
        before, points = self.rows_shown(), self.points_shown()
        # Along the last axis, the accuracy: its upper third.
        ends = (
            f"(() => {{ const c = {CHART.format('relations')}; const axes = c.getOption().parallelAxis; const last = axes.length - 1;"
            "const model = c.getModel().getComponent('parallelAxis', last); const a = model.axis; const e = model.coordinateSystem;"
            "const g = e.getAxisLayout(model.get('dim') !== undefined ? 'dim' + last : last);"
            "const p = (v) => { const t = [a.dataToCoord(v), 0]; const m = g.transform; return [m[0] * t[0] + m[2] * t[1] + m[4], m[1] * t[0] + m[3] * t[1] + m[5]]; };"
            "const [low, high] = a.scale.getExtent(); return [p(low + .66 * (high - low)), p(high - .001 * (high - low))]; })()")

        def rows_left():
            if self.rows_shown() < before:
                # What was drawn shows late.
                return self.rows_shown()
            left, top = self.into_view("relations")
            low, high = ((left + x, top + y) for x, y in self.browser.evaluate(ends))
            self.browser.drag(high, low)
            return soon(self.rows_shown, lambda rows: rows < before, 2)

        after = soon(rows_left, lambda rows: rows < before)
        self.browser.shot(self.shots / "brush.png", whole=False)
        self.hold(0 < after < before, f"what is drawn along an axis keeps {after} of {before} rows of the table")
        left_over = soon(self.points_shown, lambda count: count < points)
        self.hold(left_over < points, f"the front follows: {left_over} of {points} points")
        self.download(after)
        self.keep_all(before)

    def keep_all(self, count):
        self.browser.evaluate("document.getElementById('reset').click()")
        rows = soon(self.rows_shown, lambda rows: rows == count)
        self.hold(rows == count, f"'Keep all' brings all {count} rows back ({rows})")

    def download(self, count):
        folder = self.folder / "downloads"
        self.browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self.browser.evaluate("document.getElementById('download').click()")

        def downloaded():
            for path in folder.glob("*.csv"):
                with open(path, newline="") as file:
                    return list(csv.DictReader(file))
            return []

        rows = soon(downloaded, lambda rows: len(rows) == count)
        own = {row["key"]: row for row in self.trials}
        is_same = all(row["key"] in own and all(own[row["key"]][name] == cell for name, cell in row.items()) for row in rows)
        self.hold(len(rows) == count, f"the download has the {count} rows of the table ({len(rows)})")
        self.hold(is_same, "each cell of it is that of trials.csv")

    def filters(self):
        first = self.trials[0]["configuration"]
        self.browser.evaluate(
            f"(() => {{ const i = document.querySelector('#filters input[type=search]'); i.value = {json.dumps(first)}; i.dispatchEvent(new Event('input')); }})()")
        expected = sum(first.lower() in row["configuration"].lower() for row in self.trials)
        rows = soon(self.rows_shown, lambda rows: rows == expected)
        self.hold(rows == expected, f"searching for {first!r} keeps {expected} rows ({rows})")
        self.keep_all(len(self.trials))
        # By the keyboard alone: the first box of the first axis.
        box = "document.querySelectorAll('#filters fieldset')[2]?.querySelector('input')"
        if self.browser.evaluate(f"Boolean({box})"):
            before = len(self.trials)
            self.browser.evaluate(f"{box}.focus()")
            for kind in ("keyDown", "keyUp"):
                self.browser.call("Input.dispatchKeyEvent", type=kind, key=" ", code="Space", windowsVirtualKeyCode=32, text=" " if kind == "keyDown" else "")
            rows = soon(self.rows_shown, lambda rows: rows < before)
            self.hold(rows < before, f"a filter works by the keyboard ({rows} of {before} rows)")
            self.keep_all(before)
        self.browser.evaluate("document.querySelector('#trials-table th[data-column=validation_accuracy] button').click()")
        accuracies = "[...document.querySelectorAll('#trials-table tbody tr')].map(r => parseFloat(r.cells[2].textContent)).filter(v => !isNaN(v))"
        told = "document.querySelector('#trials-table th[data-column=validation_accuracy]').getAttribute('aria-sort')"
        is_sorted = lambda cells: bool(cells) and cells == sorted(cells, reverse=True) and self.browser.evaluate(told) == "descending"
        cells = soon(lambda: self.browser.evaluate(accuracies), is_sorted)
        self.hold(is_sorted(cells), f"the table is sorted by a click on its heading {cells[:5]}")

    def labels(self):
        self.hold(self.browser.evaluate("document.querySelectorAll('main script, main iframe, main object').length") == 0, "no label became an element")
        self.hold(not self.browser.evaluate("Boolean(window.pwned)"), "no label ran as a script")
        lost = self.browser.evaluate("[...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href')).filter(h => !document.getElementById(h.slice(1)))")
        self.hold(not lost, f"every reference within the page leads somewhere {lost}")
        unnamed = self.browser.evaluate(
            "[...document.querySelectorAll('img:not([alt]), button:empty, [role=img]:not([aria-label])')].length + "
            "[...document.querySelectorAll('input, select')].filter(i => !i.labels?.length).length")
        self.hold(unnamed == 0, "every picture and every input has a name")

    def phone(self):
        self.browser.size(390, 844, mobile=True)
        self.browser.open(self.page)
        wide = soon(lambda: self.browser.evaluate("document.documentElement.scrollWidth"), lambda width: width <= 390)
        self.hold(wide <= 390, f"at 390 pixels nothing reaches out of the page ({wide})")
        self.browser.shot(self.shots / "phone.png")
        self.hold(self.rows_shown() > 0, "the table works there")

    def without_scripts(self):
        self.browser.call("Emulation.setScriptExecutionDisabled", value=True)
        self.browser.size(1280, 900)
        self.browser.load(self.page)
        document = self.browser.call("DOM.getDocument", depth=0)["root"]["nodeId"]
        text = self.browser.call("DOM.getOuterHTML", nodeId=document)["outerHTML"]
        has_all = 'src="data:image/' in text and 'id="front-table"' in text and 'data-ready="yes"' not in text
        self.hold(has_all, "without scripts there are pictures and the table of the front")
        self.browser.shot(self.shots / "no-script.png", whole=False)
        self.browser.call("Emulation.setScriptExecutionDisabled", value=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page")
    parser.add_argument("trials")
    parser.add_argument("shots")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds until the page must be interactive")
    arguments = parser.parse_args()
    program = find_browser()
    if not program:
        print("there is no Chromium: install it, or name it in FASTRCAPS_BROWSER")
        return ABSENT
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(program, folder)
        try:
            failures = Checks(browser, arguments, folder).run()
        finally:
            browser.close()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
