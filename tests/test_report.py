"""The page and the charts of a run: complete, well-formed and escaped, whatever the run left behind."""

import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from linearnexus.core.errors import UserError
from linearnexus.training.chart import curve_svg, finite, points, small_svg, thin, ticks
from linearnexus.training.report import read_metrics, read_samples, write_report

CONFIG: dict[str, Any] = {
    "type": "train",
    "preset": "gpt-nano",
    "model": {"type": "model", "n_layer": 4, "hidden_size": 128, "vocab_size": 65},
    "data": "stories",
    "tokenizer": "char",
    "sequence_length": 128,
    "batch_size": 16,
    "max_steps": 400,
    "optimizer": "adamw",
    "learning_rate": 0.003,
    "info": {"parameters": 820352},
}
# Validation loss by step: it falls, then rises again.
VALIDATION = {0: 4.2, 100: 2.0, 200: 1.5, 300: 1.4, 400: 1.6}


def training_row(step: int, loss: float) -> dict[str, Any]:
    return {"step": step, "loss": loss, "learning_rate": 0.003, "tokens_per_second": 15000.0, "seconds": 0.5 * step}


def make_rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(0, 401, 10):
        if step:
            rows.append(training_row(step, 1 + 3 * math.exp(-step / 80)))
        if step in VALIDATION:
            rows.append({"step": step, "validation_loss": VALIDATION[step], "seconds": 0.5 * step})
    return rows


def make_run(folder: Path, rows: list[dict[str, Any]] | None = None, samples: str = "", **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}), encoding="utf-8")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows or []), encoding="utf-8")
    (folder / "samples.txt").write_text(samples, encoding="utf-8")
    return folder


class _Page(HTMLParser):
    """The text of a page outside its style sheets; raises where a tag is closed that is not open."""

    VOID = ("meta", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += "" if self.open[-1:] == ["style"] else data + " "


def read_page(run: Path) -> _Page:
    path = write_report(run)
    assert path == run / "report.html"
    page = path.read_text(encoding="utf-8")
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(charts) >= 2
    for chart in charts:
        ET.fromstring(chart)
    assert "nan" not in re.sub(r"gpt-nano|nan-run", "", page).lower()
    return _Page(page)


def circles(svg: str, name: str | None = None) -> list[ET.Element]:
    found = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}circle")
    return [circle for circle in found if circle.get("class") == name]


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_says_what_was_trained_and_how_it_went(tmp_path: Path) -> None:
    samples = "=== step 0 ===\nqzx\n\n=== step 400 ===\nOnce upon\n\na time\n\n"
    text = " ".join(read_page(make_run(tmp_path, make_rows(), samples)).text.split())
    for words in (
        "gpt-nano, trained on stories",
        "820,352",
        "4 layers, hidden size 128",
        "16 x 128",
        "adamw",
        "400 of 400",
    ):
        assert words in text
    assert "65 different characters" in text
    assert "819,200" in text  # 400 steps of 16 x 128 tokens
    assert "3 min 20 s" in text
    assert "First 4.20 perplexity 67 before training" in text
    assert "Last 1.60 perplexity 5.0 after 400 steps" in text
    assert "Best 1.40 perplexity 4.1 after 300 steps" in text
    assert (
        "as unsure as between 67 equally likely characters. After 400 steps: as unsure as between 5.0 equally" in text
    )
    assert "guessing among 65 characters: 4.17" in text
    assert "best: 1.40 at step 300" in text
    assert "Overfitting since step 300" in text  # validation rose by 0.2 while training fell
    assert text.index("qzx") < text.index("Once upon a time")
    assert '"hidden_size": 128' in text  # the whole config


def test_a_model_that_is_worse_than_guessing(tmp_path: Path) -> None:
    """Catches "as between 11,818 equally likely characters", of 65."""
    rows = [{"step": 0, "validation_loss": math.log(11_818)}, {"step": 100, "validation_loss": math.log(65)}]
    text = " ".join(read_page(make_run(tmp_path, rows)).text.split())
    assert "the model was worse than blind guessing among all 65 characters: sure, and wrong." in text
    assert "After 100 steps: as unsure as between 65 equally likely characters. " in text


