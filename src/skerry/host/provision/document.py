"""A cloud-config's bytes as a tree of values that know the author's lines.

The first line is `#cloud-config`. Keys are normalised (`-` becomes `_`), a key that stands twice is
reported and its last value taken, as CoreOS did. What is not a cloud-config (a script, Ignition, a MIME
archive) is named as what it is. The tree is built from the parser's events by a loop with bounds on
size, depth and, aliases expanded, on the number of nodes: no document exhausts the machine. Nothing here
raises for what an author wrote; every problem is collected.
"""

from __future__ import annotations

import base64
import re
import zlib
from dataclasses import dataclass
from typing import TypeAlias

import yaml

from skerry.kit.errors import Problem, Severity

HEADER = "#cloud-config"
LARGEST_BYTES = 4 * 1024 * 1024
MOST_NODES = 100_000
DEEPEST = 32
_GZIP = b"\x1f\x8b"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ODD_BREAKS = re.compile("[\x85\u2028\u2029]|\r(?!\n)")
_STRING, _BINARY, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:binary", "tag:yaml.org,2002:merge"
_KNOWN_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "binary", "map", "seq", "merge")
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. `text` is what the author wrote (0644 stays "0644"); `value` is what YAML makes of it.

    `literal` is true for a block that begins with `|`: its first line stands one below `line`.
    """

    line: int
    text: str
    value: str | bytes | int | float | bool | None
    literal: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    line: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping: normalised, and as written."""

    line: int
    key: str
    written: str
    value: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    line: int
    entries: tuple[Entry, ...]

    def get(self, key: str) -> Node | None:
        """The value of a key, None where it is absent or null."""
        for entry in self.entries:
            if entry.key == key:
                null = isinstance(entry.value, Scalar) and entry.value.value is None
                return None if null else entry.value
        return None

    def line_of(self, key: str) -> int:
        return next((e.line for e in self.entries if e.key == key), self.line)


Node: TypeAlias = "Scalar | Sequence | Mapping"


@dataclass(frozen=True, slots=True)
class Document:
    """The tree, None where there is nothing to read, and what was wrong on the way to it."""

    tree: Mapping | None
    problems: tuple[Problem, ...]


