"""Podman's own opinion of a Quadlet file: its generator is run on a copy, with nothing installed.

The generator stops at the first thing it dislikes in a file. So that an author sees everything at
once, an unknown key is taken out of the copy, a missing companion is put beside it as a stub, and the
generator runs again. The generated service is then shown to systemd as any other unit.

A companion that is missing is a warning: it may be submitted later, and only starting needs it.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.host.units import verify
from skerry.host.units.errors import UnitFileError
from skerry.host.units.name import UnitName, generated_service, parse_name
from skerry.host.units.quadlet_keys import KEYS, REFERENCES
from skerry.host.units.requirements import near_name
from skerry.host.units.unit_file import Option, UnitFile, parse_unit, serialise
from skerry.kit.errors import Problem, Severity
from skerry.kit.run import ProgramError, run

if TYPE_CHECKING:
    from collections.abc import Mapping

GENERATORS = (Path("/usr/libexec/podman/quadlet"), Path("/usr/lib/podman/quadlet"))
DEADLINE_S = 20
MOST_RUNS = 40

GROUPS = {
    "container": "Container",
    "pod": "Pod",
    "volume": "Volume",
    "network": "Network",
    "kube": "Kube",
    "image": "Image",
    "build": "Build",
}
_STUBS = {
    "container": "[Container]\nImage=localhost/stub:1\n",
    "pod": "[Pod]\n",
    "volume": "[Volume]\n",
    "network": "[Network]\n",
    "kube": "[Kube]\nYaml=/dev/null\n",
    "image": "[Image]\nImage=localhost/stub:1\n",
    "build": "[Build]\nImageTag=localhost/stub:1\nSetWorkingDirectory=/\n",
}
_UNKNOWN_KEY = re.compile(r"unsupported key '(?P<key>[^']*)' in group '(?P<group>[^']*)'")
_ABOUT = re.compile(r'(?:converting|error loading) "(?P<file>[^"]*)"(?::|,) (?P<what>.*)$')
_SHORT_IMAGE = re.compile(r'Warning: (?P<file>\S+) specifies the image "(?P<image>[^"]*)" which not a fully')


def service_of(name: UnitName, unit: UnitFile) -> str:
    """The unit that systemd runs for this one, ServiceName= of a Quadlet file honoured."""
    chosen = unit.last(GROUPS[name.suffix], "ServiceName") if name.is_quadlet else None
    return generated_service(name, chosen)


def companions_of(unit: UnitFile) -> tuple[str, ...]:
    """The Quadlet files that this one names in the keys where Podman takes such names, sorted."""
    found = set()
    for option in unit.options:
        for suffix in REFERENCES.get((option.section, option.name), ()):
            # Network=x.network:ip=…, Volume=x.volume:/data, Mount=type=volume,source=x.volume,…
            found.update(re.findall(rf"(?:^|[=,])([\w:\-.\\@]+?\.{suffix})(?=$|[:,])", option.joined))
    return tuple(sorted(found))


def generator() -> Path | None:
    """Podman's generator on this machine, None where it is not installed."""
    return next((path for path in GENERATORS if path.exists()), None)


def verify_quadlet(name: UnitName, unit: UnitFile, companions: Mapping[str, str]) -> list[Problem]:
    """Ask Podman about one Quadlet file; `companions` maps file names to the texts of the others."""
    group = GROUPS[name.suffix]
    if not any(section == group for section, _ in unit.sections):
        message = f"a .{name.suffix} file needs a [{group}] section"
        return [Problem(unit.file, None, message)]
    program = generator()
    if program is None:
        message = "not checked by Podman: its generator is not installed"
        warning = Problem(unit.file, None, message, severity=Severity.WARNING)
        return [*_unknown_by_table(unit), warning]
    check = _Check(name, unit, tuple(unit.options), dict(companions))
    for _ in range(MOST_RUNS):
        if not check.turn(program):
            break
    return check.problems


def _unknown_by_table(unit: UnitFile) -> list[Problem]:
    return [
        _unknown_key(unit, option)
        for option in unit.options
        if option.section in KEYS and option.name not in KEYS[option.section]
    ]


def _unknown_key(unit: UnitFile, option: Option) -> Problem:
    message = f"Podman knows no {option.name}= in [{option.section}]"
    return Problem(unit.file, option.line, message, near_name(option.name, KEYS.get(option.section, ())))


@dataclass(frozen=True, slots=True)
class _Output:
    services: dict[str, str]
    messages: list[str]