def test_the_page_needs_no_network_and_no_script(tmp_path: Path) -> None:
    page = read_page(make_run(tmp_path, make_rows()))
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    source = (tmp_path / "report.html").read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|url\(|@import", source)


def test_everything_from_outside_is_escaped(tmp_path: Path) -> None:
    evil = "</pre></title><script>alert('x')</script>&\x00\x1b"
    run = make_run(
        tmp_path / "a<b>&c",
        make_rows(),
        f"=== step 100 ===\n{evil}\n\n",
        preset=evil,
        data=evil,
        optimizer=evil,
        tokenizer=evil,
    )
    page = read_page(run)
    assert "script" not in page.tags
    assert page.text.count("<script>") >= 4


def test_broken_unicode_is_no_obstacle(tmp_path: Path) -> None:
    run = make_run(tmp_path, make_rows(), data="caf\udce9.txt")
    (run / "samples.txt").write_bytes(b"=== step 100 ===\ncaf\xe9 \xe2\x98\x83\n\n")
    assert "caf\ufffd \N{SNOWMAN}" in read_page(run).text


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_run_that_has_hardly_begun_gets_a_page(count: int, tmp_path: Path) -> None:
    rows = [{"step": 0, "validation_loss": 4.2, "seconds": 0.1}, training_row(10, 3.9), training_row(20, 3.5)]
    text = read_page(make_run(tmp_path, rows[:count])).text
    assert ("Nothing is measured yet" in text) == (count == 0)
    assert f"The run is at step {(0, 0, 10, 20)[count]} of 400." in text
    assert "There is no sample yet." in text


def test_training_rows_alone_are_enough(tmp_path: Path) -> None:
    text = read_page(make_run(tmp_path, [training_row(10, 3.9), training_row(20, 3.5)])).text
    assert "Training loss" in text
    assert "best:" not in text


def test_a_config_alone_is_enough_even_an_empty_one(tmp_path: Path) -> None:
    for config in ({}, {"model": None, "info": [], "batch_size": "many", "max_steps": None, "learning_rate": None}):
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        assert "Nothing is measured yet" in read_page(tmp_path).text


def test_a_loss_that_is_no_number_is_told_and_leaves_a_gap(tmp_path: Path) -> None:
    rows = make_rows()
    for row in rows:
        if row["step"] >= 200:
            row.update({key: math.nan for key in row if key != "step"})
    rows[-2].update(loss=math.inf, learning_rate=None)
    text = read_page(make_run(tmp_path / "nan-run", rows)).text
    assert "At step 200 the loss is not a number" in text
    assert "best: 2.00 at step 100" in text
    read_page(make_run(tmp_path / "nan-run", [training_row(10, math.nan)]))


@pytest.mark.parametrize(
    ("losses", "advice"),
    [
        ((4.2, 2.0, 1.5), "still falling"),
        ((4.2, 2.0, 1.5, 1.499), "hardly fell"),
        ((4.2, 0.5, 1.5), "unstable"),  # training, at 0.99, is not below the best: no overfitting
        ((4.2, 1.2, 1.5), "Overfitting"),
        ((1e5, 800.0, 1.5), "over a million"),
    ],
)
def test_the_advice_fits_the_curve(losses: tuple[float, ...], advice: str, tmp_path: Path) -> None:
    rows = [{"step": 100 * place, "validation_loss": loss} for place, loss in enumerate(losses)]
    assert advice in read_page(make_run(tmp_path, [*rows, training_row(400, 0.99)])).text


def test_many_samples_are_folded_and_none_is_lost(tmp_path: Path) -> None:
    samples = "".join(f"=== step {step} ===\nword{step}.\n\n" for step in range(0, 1000, 10))
    page = read_page(make_run(tmp_path, make_rows(), samples))
    assert page.tags.count("li") == 100
    assert page.tags.count("details") == 2
    before, after = page.text.split("The samples between")
    assert re.findall(r"word\d+\.", before)[::11] == ["word0.", "word990."]
    assert len(re.findall(r"word\d+\.", after)) == 88


def test_what_is_no_run_is_answered_with_a_sentence(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError) as caught:
            write_report(folder)
        assert str(caught.value) == (
            f"{folder} is not a run: it has no config.json; give a folder that `linearnexus train` made."
        )
    for content in ("{", "[1]", ""):
        (tmp_path / "config.json").write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=r"config\.json cannot be read .*; restore it, or train again\.$"):
            write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_the_files_are_read_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "m").write_text(
        '{"step": 1, "loss": 2.0}\n\n[3]\n{"loss": 1}\n{"step": 2, "loss": NaN}\n{"step": 3, "lo'
    )
    assert [row["step"] for row in read_metrics(tmp_path / "m")] == [1, 2]
    (tmp_path / "s").write_text("=== step 0 ===\n\n\n=== step 10 ===\na\n\nb === step 1 ===\n\n")
    assert read_samples(tmp_path / "s") == [(0, ""), (10, "a\n\nb === step 1 ===")]
    assert read_metrics(tmp_path / "none") == read_samples(tmp_path / "none") == []


# --- charts ----------------------------------------------------------------------------------------------------------


def test_the_curve_is_a_standalone_image() -> None:
    svg = curve_svg(make_rows(), 65, "gpt-nano on stories", unit="character")
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("width") == "760"
    assert root.find("{http://www.w3.org/2000/svg}rect") is not None  # its own background
    assert "prefers-color-scheme:dark" in svg
    assert not re.search(r"href|url\(|<script", svg)
    assert svg.isascii()


