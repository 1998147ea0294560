"""The three-way merge as a plan: three trees go in, an action for each path with its reason comes out.

For each path: what you did not change follows the new version; what the new version did not change stays
yours; what both changed is merged where it is text, and else is a conflict that the policy decides. What
you deleted stays deleted, with all below it. A different type of file on both sides is never merged. Mode,
owner and extended attributes are merged apart from the content. Invariants: with nothing changed by you the
result is the new defaults, with nothing new it is yours, and no bytes of yours are lost: they are in the
result, beside it, or were a default's.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from skerry.host.etc import accounts, text
from skerry.host.etc.actions import Action, Policy, Result, Source
from skerry.host.etc.attributes import merge_attributes
from skerry.host.etc.rules import ACCOUNTS, Rule, rule
from skerry.host.etc.tree import Entry, Kind, Tree, join, parent, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

NEW_SUFFIX = ".skerry-new"
MINE_SUFFIX = ".skerry-mine"
LONGEST_NAME = 255


def plan(
    old: Tree, yours: Tree, new: Tree, policy: Policy, provisioned: Collection[str] = ()
) -> tuple[Action, ...]:
    """The actions that make the merged tree, by path, parents first; `provisioned` are the cloud-config's."""
    merge = _Merge(old, yours, new, policy, provisioned)
    actions = {action.path: action for action in merge.node("")}
    for action in [*merge.beside, *merge.still_open(actions)]:
        actions[action.path] = action
    return tuple(actions[path] for path in sorted(actions, key=lambda path: path.split("/")))


