"""A real browser: Debian's Chromium, driven by Playwright. Whoever opens a page with it hears of whatever went wrong there."""

import contextlib

from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZES = {"wide": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
# How many pixels of the first series' colour a chart's canvas has: it shows more than its axes.
DRAWN = """(plot) => {
  const [canvas] = plot.querySelectorAll("canvas");
  // Read from a copy: of a canvas that is read often the browser says so, which would count as a fault of the page.
  const often = { willReadFrequently: true };
  const probe = document.createElement("canvas").getContext("2d", often);
  probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--one").trim();
  probe.fillRect(0, 0, 1, 1);
  const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
  const copy = document.createElement("canvas");
  copy.width = canvas.width;
  copy.height = canvas.height;
  const drawn = copy.getContext("2d", often);
  drawn.drawImage(canvas, 0, 0);
  const { data } = drawn.getImageData(0, 0, canvas.width, canvas.height);
  let found = 0;
  for (let at = 0; at < data.length; at += 4) {
    if (Math.abs(data[at] - red) + Math.abs(data[at + 1] - green) + Math.abs(data[at + 2] - blue) < 12) found += 1;
  }
  return found;
}"""


@contextlib.contextmanager
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Visitor:
    """Opens pages of one program, and keeps what went wrong on them: messages, errors, requests to others."""

    def __init__(self, browser, port):
        self.browser, self.own = browser, f"http://127.0.0.1:{port}"
        self.faults, self.contexts = [], []

    def visit(self, path="/", scheme="light", size="wide", **options):
        context = self.browser.new_context(color_scheme=scheme, viewport=SIZES[size], **options)
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: self.faults.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))
        page.on("request", self._asked)
        page.goto(f"{self.own}{path}")
        return page

    def _asked(self, request):
        if not request.url.startswith((f"{self.own}/", "data:")):
            self.faults.append(f"asks {request.url}")

    def close(self):
        for context in self.contexts:
            context.close()
