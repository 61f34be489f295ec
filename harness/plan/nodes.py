"""
YAML with line numbers: a cursor over composed nodes that records what is wrong and goes on.

Nothing here knows scenarios. A wrong value is recorded as a Problem and read as None, so that one pass finds
every problem. Scalars are read as the text that was written: YAML 1.1's surprises (`no` is false, `1:30` is 90) never
reach a plan.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from harness import units
from harness.errors import Problem
from harness.plan.model import Source

MAX_TEXT = 262_144  # characters in a file
MAX_DEPTH = 40  # nested mappings and lists
MAX_VALUES = 10_000  # values in a document after its aliases are followed

_TAG = "tag:yaml.org,2002:"
_TAGS = {_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge", "map", "seq")}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]*)\.[0-9]+([eE][-+]?[0-9]+)?")


def document(path: str, text: str, problems: list[Problem]) -> At | None:
    """A cursor on the file's one document; None, with the problem recorded, when it is not readable YAML."""
    if len(text) > MAX_TEXT:
        problems.append(Problem(path, 1, "", f"{len(text)} characters are too many; at most {MAX_TEXT} are read"))
        return None
    try:
        node = _Composer(text).get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problems.append(Problem(path, line, "", f"character #x{ord(text[error.position]):x} is not allowed in YAML"))
        return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problems.append(Problem(path, mark.line + 1 if mark else 1, "", _syntax(error)))
        return None
    if node is None:
        problems.append(Problem(path, 1, "", "the file is empty"))
        return None
    return At(node=node, path=path, where="", problems=problems)


def nearest(name: str, known: Iterable[str], *, allowed: str = "known") -> str:
    """What to say after "unknown ... 'name'": the nearest known name, or the list of all."""
    names = sorted(known)
    close = _close(name, names)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"{allowed}: {', '.join(names)}" if names else f"{allowed}: none"


def quoted(text: str) -> str:
    """The text in quotes, on one line, cut when long."""
    return f"'{_line(text)}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """One node of a document and where it was written. An alias stands on the line of what it refers to."""

    node: yaml.Node
    path: str
    where: str  # "phases[1].thresholds[0].fail"
    problems: list[Problem]

    @property
    def line(self) -> int:
        """The line on which the node begins, from 1."""
        return int(self.node.start_mark.line) + 1

    @property
    def source(self) -> Source:
        """Where the node was written."""
        return Source(path=self.path, line=self.line)

    def wrong(self, what: str, *, line: int | None = None) -> None:
        """Record a problem here (or on another line)."""
        one_line = what.replace("\n", "\\n")  # what a person wrote may have several
        self.problems.append(Problem(self.path, line or self.line, self.where, one_line))

    def is_mapping(self) -> bool:
        """Whether the node is a mapping."""
        return isinstance(self.node, yaml.MappingNode)

    def says(self, word: str) -> bool:
        """Whether the node is this word."""
        return isinstance(self.node, yaml.ScalarNode) and self.node.value.strip() == word

    def fields(self, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> Fields | None:
        """The mapping's values by key; unknown and missing keys are recorded. None when it is no mapping."""
        found = self.entries()
        if found is None:
            return None
        known = required + optional
        meant: set[str] = set()
        for key, value in found.items():
            if key not in known:
                meant |= {name for name in required if name in _close(key, known)}
                self.wrong(f"unknown key {quoted(key)}; {nearest(key, known, allowed='allowed')}", line=value.key_line)
        for key in required:
            if key not in found and key not in meant:
                self.wrong(f"'{key}' is missing")
        return Fields(at=self, values={key: value.at for key, value in found.items() if key in known})

    def entries(self) -> dict[str, Entry] | None:
        """All of the mapping's values by key, `<<` merged in; None, recorded, when it is no mapping."""
        if not isinstance(self.node, yaml.MappingNode):
            self.wrong(f"wants keys and values, not {_kind(self.node)}")
            return None
        found: dict[str, Entry] = {}
        for key, node in self._pairs(self.node, set()):
            if key.value not in found:
                where = f"{self.where}.{_line(key.value)}" if self.where else _line(key.value)
                at = At(node=node, path=self.path, where=where, problems=self.problems)
                found[key.value] = Entry(at=at, key_line=key.start_mark.line + 1)
        return found

    def items(self) -> list[At]:
        """The list's items; empty, recorded, when it is no list."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.wrong(f"wants a list, not {_kind(self.node)}")
            return []
        return [
            At(node=node, path=self.path, where=f"{self.where}[{index}]", problems=self.problems)
            for index, node in enumerate(self.node.value)
        ]

    def text(self) -> str | None:
        """The scalar as written, without space around it; None, recorded, when it is empty or no scalar."""
        if not isinstance(self.node, yaml.ScalarNode):
            self.wrong(f"wants text, not {_kind(self.node)}")
            return None
        if not self.node.value.strip():
            self.wrong("is empty; write a value or remove the key")
            return None
        return str(self.node.value).strip()

    def read(self, reader: Callable[[str], float]) -> float | None:
        """The text as `reader` reads it; its UnitError is recorded."""
        text = self.text()
        try:
            return None if text is None else reader(text)
        except units.UnitError as error:
            self.wrong(str(error))
            return None

    def whole(self, *, least: int) -> int | None:
        """A whole number, not below `least`."""
        text = self.text()
        if text is not None and (not _INT.fullmatch(text) or len(text) > 15 or int(text) < least):
            self.wrong(f"{quoted(text)} is not a whole number from {least} on")
            return None
        return None if text is None else int(text)

    def flag(self) -> bool | None:
        """`true` or `false`, and no other word for them."""
        text = self.text()
        if text is not None and text not in {"true", "false"}:
            self.wrong(f"{quoted(text)} is neither true nor false")
            return None
        return None if text is None else text == "true"

    def choice(self, options: Iterable[str]) -> str | None:
        """One of the words."""
        text = self.text()
        if text is not None and text not in options:
            self.wrong(f"unknown value {quoted(text)}; {nearest(text, options, allowed='allowed')}")
            return None
        return text

    def plain(self) -> Any:
        """The node as JSON-like values; what YAML readers disagree about is recorded and read as text."""
        return _Plain(self).value(self, 0)

    def _pairs(self, node: yaml.MappingNode, seen: set[int]) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        """Own pairs first, then those merged in, so that the first of a name is the one that counts."""
        seen.add(id(node))
        own: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.wrong(f"a key must be text, not {_kind(key)}", line=line)
            elif key.tag == _TAG + "merge":
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
            elif key.value in own:
                self.wrong(
                    f"key {quoted(key.value)} is given twice, on lines {own[key.value]} and {line}; keep one", line=line
                )
            else:
                own[key.value] = line
                yield key, value
        for base in merged:
            if not isinstance(base, yaml.MappingNode):
                self.wrong(f"'<<' merges keys and values, not {_kind(base)}", line=base.start_mark.line + 1)
            elif id(base) not in seen:
                yield from self._pairs(base, seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A value of a mapping and the line of its key."""

    at: At
    key_line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """The known keys of a mapping. Each reader returns the default when the key is absent, None when it is wrong."""

    at: At
    values: dict[str, At]

    def get(self, key: str) -> At | None:
        """The value's cursor."""
        return self.values.get(key)

    def text(self, key: str, default: str | None = None) -> str | None:
        """The value as text."""
        return self.values[key].text() if key in self.values else default

    def quantity(self, key: str, unit: str, default: float | None = None) -> float | None:
        """The value as a quantity of the unit."""
        return self.values[key].read(lambda text: units.quantity(text, unit)) if key in self.values else default

    def positive(self, key: str, unit: str, default: float | None = None) -> float | None:
        """The value as a quantity above 0."""
        value = self.quantity(key, unit, default)
        if value == 0 and key in self.values:
            self.values[key].wrong(f"{quoted(str(self.values[key].node.value))} must be more than 0")
            return None
        return value

    def whole(self, key: str, default: int | None = None, *, least: int = 0) -> int | None:
        """The value as a whole number, not below `least`."""
        return self.values[key].whole(least=least) if key in self.values else default

    def flag(self, key: str, *, default: bool) -> bool | None:
        """The value as true or false."""
        return self.values[key].flag() if key in self.values else default

    def choice(self, key: str, options: Iterable[str], default: str | None = None) -> str | None:
        """The value as one of the words."""
        return self.values[key].choice(options) if key in self.values else default

    def items(self, key: str) -> list[At]:
        """The items of the list; none when the key is absent."""
        return self.values[key].items() if key in self.values else []