class _Merge:
    def __init__(
        self, old: Tree, yours: Tree, new: Tree, policy: Policy, provisioned: Collection[str]
    ) -> None:
        self.yours = yours
        self.theirs = policy is Policy.THEIRS
        self.provisioned = provisioned
        files = [
            {name: tree.read(name) for name in ACCOUNTS if _is(tree.get(name), Kind.FILE)}
            for tree in (old, yours, new)
        ]
        found = self.accounts = accounts.merge(*files, theirs=self.theirs)
        self.old = _with_owners(old, found.old_uids, found.old_gids)
        self.new = _with_owners(new, found.uids, found.gids)
        self.beside: list[Action] = []
        self.names: set[str] = set()

    # One path: which case it is.

    def node(self, path: str) -> list[Action]:
        old, yours, new = self.old.get(path), self.yours.get(path), self.new.get(path)
        how = rule(path, self.provisioned)
        if yours is None:
            return self._not_yours(path, old, new)
        if how in (Rule.MACHINE, Rule.PROVISIONED):
            actions = self._all(path, self.yours, Result.KEPT, str(how))
            return [a if self._changed(a.path) else replace(a, result=Result.SAME, why="") for a in actions]
        if new is None:
            return self._not_new(path, old, yours)
        if how is Rule.MADE and new.kind is not Kind.DIRECTORY:
            result = Result.UPDATED if self._changed(path) else Result.SAME
            return [Action(path, new, result, str(how), Source.NEW, path)]
        if yours.kind is Kind.DIRECTORY and new.kind is Kind.DIRECTORY:
            return self._directory(path, old, yours, new)
        if how is Rule.ACCOUNTS and path in self.accounts.files and _is(old, Kind.FILE, none=True):
            return self._file(path, old, yours, new, self.accounts.files[path])
        return self._both(path, old, yours, new, settled=how is Rule.SETTLED)

    def _not_yours(self, path: str, old: Entry | None, new: Entry | None) -> list[Action]:
        if new is None:
            return []
        if old is None:
            return self._all(path, self.new, Result.ADDED, "new in this version")
        paths = self.new.below(path)
        why = "you deleted it"
        return [Action(one, None, Result.DELETED, why) for one in paths[:1]] + [
            Action(one, None, Result.DELETED, "you deleted the directory above it") for one in paths[1:]
        ]

    def _not_new(self, path: str, old: Entry | None, yours: Entry) -> list[Action]:
        if old is None:
            return self._all(path, self.yours, Result.KEPT, "yours alone")
        if yours.kind is Kind.DIRECTORY and old.kind is Kind.DIRECTORY:
            return self._directory(path, old, yours, None)
        if old == yours:
            return [Action(path, None, Result.REMOVED, "the new version does not have it")]
        return self._conflict(path, "you changed it, and the new version does not have it")

    def _directory(self, path: str, old: Entry | None, yours: Entry, new: Entry | None) -> list[Action]:
        names = sorted({*self.yours.children(path), *self.new.children(path)})
        below = [action for name in names for action in self.node(name)]
        beside = [action for action in self.beside if action.path.startswith(f"{path}/")]
        if new is not None:
            dressed, conflicts = merge_attributes(
                old if _is(old, Kind.DIRECTORY) else None, yours, new, theirs=self.theirs
            )
            return [self._dressed(path, old, yours, new, dressed, conflicts), *below]
        filled = bool(beside) or any(action.entry is not None for action in below)
        if filled or (old != yours and not self.theirs):
            return [Action(path, yours, Result.KEPT, "something of yours is in it"), *below]
        return [Action(path, None, Result.REMOVED, "the new version does not have it"), *below]

    def _both(self, path: str, old: Entry | None, yours: Entry, new: Entry, *, settled: bool) -> list[Action]:
        """Both sides have it, and at least one is no directory."""
        if yours.kind is new.kind and _is(old, yours.kind, none=True):
            return self._file(path, old, yours, new, None, settled=settled)
        if yours == new:
            return [Action(path, yours, Result.MERGED, "both made the same of it", Source.YOURS, path)]
        if old is not None and self._equal(path, self.old, self.yours):
            gone = [Action(one, None, Result.REMOVED, "") for one in self.yours.below(path)[1:]]
            return [*gone, *self._all(path, self.new, Result.UPDATED, "you did not change it")]
        unchanged = old is not None and self._equal(path, self.old, self.new)
        if unchanged or settled:
            return self._all(path, self.yours, Result.KEPT, "you changed it")
        if yours.kind is new.kind:
            return self._conflict(path, f"both made another {new.kind} of it")
        return self._conflict(path, f"a {yours.kind} here, a {new.kind} in the new version")

    # Files, links and special files of one type on all sides.

    def _file(
        self,
        path: str,
        old: Entry | None,
        yours: Entry,
        new: Entry,
        table: accounts.MergedFile | None,
        *,
        settled: bool = False,
    ) -> list[Action]:
        theirs = self.theirs and not settled
        dressed, conflicts = merge_attributes(old, yours, new, theirs=theirs)
        if settled:
            conflicts = []
        data = None
        if table is not None:
            data = table.data
            if table.conflicts:
                return self._merged_table(path, old, dressed, table, conflicts)
        elif yours.content == new.content or (old is not None and old.content == new.content):
            return [self._dressed(path, old, yours, new, dressed, conflicts)]
        elif old is not None and old.content == yours.content:
            taken = replace(dressed, content=new.content, size_bytes=new.size_bytes)
            return [self._dressed(path, old, yours, new, taken, conflicts)]
        elif settled:
            return [Action(path, dressed, Result.KEPT, "you changed it", Source.YOURS, path)]
        else:
            data = self._text(path) if old is not None and yours.kind is Kind.FILE else None
            if data is None:
                what = "both have it newly" if old is None else "both changed it"
                if yours.kind is Kind.LINK:
                    what = (
                        f"it leads to {shown(yours.content)} here, to {shown(new.content)} in the new version"
                    )
                elif not self._is_text(path, old, yours):
                    what += ", and it is no text"
                return self._conflict(path, what, dressed)
        merged = _with_data(dressed, data)
        for source, entry in ((Source.YOURS, yours), (Source.NEW, new)):
            if merged.content == entry.content:
                return [self._dressed(path, old, yours, new, merged, conflicts, source)]
        why = "; ".join(["both changed it", *conflicts])
        return [Action(path, merged, _result(Result.MERGED, conflicts), why, Source.MERGED, path, data)]

    def _merged_table(
        self, path: str, old: Entry | None, dressed: Entry, table: accounts.MergedFile, conflicts: list[str]
    ) -> list[Action]:
        merged = _with_data(dressed, table.data)
        why = "; ".join([*table.conflicts, *conflicts])
        return [
            Action(
                path, merged, Result.CONFLICT, why, Source.MERGED, path, table.data,
                beside=self._put_beside(path),
            )
        ]  # fmt: skip

    def _text(self, path: str) -> bytes | None:
        return text.merge(self.old.read(path), self.yours.read(path), self.new.read(path))

    def _is_text(self, path: str, old: Entry | None, yours: Entry) -> bool:
        trees = [self.yours, self.new] + ([self.old] if old is not None else [])
        return yours.kind is Kind.FILE and all(text.is_text(tree.read(path)) for tree in trees)

    def _dressed(
        self,
        path: str,
        old: Entry | None,
        yours: Entry,
        new: Entry,
        made: Entry,
        conflicts: list[str],
        source: Source | None = None,
    ) -> Action:
        """The action for content that is one side's, whatever became of mode and owner."""
        if source is None:
            source = Source.YOURS if made.content == yours.content else Source.NEW
        if conflicts:
            return Action(path, made, Result.CONFLICT, "; ".join(conflicts), source, path)
        if old == yours == new:
            return Action(path, made, Result.SAME, "", source, path)
        if made == yours:
            same = made == new
            why = "both made the same of it" if same and old != new else "you changed it"
            return Action(path, made, Result.KEPT, why, source, path)
        if made == new:
            return Action(path, made, Result.UPDATED, "you did not change it", source, path)
        return Action(path, made, Result.MERGED, "both changed it", source, path)

    # Conflicts, and what is put beside them.

    def _conflict(self, path: str, why: str, dressed: Entry | None = None) -> list[Action]:
        """Let the policy decide between the whole of yours and the whole of the new one at a path."""
        beside = self._put_beside(path)
        taken = self.new if self.theirs else self.yours
        actions = self._all(path, taken, Result.CONFLICT, why)
        if not actions:
            return [Action(path, None, Result.CONFLICT, why, beside=beside)]
        first = actions[0]
        entry = taken.entries[path]
        if dressed is not None:
            entry = replace(dressed, content=entry.content, size_bytes=entry.size_bytes)
        return [replace(first, entry=entry, beside=beside), *actions[1:]]

    def _put_beside(self, path: str) -> str | None:
        """Put the side that was not taken beside, and give its path; None where that side has nothing."""
        tree = self.yours if self.theirs else self.new
        if tree.get(path) is None:
            return None
        goal = self._free(path, MINE_SUFFIX if self.theirs else NEW_SUFFIX)
        for action in self._all(path, tree, Result.BESIDE, f"for the conflict at {shown(path)}"):
            self.beside.append(replace(action, path=goal + action.path[len(path) :]))
        return goal

    def _free(self, path: str, suffix: str) -> str:
        """A name beside `path` that nothing has, but for a default that we put there and you left alone."""
        directory, name = parent(path), os.fsencode(path.rpartition("/")[2])
        number = 1
        while True:
            tail = suffix if number == 1 else f"{suffix}.{number}"
            if len(name) + len(tail) > LONGEST_NAME:
                name = name[:180] + hashlib.sha256(name).hexdigest()[:16].encode()
            goal = join(directory, os.fsdecode(name) + tail)
            taken = goal in self.names or goal in self.new.entries
            if not taken and (goal not in self.yours.entries or self._is_stale(path, goal)):
                self.names.add(goal)
                return goal
            number += 1

    def _is_stale(self, path: str, goal: str) -> bool:
        """Whether what stands beside is the old default, as an earlier merge put it there."""
        beside, old = self.yours.get(goal), self.old.get(path)
        return goal.endswith(NEW_SUFFIX) and _is(beside, Kind.FILE) and _is(old, Kind.FILE) and (
            beside is not None and old is not None and beside.content == old.content
        )  # fmt: skip

    def still_open(self, actions: dict[str, Action]) -> list[Action]:
        """Conflicts of earlier merges: the default beside follows the new version, or goes once it is met."""
        found = []
        for goal in self.yours.entries:
            path = goal.removesuffix(NEW_SUFFIX)
            new, action = self.new.get(path), actions.get(path)
            if path == goal or goal in self.names or goal not in actions or new == self.old.get(path):
                continue  # not one, dealt with, or nothing new
            if not self._is_stale(path, goal):
                continue
            made = action.entry if action else None
            if made is None or made.kind is not Kind.FILE:
                continue
            if made == new:
                found.append(Action(goal, None, Result.REMOVED, f"{shown(path)} is the default again"))
            elif new is not None and new.kind is Kind.FILE:
                why = f"the conflict at {shown(path)} is still open"
                found.append(Action(goal, new, Result.BESIDE, why, Source.NEW, path))
        return found

    def _all(self, path: str, tree: Tree, result: Result, why: str) -> list[Action]:
        source = Source.NEW if tree is self.new else Source.YOURS
        return [Action(one, tree.entries[one], result, why, source, one) for one in tree.below(path)]

    def _changed(self, path: str) -> bool:
        return not self.old.get(path) == self.yours.get(path) == self.new.get(path)

    def _equal(self, path: str, one: Tree, other: Tree) -> bool:
        paths = one.below(path)
        return paths == other.below(path) and all(one.entries[p] == other.entries[p] for p in paths)


def _is(entry: Entry | None, kind: Kind, *, none: bool = False) -> bool:
    return none if entry is None else entry.kind is kind


def _result(result: Result, conflicts: list[str]) -> Result:
    return Result.CONFLICT if conflicts else result


def _with_data(entry: Entry, data: bytes) -> Entry:
    return replace(entry, content=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


def _with_owners(tree: Tree, uids: Mapping[int, int], gids: Mapping[int, int]) -> Tree:
    """A version's defaults, owned by the numbers that their owners have here."""
    if not uids and not gids:
        return tree
    entries = {
        path: replace(entry, uid=uids.get(entry.uid, entry.uid), gid=gids.get(entry.gid, entry.gid))
        for path, entry in tree.entries.items()
    }
    return Tree(entries, tree.read)
