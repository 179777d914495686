"""Plays one case: evaluates it, runs the lowerings, and lists what differs. Probe and batch must agree to the bit, both with the
evaluator; where it has an error, the cell is NULL and listed, and no neighbour is.
"""

import collections
import dataclasses
import pathlib
import struct
from typing import Any

import engine_runs
import oracle
import printing
from rules import Rules
from tree import Case
from values import Fault


@dataclasses.dataclass
class Difference:
    """`kind` groups: refused, probe<>batch, value, error not listed, error listed, left out, crash."""

    kind: str
    where: str
    feature: str = ""
    row: int = -1
    wanted: str = ""
    got: str = ""

    def line(self) -> str:
        at = f" {self.feature}[{self.row}]" if self.feature else ""
        return f"{self.kind} ({self.where}){at}: want {self.wanted} got {self.got}"


@dataclasses.dataclass
class Played:
    differences: list[Difference]
    cells: int
    # Cells and rows that are errors by the evaluator: what makes a run worth its time.
    faults: int = 0
    left_out: int = 0


def bits(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(bits, value))
    return struct.pack(">d", value) if isinstance(value, float) else value


def play(case: Case, folder: pathlib.Path, rules: Rules, lowerings: Any = engine_runs.LOWERINGS) -> Played:
    """Run a case in `folder`."""
    wanted = oracle.expected(case, rules)
    engine_runs.write_case(folder, case, printing.definitions(case))
    answers = {lowering: engine_runs.training_set(folder, case.service.name, lowering, wanted.cells) for lowering in lowerings}
    found = []
    for lowering, answer in answers.items():
        found += differences(wanted, answer, rules, lowering)
    whole = [answer.cells for answer in answers.values() if answer.cells is not None]
    if len(whole) == 2:
        found += unequal(*whole)
    cells = sum(len(column) for column in wanted.cells.values()) * len(answers)
    return Played(found, cells, wanted.faults(), sum(wanted.left_out.values()))


def refused_as_a_whole(wanted: oracle.Expected, rules: Rules) -> bool:
    """Whether the old rules let one error take everything."""
    rows = sum(wanted.left_out.values()) and not rules.a_failing_row_is_left_out
    return bool(rows or wanted.faults() and not rules.a_failing_cell_is_null)


def differences(wanted: oracle.Expected, answer: engine_runs.Answer, rules: Rules, where: str) -> list[Difference]:
    """What one lowering or the stream says otherwise than the evaluator."""
    if answer.cells is None:
        if refused_as_a_whole(wanted, rules):
            return []
        crash = answer.code < 0 or answer.code in (4, 101) or "panicked" in answer.refused
        return [Difference("crash" if crash else "refused", where, got=answer.refused[-1500:])]
    if refused_as_a_whole(wanted, rules):
        return [Difference("answered", where, wanted="a refusal of the whole set")]
    found = []
    for feature, column in wanted.cells.items():
        got = answer.cells.get(feature)
        if got is None or len(got) != len(column):
            found.append(Difference("shape", where, feature, wanted=str(len(column)), got=str(got and len(got))))
            continue
        loose = feature in wanted.approximate
        for row, (expected, cell) in enumerate(zip(column, got)):
            if not oracle.equal(expected, cell, loose):
                found.append(Difference("value", where, feature, row, told(expected), told(cell)))
    if rules.errors_are_listed:
        found += unlisted(wanted, answer, where)
    if rules.left_out_is_counted and (answer.left_out or {}) != wanted.left_out:
        found.append(Difference("left out", where, wanted=str(wanted.left_out), got=str(answer.left_out)))
    return found


def unlisted(wanted: oracle.Expected, answer: engine_runs.Answer, where: str) -> list[Difference]:
    errors = {(row, feature) for feature, column in wanted.cells.items() for row, cell in enumerate(column) if isinstance(cell, Fault)}
    listed = answer.errors or set()
    found = [Difference("error not listed", where, feature, row, told(wanted.cells[feature][row]), "NULL") for row, feature in sorted(errors - listed)]
    return found + [Difference("error listed", where, feature, row, told(wanted.cells[feature][row]), "error")
                    for row, feature in sorted(listed - errors) if feature in wanted.cells]


def unequal(left: dict, right: dict) -> list[Difference]:
    """Bits that differ between the lowerings."""
    found = []
    for feature in left:
        for row, (a, b) in enumerate(zip(left[feature], right[feature])):
            if bits(a) != bits(b):
                found.append(Difference("probe<>batch", "files", feature, row, told(a), told(b)))
    return found


def told(value: Any) -> str:
    return f"error ({value})" if isinstance(value, Fault) else "NULL" if value is None else repr(value)


def summary(found: list[Difference]) -> str:
    counts = collections.Counter(difference.kind for difference in found)
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