class _RefusedError(Exception):
    """The document cannot be read at all; carries the line, the sentence and the hint."""

    def __init__(self, line: int | None, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.line, self.message, self.hint = line, message, hint


def read(data: bytes, file: str) -> Document:
    """Read a document; `file` is the name that problems carry."""
    try:
        text = _text(data)
        _check_header(text)
        builder = _Builder(file)
        tree = builder.build(text)
    except _RefusedError as refused:
        return Document(None, (Problem(file, refused.line, refused.message, hint=refused.hint),))
    return Document(tree, tuple(builder.problems))


def looks_like_one(data: bytes) -> bool:
    """Whether the data begins as a cloud-config does (compressed or not)."""
    try:
        _check_header(_text(data))
    except _RefusedError:
        return False
    return True


def _text(data: bytes) -> str:
    if data.startswith(_GZIP):
        try:
            decompress = zlib.decompressobj(wbits=31)
            data = decompress.decompress(data, LARGEST_BYTES + 1)
        except zlib.error as error:
            raise _RefusedError(None, f"the document is compressed, and damaged: {error}") from error
    if len(data) > LARGEST_BYTES:
        raise _RefusedError(None, f"the document is larger than {LARGEST_BYTES // 1024**2} MiB")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _RefusedError(1, "the document is UTF-16", "save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _RefusedError(line, "this is not UTF-8", "save the document as UTF-8") from error
    if bad := _FORBIDDEN.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        raise _RefusedError(
            line,
            f"the character U+{ord(bad.group()):04X} must not stand in a YAML document",
            "give binary content with `encoding: b64`",
        )
    return text


def _check_header(text: str) -> None:
    first = text.split("\n", 1)[0].rstrip()
    if first == HEADER:
        return
    if first.startswith("#!"):
        raise _RefusedError(
            1,
            "this is a script; Skerry runs no scripts at boot",
            "put it into a unit: write_files, and a oneshot service with `command: start`",
        )
    if text.lstrip().startswith("{") and "ignition" in text:
        raise _RefusedError(
            1, "this is an Ignition document, which Skerry does not read", f"write a {HEADER}"
        )
    if first.lower().startswith(("content-type:", "mime-version:")):
        raise _RefusedError(
            1, "this is a MIME archive, of which Skerry reads none", f"give the {HEADER} alone"
        )
    if not text.strip():
        raise _RefusedError(None, "the document is empty", f"its first line must be {HEADER}")
    raise _RefusedError(1, f"the first line must be {HEADER}", "and nothing else on that line")


class _Lines:
    """YAML counts a few characters as line breaks that an editor does not; this maps back."""

    def __init__(self, text: str) -> None:
        self._last = max(1, len(text.removesuffix("\n").split("\n")))
        self._starts: list[int] | None = None
        if _ODD_BREAKS.search(text):
            self._starts = [1]
            line = 1
            for found in re.finditer("\r\n|[\n\r\x85\u2028\u2029]", text):
                line += found.group().endswith("\n")
                self._starts.append(line)

    def author(self, yaml_line: int) -> int:
        if self._starts is None:
            return min(yaml_line + 1, self._last)  # YAML sees the end on a line of its own
        return min(self._starts[min(yaml_line, len(self._starts) - 1)], self._last)


@dataclass(slots=True)
class _Open:
    """A collection that is being built."""

    line: int
    anchor: str | None
    mapping: bool
    nodes: list[Node]
    weight: int = 1


class _Builder:
    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._resolver = yaml.resolver.Resolver()
        self._constructor = yaml.constructor.SafeConstructor()
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._stack: list[_Open] = []
        self._lines = _Lines("")
        self._total = 0
        self._root: Node | None = None

    def build(self, text: str) -> Mapping | None:
        self._lines = _Lines(text)
        documents = 0
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents == 2:
                        line = self._line(event)
                        self._warn(line, "a second document begins here; only the first is read")
                        break
                else:
                    self._take(event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = None if mark is None else self._lines.author(mark.line)
            raise _RefusedError(
                place, f"this is not YAML: {error.problem or error.context}", _hint(error)
            ) from error
        except yaml.YAMLError as error:
            raise _RefusedError(None, f"this is not YAML: {str(error).splitlines()[0]}") from error
        root = self._root
        if root is None or (isinstance(root, Scalar) and root.value is None):
            return None
        if not isinstance(root, Mapping):
            raise _RefusedError(
                root.line, "the document must be a mapping of keys to values", "as in `hostname: web1`"
            )
        return root

    def _line(self, event: yaml.Event) -> int:
        mark = event.start_mark
        return 1 if mark is None else self._lines.author(mark.line)

    def _warn(self, line: int, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem(self.file, line, message, hint=hint, severity=Severity.WARNING))

    def _error(self, line: int, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem(self.file, line, message, hint=hint))

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._add(self._scalar(event), 1, event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            known = self._anchors.get(event.anchor or "")
            line = self._line(event)
            if known is None:
                self._error(line, f"nothing above is anchored as &{event.anchor}")
                known = (Scalar(line, "", None), 1)
            self._add(*known, None)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            line = self._line(event)
            if len(self._stack) >= DEEPEST:
                raise _RefusedError(line, f"this is nested more than {DEEPEST} deep")
            mapping = isinstance(event, yaml.MappingStartEvent)
            self._check_tag(event.tag, line)
            self._stack.append(_Open(line, event.anchor, mapping, []))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            done = self._stack.pop()
            node: Node = self._mapping(done) if done.mapping else Sequence(done.line, tuple(done.nodes))
            self._add(node, done.weight, done.anchor)

    def _add(self, node: Node, weight: int, anchor: str | None) -> None:
        self._total += weight
        if self._total > MOST_NODES * 4 or weight > MOST_NODES:
            raise _RefusedError(
                node.line, f"the document has more than {MOST_NODES} values, aliases expanded"
            )
        if anchor is not None:
            self._anchors[anchor] = (node, weight)
        if self._stack:
            self._stack[-1].nodes.append(node)
            self._stack[-1].weight += weight
        else:
            self._root = node

    def _check_tag(self, tag: str | None, line: int) -> None:
        if tag is not None and tag not in _KNOWN_TAGS and tag != "!":
            self._error(line, f"the tag {tag} is not known here", "leave it out")

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        line, text = self._line(event), event.value
        tag = str(event.tag or "")
        self._check_tag(event.tag, line)
        if tag in ("", "!"):
            resolved = self._resolver.resolve(yaml.ScalarNode, text, event.implicit)  # type: ignore[no-untyped-call]
            tag = str(resolved)
        if tag == _BINARY:
            try:
                return Scalar(line, text, base64.b64decode("".join(text.split()), validate=True))
            except ValueError:
                self._error(line, "this is tagged !!binary and is not base64")
                return Scalar(line, text, None)
        kind = tag.rpartition(":")[2]
        if kind in ("int", "float", "bool", "null"):
            try:
                node = yaml.ScalarNode(tag, text)
                value = getattr(self._constructor, f"construct_yaml_{kind}")(node)
            except (ValueError, KeyError, IndexError, OverflowError):
                return Scalar(line, text, text)
            return Scalar(line, text, value)
        return Scalar(line, text, text, literal=event.style == "|")

    def _mapping(self, done: _Open) -> Mapping:
        entries: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key, value in zip(done.nodes[::2], done.nodes[1::2], strict=True):
            if not isinstance(key, Scalar):
                self._error(key.line, "a key must be a word, not a list or a mapping")
                continue
            if key.text == "<<":
                self._merge(merged, value)
                continue
            name = key.text.replace("-", "_")
            if name in entries:
                first = entries[name].line
                self._error(
                    key.line,
                    f"{key.text!r} stands twice, first on line {first}",
                    "join both; the last is taken",
                )
            entries[name] = Entry(key.line, name, key.text, value)
        kept = {name: e for name, e in merged.items() if name not in entries}
        return Mapping(done.line, (*kept.values(), *entries.values()))

    def _merge(self, into: dict[str, Entry], value: Node) -> None:
        for source in value.items if isinstance(value, Sequence) else (value,):
            if not isinstance(source, Mapping):
                self._error(source.line, "`<<` merges mappings only")
                continue
            for entry in source.entries:
                into.setdefault(entry.key, entry)


def _hint(error: yaml.MarkedYAMLError) -> str | None:
    said = f"{error.problem}"
    if "\\t" in said or "'\\t'" in said:
        return "indent with blanks; YAML forbids tabs"
    if "mapping values are not allowed" in said:
        return "is a value with a colon in it missing its quotes?"
    if "could not find expected ':'" in said:
        return "is this line, or the one above, missing a colon or indented wrongly?"
    return None
