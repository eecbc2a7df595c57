"""The page of `fmflow serve` in a browser, and every text against `fmflow generate`, letter for letter.

    cargo build --release --locked
    python3 -m venv /tmp/page && /tmp/page/bin/pip install playwright
    fmflow run FILE --until STAGE
    /tmp/page/bin/python benches/page.py target/release/fmflow FILE STAGE [--browser /usr/bin/chromium] [--pictures FOLDER]

FILE is a pipeline that ran, STAGE the name of one of its flow checkpoints that was trained on conversations; in the quickstart `sft`. In light
and dark, at widths of 375, 768 and 1280 pixels, the script

1. asks a question, and compares what the page shows with `generate --chat`;
2. goes back to the beginning with the slider, and through all passes: nothing that is written disappears, and the end is the answer;
3. looks at a token, plays the passes, and lets them end;
4. selects text with the keyboard, writes it again, and compares with `generate --prefix --suffix`;
5. asks for a sampler that does not exist, and reads why not;
6. finds that nothing is wider than the window, that text stands out from its background, that the console is silent, and that nobody but the
   server was asked for anything.

The script ends with 1 at the first difference.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import os
import time

from playwright.sync_api import sync_playwright

WIDTHS, THEMES, SEED = (375, 768, 1280), ("light", "dark"), "7"
QUESTION = "sort: d a c"
BEFORE, CHOSEN, AFTER = "The river ", "goes past", " the old stone house."


class Server:
    """A server, from its first answer to its end."""

    def __init__(self, program, place):
        # A file and no pipe: nobody has to read what it goes on saying.
        self.said = tempfile.TemporaryFile()
        self.process = subprocess.Popen([program, "serve", *place, "--port", "0"], stderr=self.said)
        self.address = self.find_address()

    def find_address(self):
        while True:
            ended = self.process.poll() is not None
            text = os.pread(self.said.fileno(), 1 << 20, 0).decode()
            if found := re.search(r"^listening at (\S+) .*\n", text, re.MULTILINE):
                return found[1]
            if ended:
                raise SystemExit(f"the server did not start: {text}")
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        code = self.process.wait(timeout=60)
        self.said.close()
        if sys.exc_info()[0] is None:
            same("the exit code of a server that was asked to stop", code, 0)


def same(what, found, expected):
    if found != expected:
        raise SystemExit(f"FAULT: {what}\n  found    {found!r}\n  expected {expected!r}")


def holds(what, truth):
    same(what, bool(truth), True)


def generate(program, place, arguments):
    """The text that `fmflow generate` writes."""
    command = [program, "generate", *place, *arguments, "--seed", SEED, "--json", "--no-twin"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"FAULT: {' '.join(command)}\n{ran.stderr}")
    return json.loads(ran.stdout)["answers"][0]["text"]


# What the canvas shows: what was given, and the tokens up to the first that only has a name.
SHOWN = """() => {
  let text = "";
  for (const element of document.querySelectorAll("#canvas > span")) {
    if (element.matches(".name, .behind") || element.hidden) continue;
    text += element.textContent;
  }
  return text;
}"""
WRITTEN = """() => [...document.querySelectorAll("#canvas .token:not(.open)")].map(token => token.dataset.place)"""
# How far text stands out: the ratio of luminances that WCAG 2 defines, of every element that has text of its own.
CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const read = color => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const over = ([r, g, b, a], below) => [r, g, b].map((c, i) => (c * a + below[i] * (255 - a)) / 255);
  const light = color => {
    const [r, g, b] = color.map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = element => {
    const below = element.parentElement ? background(element.parentElement) : [255, 255, 255];
    return over(read(getComputedStyle(element).backgroundColor), below);
  };
  let worst = [99, ""];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.matches(":disabled, script, option, .behind") || !element.getClientRects().length) continue;
    const below = background(element), [a, b] = [light(over(read(getComputedStyle(element).color), below)), light(below)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, `${element.tagName} ${element.className} ${element.textContent.trim().slice(0, 40)}`];
  }
  return worst;
}"""


