"""report.html in headless Chromium, from a file and without a network. By name:

pip install 'colora[browser]' && apt-get install chromium chromium-driver
pytest tests/benchmarks/test_report_browser.py; with COLORA_SCREENSHOTS=FOLDER it keeps pictures of the page.
"""

from __future__ import annotations

import base64
import csv
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from colora.benchmarks.record import environment
from colora.benchmarks.report import BundleFacts, Picture, Report
from colora.benchmarks.report_html import render
from colora.benchmarks.report_pictures import jpeg
from colora.benchmarks.section import Column, Plot, Section, Series

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytest.importorskip("selenium", reason="a browser looks at the report: pip install 'colora[browser]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
if not (CHROMIUM and DRIVER):
    pytest.skip(
        "no chromium and chromedriver on PATH: apt-get install chromium chromium-driver",
        allow_module_level=True,
    )

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-quic", "--force-prefers-reduced-motion"),
)
ROWS = (
    ("shared, 8 tasks", 8, 120.5, "measured"),
    ('a "quoted", name', 16, 9.0, "computed"),
    ("not measured", None, None, "which extra brings it"),
    ("tuned, 8 tasks", 2, 1100.25, "measured"),
)
COLUMNS = (Column("what"), Column("tasks"), Column("memory", "MB", "of a fresh process"), Column("how"))


def report() -> Report:
    tasks = (1.0, 2.0, 4.0, 8.0, 16.0)
    memory = tuple(
        Series(name, tasks, tuple(n * each for n in tasks)) for name, each in (("shared", 9), ("tuned", 70))
    )
    spread = Series(
        "switch", ("refit", "merged", "a peer with a long name"), (4.0, 9.0, 20.0), (3, 8, 15), (5, 11, 28)
    )
    plots = (
        Plot("Resident memory", "tasks", "MB", memory, "line", log_x=True),
        Plot("Switch time", "policy", "ms", (spread,), "bar"),
        Plot("Distribution", "ms", "share", memory, "steps"),
        Plot(
            "By backend",
            "backend",
            "ms",
            (Series("p50", ("ONNX Runtime", "OpenVINO", "PyTorch"), (3, 2, 5)),),
        ),
    )
    sections = (
        Section(
            "memory", "Memory", "8 tasks take 6.2 × less memory than 8 tuned models.", COLUMNS, ROWS, plots
        ),
        Section("quality", "Quality", "Pictures gain +9.5 dB.", COLUMNS, ROWS * 20, (), ("a note",)),
        Section("peers", "Peers", "", notes=("Not measured: pip install 'colora[bench]'",)),
    )
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    flat = np.full_like(noise, 128)
    shown = [Picture(t, "a photo", 128, 96, 20.0, 30.0, jpeg(noise), jpeg(flat)) for t in ("rain", "noise")]
    facts = BundleFacts("b", "shared", "net", "cpu", "fp32", "0" * 64, "1" * 64, {"rain": "2", "noise": "3"})
    return Report(environment(()), facts, {}, {}, 1.0, {}, sections, tuple(shown))


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(downloads: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    page = tmp_path_factory.mktemp("page") / "report.html"
    page.write_text(render(report()), "utf-8")
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with Chrome(options=options, service=Service(str(DRIVER))) as chrome:
        chrome.get(page.as_uri())
        yield chrome


def show(browser: Chrome, width: int, scheme: str) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.refresh()


def find(browser: Chrome, selector: str) -> Any:
    return browser.find_element("css selector", selector)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 375, 768, 1440, 2560])
def test_nothing_is_complained_of_and_the_page_is_as_wide_as_the_screen(
    browser: Chrome, width: int, scheme: str
) -> None:
    show(browser, width, scheme)
    assert browser.get_log("browser") == []
    wide, tall = browser.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    )
    assert wide <= width
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in paper[4:-1].split(","))
    assert brightness < 200 if scheme == "dark" else brightness > 600
    if folder := os.environ.get("COLORA_SCREENSHOTS"):
        clip = {"x": 0, "y": 0, "width": width, "height": tall, "scale": 1}
        asked = {"captureBeyondViewport": True, "clip": clip}
        picture = browser.execute_cdp_cmd("Page.captureScreenshot", asked)["data"]
        (Path(folder) / f"report-{width}-{scheme}.png").write_bytes(base64.b64decode(picture))


def test_nothing_is_loaded_from_anywhere(browser: Chrome) -> None:
    script = (
        "return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))"
    )
    assert browser.execute_script(script) == []


def test_the_slider_moves_the_edge_by_keys_and_by_pointer(browser: Chrome) -> None:
    from selenium.webdriver import ActionChains, Keys

    show(browser, 1440, "light")
    slider = find(browser, ".compare input")
    before = find(browser, ".compare .before")
    assert before.value_of_css_property("clip-path") == "inset(0px 50% 0px 0px)"
    slider.send_keys(Keys.ARROW_LEFT * 10)
    assert slider.get_attribute("value") == "40"
    assert before.value_of_css_property("clip-path") == "inset(0px 60% 0px 0px)"
    width = slider.size["width"]
    ActionChains(browser).drag_and_drop_by_offset(slider, int(width * 0.3), 0).perform()
    assert int(slider.get_attribute("value")) == pytest.approx(80, abs=4)  # the thumb is some px wide
    others = browser.find_elements("css selector", ".compare input")[1:]
    assert [other.get_attribute("value") for other in others] == ["50"]


def cells(browser: Chrome, table: str, column: int) -> list[str]:
    found = browser.find_elements("css selector", f"#{table} tbody tr td:nth-child({column})")
    return [str(cell.get_attribute("data-value")) for cell in found]


def test_tables_are_sorted_by_their_headers(browser: Chrome) -> None:
    show(browser, 1440, "light")
    header = find(browser, "#memory-table th:nth-child(3)")
    header.find_element("css selector", "button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert cells(browser, "memory-table", 3) == ["9.0", "120.5", "1100.25", ""]
    assert cells(browser, "memory-table", 2) == ["16", "8", "2", ""]
    header.find_element("css selector", "button").send_keys("\n")
    assert header.get_attribute("aria-sort") == "descending"
    assert cells(browser, "memory-table", 3) == ["1100.25", "120.5", "9.0", ""]
    find(browser, "#memory-table th:nth-child(1) button").click()
    assert header.get_attribute("aria-sort") is None
    assert cells(browser, "memory-table", 1)[0] == 'a "quoted", name'
    assert find(browser, "#announce").get_attribute("textContent") == "Memory: sorted by what, ascending"


def test_a_table_comes_down_as_csv(browser: Chrome, downloads: Path) -> None:
    show(browser, 1440, "light")
    find(browser, "button[data-table=memory-table]").click()
    file = downloads / "memory.csv"
    for _ in range(100):
        if file.exists():
            break
        time.sleep(0.1)
    with file.open(encoding="utf-8-sig", newline="") as text:
        names, *rows = csv.reader(text)
    assert names == ["what", "tasks", "memory (MB)", "how"]
    assert rows == [["" if cell is None else str(cell) for cell in row] for row in ROWS]


def test_whatever_can_be_used_has_a_name(browser: Chrome) -> None:
    show(browser, 1440, "light")
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")
    roles = {"button", "link", "slider", "image", "table", "region", "navigation", "columnheader", "SvgRoot"}
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    used = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles]
    assert {"slider", "table", "image"} <= {node["role"]["value"] for node in used}
    assert [node["role"]["value"] for node in used if not node.get("name", {}).get("value")] == []
