"""The three-way merge: its table of rules, and what holds for any three trees."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.trees import changed, directory, fifo, file, link, three_trees, tree, trees
from skerry.host.etc.actions import Action, Policy, Result, Source
from skerry.host.etc.plan import MINE_SUFFIX, NEW_SUFFIX, plan
from skerry.host.etc.rules import ACCOUNTS
from skerry.host.etc.tree import Entry, Kind, Tree, parent

MINE, THEIRS, REFUSE = Policy.MINE, Policy.THEIRS, Policy.REFUSE
RANDOM = settings(max_examples=30, deadline=None)
POLICIES = st.sampled_from([MINE, THEIRS])


def outcome(actions: tuple[Action, ...], yours: Tree, new: Tree) -> Tree:
    """The tree that the actions make, as carrying them out makes it on disk."""
    entries: dict[str, Entry] = {}
    contents: dict[str, bytes] = {}
    for action in actions:
        if action.entry is None:
            continue
        if action.path:
            assert entries[parent(action.path)].kind is Kind.DIRECTORY, f"nothing holds {action.path}"
        entries[action.path] = action.entry
        if action.entry.kind is Kind.FILE:
            side = yours if action.source is Source.YOURS else new
            data = side.read(action.origin) if action.data is None else action.data
            assert hashlib.sha256(data).hexdigest() == action.entry.content
            contents[action.path] = data
    return Tree(entries, contents.__getitem__)


def merged(old: Tree, yours: Tree, new: Tree, policy: Policy = MINE) -> Tree:
    return outcome(plan(old, yours, new, policy), yours, new)


def same(one: Tree, other: Tree) -> bool:
    return dict(one.entries) == dict(other.entries)


ONE, TWO, THREE = "1\n", "2\n", "3\n"
LONG = "a\nb\nc\nd\ne\n"


@dataclass(frozen=True)
class Case:
    """What three sides have at the path "p" (None: nothing), and what becomes of it under `mine`."""

    name: str
    old: object
    yours: object
    new: object
    expected: dict[str, object]
    result: Result
    theirs: dict[str, object] | None = None  # where that policy makes something else


CASES = [
    Case("nobody changed it", ONE, ONE, ONE, {"p": ONE}, Result.SAME),
    Case("untouched by you", ONE, ONE, TWO, {"p": TWO}, Result.UPDATED),
    Case("unchanged upstream", ONE, TWO, ONE, {"p": TWO}, Result.KEPT),
    Case("both the same", ONE, TWO, TWO, {"p": TWO}, Result.KEPT),
    Case("new upstream", None, None, ONE, {"p": ONE}, Result.ADDED),
    Case("yours alone", None, ONE, None, {"p": ONE}, Result.KEPT),
    Case("you deleted, unchanged", ONE, None, ONE, {}, Result.DELETED),
    Case("you deleted, changed", ONE, None, TWO, {}, Result.DELETED),
    Case("they deleted, untouched", ONE, ONE, None, {}, Result.REMOVED),
    Case("text, apart", LONG, "A\nb\nc\nd\ne\n", "a\nb\nc\nd\nE\n", {"p": "A\nb\nc\nd\nE\n"}, Result.MERGED),
    Case(
        "text, same lines", ONE, TWO, THREE, {"p": TWO, "p" + NEW_SUFFIX: THREE}, Result.CONFLICT,
        {"p": THREE, "p" + MINE_SUFFIX: TWO},
    ),
    Case(
        "binary is not merged", LONG + "\0", "A" + LONG + "\0", LONG + "\0E",
        {"p": "A" + LONG + "\0", "p" + NEW_SUFFIX: LONG + "\0E"}, Result.CONFLICT,
        {"p": LONG + "\0E", "p" + MINE_SUFFIX: "A" + LONG + "\0"},
    ),
    Case(
        "both added", None, ONE, TWO, {"p": ONE, "p" + NEW_SUFFIX: TWO}, Result.CONFLICT,
        {"p": TWO, "p" + MINE_SUFFIX: ONE},
    ),
    Case(
        "they deleted what you changed", ONE, TWO, None, {"p": TWO}, Result.CONFLICT,
        {"p" + MINE_SUFFIX: TWO},
    ),
    Case("link, untouched", link("a"), link("a"), link("b"), {"p": link("b")}, Result.UPDATED),
    Case(
        "link, both", link("a"), link("b"), link("c"),
        {"p": link("b"), "p" + NEW_SUFFIX: link("c")}, Result.CONFLICT,
        {"p": link("c"), "p" + MINE_SUFFIX: link("b")},
    ),
    Case("type, untouched by you", ONE, ONE, link("b"), {"p": link("b")}, Result.UPDATED),
    Case("type, by you alone", ONE, link("b"), ONE, {"p": link("b")}, Result.KEPT),
    Case(
        "type by you, text by them", ONE, link("b"), TWO,
        {"p": link("b"), "p" + NEW_SUFFIX: TWO}, Result.CONFLICT,
        {"p": TWO, "p" + MINE_SUFFIX: link("b")},
    ),
    Case(
        "mode by you, type by them", ONE, file(ONE, 0o600), link("b"),
        {"p": file(ONE, 0o600), "p" + NEW_SUFFIX: link("b")}, Result.CONFLICT,
        {"p": link("b"), "p" + MINE_SUFFIX: file(ONE, 0o600)},
    ),
    Case("mode by you, text by them", ONE, file(ONE, 0o600), TWO, {"p": file(TWO, 0o600)}, Result.MERGED),
    Case("text by you, mode by them", ONE, TWO, file(ONE, 0o600), {"p": file(TWO, 0o600)}, Result.MERGED),
    Case(
        "two modes", ONE, file(ONE, 0o600), file(ONE, 0o640), {"p": file(ONE, 0o600)}, Result.CONFLICT,
        {"p": file(ONE, 0o640)},
    ),
    Case(
        "attributes, each its own", ONE, file(ONE, xattrs=(("user.a", b"1"),)),
        file(ONE, xattrs=(("user.b", b"2"),)),
        {"p": file(ONE, xattrs=(("user.a", b"1"), ("user.b", b"2")))}, Result.MERGED,
    ),
    Case("a fifo stays", fifo(), fifo(), fifo(), {"p": fifo()}, Result.SAME),
    Case("a fifo goes", fifo(), fifo(), None, {}, Result.REMOVED),
    Case("its mode", directory(), directory(0o700), directory(), {"p": directory(0o700)}, Result.KEPT),
]  # fmt: skip


def at_p(what: object) -> Tree:
    return tree({} if what is None else {"p": what})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rule(case: Case) -> None:
    old, yours, new = map(at_p, (case.old, case.yours, case.new))
    actions = plan(old, yours, new, MINE)
    assert same(outcome(actions, yours, new), tree(case.expected))
    assert [action.result for action in actions if action.path == "p"] == [case.result]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rule_under_theirs(case: Case) -> None:
    old, yours, new = map(at_p, (case.old, case.yours, case.new))
    expected = case.expected if case.theirs is None else case.theirs
    assert same(merged(old, yours, new, THEIRS), tree(expected))


def test_refusing_plans_like_mine() -> None:
    old, yours, new = tree({"p": ONE}), tree({"p": TWO}), tree({"p": THREE})
    assert plan(old, yours, new, REFUSE) == plan(old, yours, new, MINE)


def test_a_file_in_the_way_of_a_directory_is_put_beside_with_all_below() -> None:
    old, yours, new = tree({"d/a": ONE}), tree({"d": TWO}), tree({"d/a": THREE, "d/b": ONE})
    mine = {"d": TWO, f"d{NEW_SUFFIX}/a": THREE, f"d{NEW_SUFFIX}/b": ONE}
    assert same(merged(old, yours, new), tree(mine))
    theirs = {"d/a": THREE, "d/b": ONE, f"d{MINE_SUFFIX}": TWO}
    assert same(merged(old, yours, new, THEIRS), tree(theirs))


def test_a_directory_you_deleted_stays_deleted_with_what_is_new_in_it() -> None:
    old, yours, new = tree({"d/a": ONE}), tree({}), tree({"d/a": ONE, "d/b": TWO})
    assert same(merged(old, yours, new), tree({}))


def test_a_directory_they_deleted_stays_for_what_is_yours_in_it() -> None:
    old = tree({"d/a": ONE, "d/b": ONE})
    yours = tree({"d/a": ONE, "d/b": ONE, "d/mine": TWO})
    assert same(merged(old, yours, tree({})), tree({"d/mine": TWO}))


def test_an_untouched_directory_becomes_a_file() -> None:
    old = tree({"d/a": ONE})
    assert same(merged(old, old, tree({"d": TWO})), tree({"d": TWO}))


@pytest.mark.parametrize("path", ["machine-id", "hostname", "ssh/ssh_host_ed25519_key", "adjtime", "passwd-"])
def test_what_is_of_this_machine_is_never_merged(path: str) -> None:
    old, yours, new = tree({path: ONE}), tree({path: ONE}), tree({path: TWO})
    assert same(merged(old, yours, new), yours)


def test_a_host_key_stays_that_the_defaults_do_not_have() -> None:
    yours = tree({"ssh/ssh_host_rsa_key": ONE})
    assert same(
        merged(tree({}), yours, tree({"ssh/moduli": TWO})),
        tree({"ssh/ssh_host_rsa_key": ONE, "ssh/moduli": TWO}),
    )


def test_what_is_made_from_the_image_is_always_new() -> None:
    old, yours, new = tree({"ld.so.cache": ONE}), tree({"ld.so.cache": TWO}), tree({"ld.so.cache": THREE})
    assert same(merged(old, yours, new), new)


@pytest.mark.parametrize("policy", [MINE, THEIRS])
def test_both_changing_resolv_conf_asks_nobody(policy: Policy) -> None:
    old, yours, new = (tree({"resolv.conf": one}) for one in (link("a"), "nameserver ::1\n", link("b")))
    assert same(merged(old, yours, new, policy), yours)


def test_what_the_cloud_config_gives_is_yours() -> None:
    old, yours, new = tree({"issue": ONE}), tree({"issue": ONE}), tree({"issue": TWO})
    actions = plan(old, yours, new, THEIRS, frozenset({"issue"}))
    assert same(outcome(actions, yours, new), yours)


def test_a_name_beside_that_is_yours_is_left_alone() -> None:
    old, new = tree({"p": ONE}), tree({"p": THREE})
    yours = tree({"p": TWO, "p" + NEW_SUFFIX: "my own\n"})
    expected = {"p": TWO, "p" + NEW_SUFFIX: "my own\n", f"p{NEW_SUFFIX}.2": THREE}
    assert same(merged(old, yours, new), tree(expected))


def test_a_default_left_beside_follows_the_next_version() -> None:
    first, second = tree({"p": THREE}), tree({"p": "4\n"})
    yours = tree({"p": TWO, "p" + NEW_SUFFIX: THREE})
    assert same(merged(first, yours, second), tree({"p": TWO, "p" + NEW_SUFFIX: "4\n"}))


def test_a_default_left_beside_goes_once_yours_is_the_default() -> None:
    first, second = tree({"p": THREE}), tree({"p": TWO})
    yours = tree({"p": TWO, "p" + NEW_SUFFIX: THREE})
    assert same(merged(first, yours, second), tree({"p": TWO}))


def test_the_longest_name_has_room_beside() -> None:
    name = "n" * 255
    found = merged(tree({name: ONE}), tree({name: TWO}), tree({name: THREE}))
    assert sorted(len(path) for path in found.entries) == [0, 180 + 16 + len(NEW_SUFFIX), 255]


# What holds for any three trees.


@RANDOM
@given(three_trees(), POLICIES)
def test_changing_nothing_gives_the_new_defaults(three: tuple[Tree, Tree, Tree], policy: Policy) -> None:
    old, _, new = three
    kept = {path: old.entries[path] for path in ("machine-id",) if path in old.entries}
    whole = {path for path in old.entries if path.split("/")[0] in kept}
    found = merged(old, old, new, policy)
    assert {p: e for p, e in found.entries.items() if p.split("/")[0] != "machine-id"} == {
        p: e for p, e in new.entries.items() if p.split("/")[0] != "machine-id"
    }
    assert all(found.entries[path] == old.entries[path] for path in whole)


@RANDOM
@given(three_trees(), POLICIES)
def test_a_version_with_nothing_new_leaves_yours(three: tuple[Tree, Tree, Tree], policy: Policy) -> None:
    old, yours, _ = three
    assert same(merged(old, yours, old, policy), yours)


@RANDOM
@given(three_trees(), POLICIES)
def test_merging_the_same_version_again_changes_nothing(
    three: tuple[Tree, Tree, Tree], policy: Policy
) -> None:
    old, yours, new = three
    once = merged(old, yours, new, policy)
    assert same(merged(new, once, new, policy), once)


@RANDOM
@given(three_trees(), POLICIES)
def test_the_next_version_finds_what_you_deleted_deleted(
    three: tuple[Tree, Tree, Tree], policy: Policy
) -> None:
    old, yours, new = three
    found = merged(old, yours, new, policy)
    gone = {path for path in old.entries if path not in yours.entries and parent(path) in yours.entries}
    assert {
        path for path in gone if path in found.entries and yours.get(parent(path)).kind is Kind.DIRECTORY
    } == set()  # type: ignore[union-attr]


@RANDOM
@given(three_trees(), POLICIES)
def test_no_bytes_of_yours_are_lost(three: tuple[Tree, Tree, Tree], policy: Policy) -> None:
    old, yours, new = three
    found = merged(old, yours, new, policy)
    there = {entry.content for entry in found.entries.values()}
    for path, entry in yours.entries.items():
        before = old.get(path)
        if (
            entry.kind is Kind.DIRECTORY
            or entry.content in there
            or (before and before.content == entry.content)
        ):
            continue
        result = found.entries[path]
        assert result.kind is Kind.FILE
        assert before is not None or path in ACCOUNTS
        added = set(yours.read(path).splitlines()) - set(
            old.read(path).splitlines() if before and before.kind is Kind.FILE else ()
        )
        assert added <= set(found.read(path).splitlines())


@RANDOM
@given(three_trees())
def test_a_conflict_names_both_sides(three: tuple[Tree, Tree, Tree]) -> None:
    old, yours, new = three
    for action in plan(old, yours, new, MINE):
        if action.result is Result.CONFLICT and action.beside is not None:
            assert replace(action, why="") != action
            assert yours.get(action.path) is not None
            assert new.get(action.path) is not None
        elif action.result is Result.SAME:
            assert old.get(action.path) == yours.get(action.path) == new.get(action.path)


@RANDOM
@given(st.data())
def test_trees_can_be_chained_over_many_versions(data: st.DataObject) -> None:
    defaults = data.draw(trees())
    yours = data.draw(changed(defaults))
    for _ in range(3):
        following = data.draw(changed(defaults))
        yours, defaults = merged(defaults, yours, following), following
    assert same(merged(defaults, yours, defaults), yours)