class Visit:
    """One window, from its first look to its last."""

    def __init__(self, browser, address, theme, width):
        self.where = f"{theme}, {width} pixels"
        self.context = browser.new_context(color_scheme=theme, viewport={"width": width, "height": 800})
        self.page = self.context.new_page()
        self.asked, self.said = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.goto(address)
        self.wait("document.querySelector('#sampler').value !== ''")

    def same(self, what, found, expected):
        same(f"{self.where}: {what}", found, expected)

    def fits(self, what):
        wide = self.page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]")
        holds(f"{self.where}: {what} is {max(wide[:2])} wide in a window of {wide[2]}", max(wide[:2]) <= wide[2])
        ratio, element = self.page.evaluate(CONTRAST)
        holds(f"{self.where}: {what}: {element!r} has a contrast of {ratio:.2f}", ratio >= 4.5)

    def wait(self, condition):
        """Until something holds. The page forbids the browser to evaluate texts on its own, as Playwright's waiting does."""
        begun = time.monotonic()
        while not self.page.evaluate(condition):
            holds(f"{self.where}: {condition} within a minute", time.monotonic() - begun < 60)
            time.sleep(0.02)

    def write(self):
        """Presses the button, and waits for the end; returns the text."""
        self.page.evaluate("document.querySelector('#numbers').hidden = true")
        self.page.click("#go")
        self.wait("!document.querySelector('#go').disabled && !document.querySelector('#numbers').hidden")
        return self.page.evaluate(SHOWN)

    def ask(self, expected):
        self.page.fill("#prompt", QUESTION)
        self.page.fill("#seed", SEED)
        self.same("the answer", self.write(), expected)
        self.fits("an answer")

    def scrub(self, expected):
        passes = int(self.page.get_attribute("#pass", "max"))
        holds(f"{self.where}: there are passes", passes >= 1)
        before = set()
        for number in range(passes + 1):
            self.page.evaluate("n => { const e = document.querySelector('#pass'); e.value = n; e.dispatchEvent(new Event('input')); }", number)
            self.same("the pass that is shown", self.page.inner_text("#shown"), f"pass {number} of {passes}")
            written = set(self.page.evaluate(WRITTEN))
            holds(f"{self.where}: nothing disappears in pass {number}", before <= written)
            holds(f"{self.where}: nothing is written before the first pass", number or not written)
            before = written
        self.same("the answer after the last pass", self.page.evaluate(SHOWN), expected)
        self.page.hover("#canvas .token")
        told = self.page.inner_text("#about")
        holds(f"{self.where}: a token tells of itself, not {told!r}", re.match(r"place \d+: .* with probability [01]\.\d{3}", told))
        self.page.check("input[name=color][value=order]")
        self.page.click("#play")
        self.wait(f"document.querySelector('#shown').textContent === 'pass {passes} of {passes}'")
        self.same("the answer after it was played", self.page.evaluate(SHOWN), expected)
        self.fits("colors by order")
        self.page.check("input[name=color][value=doubt]")

    def infill(self, length, expected):
        page = self.page
        page.check("input[name=task][value=gap]")
        page.fill("#prompt", BEFORE + CHOSEN + AFTER)
        page.focus("#prompt")
        page.keyboard.press("Control+Home")
        for _ in BEFORE:
            page.keyboard.press("ArrowRight")
        for _ in CHOSEN:
            page.keyboard.press("Shift+ArrowRight")
        self.wait("document.querySelector('#gap-now').textContent.startsWith('Now')")
        self.same("the gap", page.inner_text("#gap-now"), f"Now: “{CHOSEN}”.")
        page.fill("#length", str(length))
        # Filling another field moves the focus, and must not move the gap.
        self.same("the text with its gap filled", self.write(), expected)
        self.fits("a gap")

    def fail(self):
        self.page.fill("#sampler", "nonsense")
        self.page.click("#go")
        self.page.wait_for_selector("#fault:not([hidden])")
        told = self.page.inner_text("#fault")
        holds(f"{self.where}: the fault names the word: {told!r}", "nonsense" in told)
        self.fits("a fault")

    def end(self, address, pictures):
        if pictures:
            os.makedirs(pictures, exist_ok=True)
            self.page.screenshot(path=os.path.join(pictures, self.where.replace(", ", "-").replace(" ", "-") + ".png"), full_page=True)
        for url in self.asked:
            holds(f"{self.where}: only the server is asked, not {url}", url.startswith(address + "/"))
        # The browser itself notes that a request was refused.
        said = [text for text in self.said if "400" not in text]
        self.same("the console", said, [])
        self.context.close()
        return len(self.asked)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("file")
    parser.add_argument("stage")
    parser.add_argument("--browser", default="/usr/bin/chromium")
    parser.add_argument("--pictures")
    given = parser.parse_args()
    place, length = [given.file, given.stage], 9
    answer = generate(given.program, place, ["--chat", "--prompt", QUESTION])
    filled = generate(given.program, place, ["--prefix", BEFORE, "--suffix", AFTER, "--length", str(length)])
    with Server(given.program, place) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.browser, args=["--no-sandbox"])
        backgrounds, requests = {}, 0
        for theme in THEMES:
            for width in WIDTHS:
                visit = Visit(browser, server.address, theme, width)
                visit.fits("an empty page")
                backgrounds.setdefault(theme, set()).add(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))
                visit.ask(answer)
                visit.scrub(answer)
                visit.infill(length, filled)
                visit.fail()
                requests += visit.end(server.address, given.pictures)
        holds("light and dark have one background each, and not the same", [len(found) for found in backgrounds.values()] == [1, 1] and backgrounds["light"] != backgrounds["dark"])
        browser.close()
    print(f"{len(THEMES) * len(WIDTHS)} windows, {requests} requests, all to the server; the answer was {answer!r}, the gap {filled!r}")


if __name__ == "__main__":
    main()