def test_the_curve_marks_each_evaluation_and_the_best() -> None:
    svg = curve_svg(make_rows(), 65, "title")
    dots, (best,) = circles(svg), circles(svg, "best")
    assert len(dots) == len(VALIDATION)
    lowest = max(dots, key=lambda dot: float(dot.get("cy", "0")))  # y grows downwards
    assert (best.get("cx"), best.get("cy")) == (lowest.get("cx"), lowest.get("cy"))
    heights = [float(dot.get("cy", "0")) for dot in dots]
    by_loss = sorted(range(len(dots)), key=lambda place: VALIDATION[100 * place])
    assert by_loss == sorted(range(len(dots)), key=lambda place: -heights[place])


@pytest.mark.parametrize("vocab_size", [65, 1, None])
@pytest.mark.parametrize(
    "losses", [(), (4.2,), (math.nan,), (0.0, 0.0), (1e9, 2.0), (2.0, math.nan, 1.0), (math.inf, 1.0, math.nan)]
)
def test_any_losses_give_a_well_formed_curve(losses: tuple[float, ...], vocab_size: int | None) -> None:
    for key in ("loss", "validation_loss"):
        rows = [{"step": step, key: loss} for step, loss in enumerate(losses)]
        svg = curve_svg(rows, vocab_size, "a < b & \x00 \ud800", width=358, height=340)
        assert not re.search(r"\bnan\b|\binf\b", svg)
        numbers = re.findall(r' (?:cx|x)="([-.\d]+)"', svg)
        assert all(0 <= float(value) <= 358 for value in numbers)
        ET.fromstring(svg)


def test_nan_breaks_the_line() -> None:
    rows = [{"step": step, "loss": math.nan if step == 3 else 2.0} for step in range(6)]
    root = ET.fromstring(curve_svg(rows, 65, "title"))
    (path,) = (path for path in root.iter("{http://www.w3.org/2000/svg}path") if path.get("class") == "training")
    assert path.get("d", "").count("M") == 2
    assert "h4" not in path.get("d", "")
    (alone,) = re.findall(r' d="(M[^"]*h4)"', curve_svg(rows[:1], 65, "title"))  # one point is a dash
    assert alone.endswith("m-2 0h4")


def test_labels_of_equal_ends_do_not_overlap() -> None:
    for loss in (0.0, 2.0, 4.2):
        rows = [{"step": step, key: loss} for step in (0, 9) for key in ("loss", "validation_loss")]
        labels = ET.fromstring(curve_svg(rows, 65, "title")).iter("{http://www.w3.org/2000/svg}text")
        heights = [float(label.get("y", "0")) for label in labels if "value" in label.get("class", "")]
        assert len(heights) == 2
        assert abs(heights[0] - heights[1]) >= 36
        assert max(heights) <= 400 - 48 - 17  # above the axis


def test_a_small_chart_is_well_formed_for_any_values() -> None:
    for line in ([], [(10, 0.0)], [(10, 1e-5), (20, math.nan), (30, 3e-5)], [(10, 15000.0)]):
        ET.fromstring(small_svg(line, "Speed", "tokens & seconds"))


def test_thin_keeps_the_mean_and_the_end() -> None:
    line = [(step, float(step % 7)) for step in range(1, 10_001)]
    short = thin(line, 500)
    assert len(short) == 500
    assert short[-1][0] == 10_000
    assert sum(value for _, value in short) / 500 == pytest.approx(sum(value for _, value in line) / 10_000)
    assert thin(line[:500], 500) == line[:500]
    assert thin([(1, 2.0), (2, math.nan), (3, math.nan), (4, math.nan)], 2)[0] == (2, 2.0)
    assert finite(points([{"step": 1, "a": None}, {"step": 2, "a": 5}, {"step": 3}], "a")) == [(2, 5.0)]


@pytest.mark.parametrize(
    ("high", "most", "smallest", "labels"),
    [
        (4.67, 5, 0, ["0", "1", "2", "3", "4"]),
        (2000, 8, 1, ["0", "500", "1,000", "1,500", "2,000"]),
        (0.00336, 4, 0, ["0", "0.001", "0.002", "0.003"]),
        (1, 8, 1, ["0", "1"]),
        (0.9, 5, 0, ["0", "0.2", "0.4", "0.6", "0.8"]),
        (3e-5, 4, 0, ["0", "0.00001", "0.00002", "0.00003"]),
    ],
)
def test_ticks_are_round(high: float, most: int, smallest: float, labels: list[str]) -> None:
    assert [label for _, label in ticks(high, most, smallest)] == labels


def test_the_report_imports_no_jax() -> None:
    code = "import sys, linearnexus.training.report; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0