class _Composer(yaml.SafeLoader):
    """PyYAML's composer, with bounded nesting and plain tags only."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=self.get_mark())
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is not None and node.tag not in _TAGS:
            raise yaml.MarkedYAMLError(problem=f"tag '{node.tag}' is not allowed", problem_mark=node.start_mark)
        return node


class _Plain:
    """Turns nodes into JSON-like values, counting them: aliases can make a small file expand without end."""

    def __init__(self, root: At) -> None:
        self.root = root
        self.left = MAX_VALUES

    def value(self, at: At, depth: int) -> Any:
        self.left -= 1
        if self.left < 0 or depth > MAX_DEPTH:
            if self.left > -MAX_VALUES:
                self.left = -MAX_VALUES  # said once
                self.root.wrong(f"its aliases expand to more than {MAX_VALUES} values or {MAX_DEPTH} levels")
            return None
        if isinstance(at.node, yaml.SequenceNode):
            return [self.value(item, depth + 1) for item in at.items()]
        if isinstance(at.node, yaml.MappingNode):
            return {key: self.value(entry.at, depth + 1) for key, entry in (at.entries() or {}).items()}
        return _scalar(at)


def _line(text: str) -> str:
    line = text.replace("\n", "\\n")
    return line if len(line) <= 60 else f"{line[:60]}..."


def _close(name: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)


def _scalar(at: At) -> str | int | float | bool | None:
    text, kind = str(at.node.value), at.node.tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool" and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if kind == "int" and _INT.fullmatch(text) and len(text) <= 15:
        return int(text)
    if kind == "float" and _FLOAT.fullmatch(text):
        return float(text)
    if kind in {"bool", "int", "float", "timestamp"}:
        at.wrong(f"{quoted(text)} means different things to different YAML readers; put it in quotes if it is text")
    return text


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "keys and values"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return quoted(node.value) if node.value else "nothing"


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem)
    if "\\t" in problem:
        return "a tab where YAML wants spaces; indent with spaces"
    if error.context and problem.startswith("but "):
        return f"not YAML: {error.context}, {problem}"
    return f"not YAML: {problem} {error.context or ''}".rstrip()
