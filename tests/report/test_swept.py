"""The report of a launch that sweeps a value."""

from pathlib import Path
from typing import Any

from lelp_jax.experiment.sweep import Point
from lelp_jax.report import swept
from lelp_jax.report.stage import Finished
from tests.helpers.result_lines import compared, line, refused


def write(comparisons: list[dict[str, Any]]) -> str:
    """Returns the report over as many values, from 1 on."""
    points = [Point("config.a", n, {}) for n in range(1, len(comparisons) + 1)]
    finished = []
    for point, comparison in zip(points, comparisons, strict=True):
        output = point.folder(Path())
        output.mkdir(parents=True)
        (output / "results.jsonl").write_text("{}\n")
        finished.append(Finished(point.name, output, comparison))
    swept.write(Path(), "name", points, finished)
    assert Path("report/sweep.png").exists()
    return Path("report/report.md").read_text()


def students(*values: float | None, method: str, teachers: int) -> list[dict[str, Any]]:
    return [line(method, r, value, teacher=r % teachers) for r, value in enumerate(values)]


def test_cells_and_of_whom_the_intervals_speak() -> None:
    three = students(0.5, 0.6, 0.8, method="kd", teachers=3)
    three += students(0.6, 0.8, 0.7, method="lelp", teachers=3)
    three += [entry | {"teacher": entry["replicate"]} for entry in refused("no", 3, "why")]
    one = [entry | {"teacher": 0} for entry in three]
    two = [entry for entry in one if entry["replicate"] < 2]
    text = write([compared(made) for made in (three, three, one, two)])
    rows = [row.split(" | ") for row in text.splitlines() if row.startswith("| ")][2:]
    assert [row[0] for row in rows] == ["| 1", "| 2", "| 3", "| 4"]
    assert rows[0] == rows[0][:1] + rows[1][1:]
    assert [row[1] for row in rows[:2]] == ["92.33", "92.33"]
    assert rows[0][2] == "63.33"
    assert rows[0][3].startswith("70.00 (+6.67 [-")
    assert rows[3][2:] == ["55.00", "70.00", "refused |"]
    notes = [row for row in text.splitlines() if "ntervals" in row or "Too few" in row]
    assert [note.partition(":")[0] for note in notes] == ["- 1, 2", "- 3", "- 4"]
    assert "new teachers" in notes[0]
    assert "for this teacher" in notes[1]
    assert "Too few replicates to compare methods" in notes[2]


def test_one_note_where_it_is_the_same_and_no_bare_nan() -> None:
    made = students(0.5, 0.6, 0.8, method="kd", teachers=3)
    made += students(0.5, 0.6, 0.8, method="lelp", teachers=3)
    for entry in made:
        if entry["method"] == "lelp":
            entry["test"]["accuracy"] = None
    unknown = [entry | {"teacher_test": None} for entry in made]
    text = write([compared(made), compared(unknown)])
    assert "| 1 | 92.33 | 63.33 | undefined |" in text
    assert "| 2 |  | 63.33 | undefined |" in text
    assert "nan" not in text.lower()
    assert (
        text.count("new teachers and new test rows (3 replicates, 3 teachers, 4 test rows).") == 1
    )
