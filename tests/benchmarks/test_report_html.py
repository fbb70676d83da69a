"""Axes, plots and the page: what is drawn lies where its numbers say, and nothing is loaded from anywhere."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from colora.benchmarks.record import environment
from colora.benchmarks.report import BundleFacts, Picture, Report
from colora.benchmarks.report_axis import make_axis, tick_label, written
from colora.benchmarks.report_html import flags, numeric, ratios, render
from colora.benchmarks.report_plot import draw
from colora.benchmarks.section import Column, Plot, Section, Series
from hypothesis import given, settings
from hypothesis import strategies as st

POSITIVE = st.floats(1e-9, 1e12)
CURVE = Series("a", (1, 2, 4), (10.0, 20.0, 40.0))


@settings(max_examples=50, deadline=None, derandomize=True)  # a busy machine is no failure
@given(st.lists(st.floats(-1e9, 1e9, allow_subnormal=False), min_size=1), st.booleans())
def test_a_linear_axis_holds_all_values_between_its_first_and_last_tick(
    values: list[float], zero: bool
) -> None:
    axis = make_axis(values, from_zero=zero)
    slack = 1e-6  # of the length: ends and step are floats that differ by 1e9 in size
    assert all(-slack <= axis.at(value) <= 1 + slack for value in values)
    assert 2 <= len(axis.ticks) <= 7
    assert not zero or axis.low <= 0 <= axis.high


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(POSITIVE, min_size=1))
def test_a_logarithmic_axis_holds_all_values_and_its_ticks(values: list[float]) -> None:
    axis = make_axis(values, log=True)
    assert all(0 <= axis.at(value) <= 1 for value in (*values, *axis.ticks))
    assert 1 <= len(axis.ticks) <= 7


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((None, "–"), ("a", "a"), (0, "0"), (math.inf, "∞"), (1e-9, "1.00e−09"), (0.5, "0.5000")),
        *((28.391, "28.39"), (-2.0, "−2.000"), (1234567, "1\u202f234\u202f567"), (12345.6, "12\u202f346")),
    ],
)
def test_numbers_are_written_to_four_digits(value: float | str | None, text: str) -> None:
    assert written(value) == text


def test_ticks_are_short() -> None:
    assert [tick_label(v) for v in (0, 2000, 20000, 1.5e6, 0.002)] == ["0", "2000", "20k", "1.5M", "0.002"]


def test_a_curve_rises_to_the_right_and_its_marks_say_their_numbers() -> None:
    drawing = draw(Plot("t", "tasks", "MB", (CURVE,)))
    assert drawing is not None
    (trace,) = drawing.traces
    assert [mark.x for mark in trace.marks] == sorted(mark.x for mark in trace.marks)
    assert [mark.y for mark in trace.marks] == sorted((mark.y for mark in trace.marks), reverse=True)
    assert trace.marks[0].told == "a: 1, 10.00" and trace.path.count("L") == 2
    assert drawing.told == "MB against tasks: a from 10.00 to 40.00."


def test_what_was_not_measured_has_the_colour_of_what_it_belongs_to() -> None:
    names = ("a", "a: extrapolated", "b: extrapolated", "note: c", "b: law")
    drawing = draw(Plot("t", "tasks", "MB", tuple(replace(CURVE, name=name) for name in names)))
    assert drawing is not None
    assert [(trace.style, trace.derived) for trace in drawing.traces] == [
        (0, ""),
        (0, "extrapolated"),
        (1, "extrapolated"),
        (2, ""),
        (1, "law"),
    ]
    assert drawing.legend == {"a": 0, "b": 1, "note: c": 2} and drawing.derived == "extrapolated, law"


def test_few_values_on_a_logarithmic_axis_are_its_ticks() -> None:
    drawing = draw(Plot("t", "tasks", "MB", (CURVE,), log_x=True))
    assert drawing is not None and [tick.label for tick in drawing.x_ticks] == ["1", "2", "4"]


def luminance(colour: str) -> float:
    """Relative, of #rrggbb (WCAG 2.2)."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_curves_stand_out(scheme: int) -> None:
    """At least 4.5 : 1 for text and 3 : 1 for what is drawn (WCAG 2.2, 1.4.3 and 1.4.11)."""
    css = (files("colora.benchmarks") / "report.css").read_text("utf-8")
    rules = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", rules[scheme]))

    def contrast(one: str, other: str) -> float:
        high, low = sorted((luminance(colours[one]), luminance(colours[other])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for paper in ("paper", "card"):
        assert min(contrast(text, paper) for text in ("ink", "soft", "link", "s0")) >= 4.5
    assert contrast("flag-ink", "flag") >= 4.5
    assert min(contrast(f"s{number}", "card") for number in range(8)) >= 3


def test_steps_go_along_the_axes() -> None:
    drawing = draw(Plot("t", "ms", "share", (CURVE,), "steps"))
    assert drawing is not None and re.fullmatch(r"M[\d.,]+(H[\d.]+V[\d.]+){2}", drawing.traces[0].path)


def test_bars_are_as_long_as_their_values_and_names_have_room() -> None:
    bars = Series("time", ("a very long name of an operator", "b"), (10.0, 40.0), (9.0, 30.0), (11.0, 50.0))
    drawing = draw(Plot("t", "operator", "ms", (bars,), "bar"))
    assert drawing is not None
    one, four = drawing.traces[0].marks
    assert (four.x - four.base) / (one.x - one.base) == pytest.approx(4, rel=0.02)  # px of one decimal
    assert four.low is not None and four.high is not None and four.low < four.x < four.high
    assert drawing.names[0].label == "a very long name of an operator" and one.y < four.y


def test_what_can_not_be_shown_is_left_out() -> None:
    odd = Series("a", (0, 1, 2, 3), (1.0, math.nan, 0.0, 5.0))
    drawing = draw(Plot("t", "x", "y", (odd,), "scatter", log_y=True))
    assert drawing is not None and [m.told for m in drawing.traces[0].marks] == ["a: 0, 1.000", "a: 3, 5.000"]
    assert draw(Plot("t", "x", "y", (Series("a", (1,), (math.inf,)), Series("b", (), ())))) is None


def test_names_on_an_axis_without_room_are_slanted() -> None:
    names = Series("a", tuple(f"backend number {n}" for n in range(6)), tuple(map(float, range(6))))
    drawing = draw(Plot("t", "backend", "ms", (names,)))
    assert drawing is not None and drawing.slanted and all(len(t.label) <= 14 for t in drawing.x_ticks)


@pytest.mark.parametrize(
    ("text", "bold"),
    [("3.4 × less at 256×256 px", ["3.4 ×"]), ("+9.6 dB, 7 % of it", ["+9.6 dB", "7 %"]), ("5 of 6", [])],
)
def test_ratios_are_bold(text: str, bold: list[str]) -> None:
    assert re.findall('<b class="ratio">(.*?)</b>', ratios(text)) == bold


def test_only_columns_of_numbers_are_aligned_right() -> None:
    assert numeric([("a", 1, None, 2.0), ("b", None, None, "x")]) == {1, 2}
    assert numeric([]) == set()


@pytest.fixture
def report() -> Report:
    plots = tuple(Plot(f"As {kind}", "x", "y", (CURVE, CURVE), kind) for kind in ("line", "steps", "bar"))
    evil = '<script>alert("x")</script>'
    sections = (
        Section("memory", "Memory", f"3 × less {evil}", (Column("task"),), ((evil,), (None,)), plots, ("a",)),
        Section("peers", "Peers", "", notes=("Not measured: pip install 'colora[bench]'",)),
    )
    facts = BundleFacts("b", "shared", "net", "cpu", "fp32", "0" * 64, "1" * 64, {"rain": "2", "noise": "3"})
    shown = Picture("rain", "a photo", 8, 9, 20.0, 30.0, "YQ==", "Yg==")
    return Report(environment(()), facts, {}, {}, 1.0, {}, sections, (shown,))


class Page(HTMLParser):
    """Addresses, ids, what ids are referred to, and controls without a name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses, self.ids, self.referred, self.scripts = list[str](), list[str](), set[str](), 0
        self.controls = list[dict[str, str | None]]()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        told = dict(attributes)
        self.addresses += [str(told[name]) for name in ("src", "href", "srcset", "data") if name in told]
        self.ids += [str(told["id"])] if "id" in told else []
        for name in ("aria-labelledby", "data-table"):
            self.referred |= set((told.get(name) or "").split())
        self.scripts += tag == "script"
        if tag in ("input", "img", "svg", "nav"):
            self.controls.append(told)


def test_the_page_needs_no_network_and_every_reference_has_its_target(report: Report) -> None:
    text = render(report)
    page = Page(text)
    assert all(address.startswith(("data:", "#")) for address in page.addresses), page.addresses
    assert "url(" not in text and "@import" not in text and "fetch(" not in text
    assert "default-src 'none'" in text
    assert len(page.ids) == len(set(page.ids))
    targets = page.referred | {address[1:] for address in page.addresses if address.startswith("#")}
    assert targets <= set(page.ids)


def test_pictures_controls_and_plots_have_names(report: Report) -> None:
    for told in Page(render(report)).controls:
        assert {"aria-label", "aria-labelledby", "alt", "aria-hidden"} & told.keys(), told


def test_eleven_series_look_different(report: Report) -> None:
    peers = tuple(Series(f"peer {i}", (1.0 + i,), (2.0,)) for i in range(11))
    section = Section("peers", "Peers", "", plots=(Plot("t", "ms", "ms", peers, "scatter"),))
    text = render(replace(report, sections=(section,)))
    drawn = re.findall(r'<li><svg viewBox="[^"]*" class="(s\d)" aria-hidden="true">(<[^>]*>)</svg>peer', text)
    assert len(drawn) == len(set(drawn)) == 11  # colour and shape


def test_text_of_a_scenario_is_never_markup(report: Report) -> None:
    text = render(report)
    assert Page(text).scripts == 1 and "&lt;script&gt;alert" in text


def test_what_was_not_measured_is_said_and_the_rest_is_drawn(report: Report) -> None:
    text = render(report)
    assert "pip install &#39;colora[bench]&#39;" in text
    assert text.count('role="img"') == 3 and text.count("</figure>") == 4
    assert "One backbone and 2 adapters, or 2 tuned models?" in text


def test_doubtful_numbers_are_flagged(report: Report) -> None:
    where = replace(report.environment, clean_tree=False, load_average_1min=3.2)
    told = flags(replace(report, environment=where))
    assert told[0].startswith("Not measured at a clean commit") and "load 3.2" in told[1]
    assert not flags(replace(report, environment=replace(where, clean_tree=True, load_average_1min=0.1)))