class _Check:
    """The copy under examination; each turn runs the generator once and may change the copy."""

    def __init__(
        self, name: UnitName, unit: UnitFile, options: tuple[Option, ...], companions: dict[str, str]
    ) -> None:
        self.name = name
        self.unit = unit
        self.options = options
        self.companions = {file: text for file, text in companions.items() if file != name.full}
        self.problems: list[Problem] = []

    def turn(self, program: Path) -> bool:
        """True where the copy was changed and should be looked at again."""
        output = self._generate(program)
        mine = [found for text in output.messages if (found := _ABOUT.search(text))]
        for found in mine:
            if Path(found["file"]).name == self.name.full:
                return self._complaint(found["what"])
        self._hints(output.messages)
        service = output.services.get(service_of(self.name, self.unit))
        if service is None:
            said = "; ".join(output.messages[-3:]) or "no reason given"
            self._add(None, f"Podman makes no service of this file: {said}")
        else:
            self.problems.extend(_verify_generated(self.name, self.unit, service))
        return False

    def _complaint(self, what: str) -> bool:
        if found := _UNKNOWN_KEY.search(what):
            wrong = [o for o in self.options if (o.section, o.name) == (found["group"], found["key"])]
            if wrong:
                self.problems.extend(_unknown_key(self.unit, option) for option in wrong)
                self.options = tuple(o for o in self.options if o not in wrong)
                return True
        for companion in companions_of(replace(self.unit, options=self.options)):
            if companion not in self.companions and companion in what:
                message = f"{companion} is named here and not known yet"
                hint = f"submit {companion} too"
                self._add(self._line_with(companion), message, hint, severity=Severity.WARNING)
                self.companions[companion] = _STUBS[companion.rpartition(".")[2]]
                return True
        self._add(self._line_meant(what), f"Podman refuses: {what.strip()}")
        return False

    def _hints(self, messages: list[str]) -> None:
        for text in messages:
            found = _SHORT_IMAGE.search(text)
            if found and found["file"] == self.name.full:
                message = f"image {found['image']} does not say from which registry"
                self._add(
                    self._line_with(found["image"]), message, "write it in full", severity=Severity.WARNING
                )

    def _generate(self, program: Path) -> _Output:
        with tempfile.TemporaryDirectory(prefix="skerry-quadlet-") as folder:
            for file, text in self.companions.items():
                (Path(folder) / parse_name(file).full).write_text(text)
            # An empty section, as of a plain [Volume], is not among the options.
            empty = "".join(f"[{s}]\n" for s in dict.fromkeys(s for s, _ in self.unit.sections))
            (Path(folder) / self.name.full).write_text(f"{empty}\n{serialise(self.options)}")
            argv = [str(program), "-dryrun"]
            try:
                done = run(argv, timeout_s=DEADLINE_S, env={"QUADLET_UNIT_DIRS": folder})
            except ProgramError as error:
                # The generator fails when any file has a problem; ours may stand in the output.
                return _Output(_services(error.output.decode(errors="replace")), _lines(error.output))
            return _Output(_services(done.text), _lines(done.stderr))

    def _line_with(self, text: str) -> int | None:
        return next((o.line for o in self.options if text in o.joined), None)

    def _line_meant(self, what: str) -> int | None:
        words = set(re.findall(r"\w+", what))
        named = [o for o in self.options if o.name in words]
        by_value = [o for o in self.options if o.joined and o.joined in what]
        both = [o for o in named if o in by_value]
        return next((o.line for o in (*both, *named, *by_value)), None)

    def _add(
        self, line: int | None, message: str, hint: str | None = None, *, severity: Severity = Severity.ERROR
    ) -> None:
        self.problems.append(Problem(self.unit.file, line, message, hint, severity=severity))


def _lines(said: bytes) -> list[str]:
    return [line for line in said.decode(errors="replace").splitlines() if line.strip()]


def _services(text: str) -> dict[str, str]:
    parts = re.split(r"(?m)^---(\S+)---\n", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _verify_generated(name: UnitName, unit: UnitFile, service: str) -> list[Problem]:
    """What systemd says of the generated service, as far as the author wrote the line in question."""
    generated_name = parse_name(service_of(name, unit))
    try:
        generated = parse_unit(service, generated_name.full)
    except UnitFileError:
        return []
    written = {(o.section, o.name, o.value): o.line for o in unit.options}
    lines = {o.line: written.get((o.section, o.name, o.value)) for o in generated.options}
    headers = dict(reversed(unit.sections))
    lines |= {line: headers.get(section) for section, line in generated.sections}
    problems = []
    for problem in verify.verify(generated_name, generated, service):
        line = None if problem.line is None else lines.get(problem.line)
        if line is not None or problem.severity is Severity.ERROR:
            problems.append(replace(problem, file=unit.file, line=line))
    return problems
