"""Users and groups, merged entry by entry: what you made stays, numbers never change."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.trees import tree
from skerry.host.etc.accounts import Accounts, merge, parse
from skerry.host.etc.actions import Policy, Result
from skerry.host.etc.plan import NEW_SUFFIX, plan
from skerry.host.etc.tree import Entry, Kind, Tree

ROOT = "root:x:0:0:root:/root:/bin/bash\n"
BUS = "bus:x:996:996:Bus:/:/usr/sbin/nologin\n"
CORE = "core:x:1000:1000:Administrator:/home/core:/bin/bash\n"
SYNC = "sync:x:995:995::/:/usr/sbin/nologin\n"


def done(
    old: dict[str, str], yours: dict[str, str], new: dict[str, str], *, theirs: bool = False
) -> Accounts:
    return merge(
        *({name: text.encode() for name, text in side.items()} for side in (old, yours, new)), theirs=theirs
    )


def passwd(old: str, yours: str, new: str, *, theirs: bool = False) -> tuple[str, tuple[str, ...]]:
    found = done({"passwd": old}, {"passwd": yours}, {"passwd": new}, theirs=theirs).files["passwd"]
    return found.data.decode(), found.conflicts


def group(old: str, yours: str, new: str) -> tuple[str, tuple[str, ...]]:
    found = done({"group": old}, {"group": yours}, {"group": new}).files["group"]
    return found.data.decode(), found.conflicts


def test_your_user_stays_and_the_new_system_user_comes() -> None:
    assert passwd(ROOT + BUS, ROOT + BUS + CORE, ROOT + BUS + SYNC) == (ROOT + BUS + CORE + SYNC, ())


def test_a_system_user_that_left_goes() -> None:
    assert passwd(ROOT + BUS, ROOT + BUS + CORE, ROOT) == (ROOT + CORE, ())


def test_a_user_you_deleted_stays_deleted() -> None:
    assert passwd(ROOT + BUS, ROOT, ROOT + BUS) == (ROOT, ())


def test_a_shell_of_yours_and_a_comment_of_theirs_meet() -> None:
    yours, new = ROOT.replace("bash", "sh"), ROOT.replace(":root:/", ":Superuser:/")
    assert passwd(ROOT, yours, new) == ("root:x:0:0:Superuser:/root:/bin/sh\n", ())


@pytest.mark.parametrize(("theirs", "shell"), [(False, "sh"), (True, "zsh")])
def test_two_shells_conflict(theirs: bool, shell: str) -> None:
    yours, new = ROOT.replace("bash", "sh"), ROOT.replace("bash", "zsh")
    text, conflicts = passwd(ROOT, yours, new, theirs=theirs)
    assert text == ROOT.replace("bash", shell)
    assert conflicts == ("shell of root: changed here and in the new version",)


@pytest.mark.parametrize("theirs", [False, True])
def test_a_number_never_changes(theirs: bool) -> None:
    text, conflicts = passwd(BUS, BUS + CORE, BUS.replace("996", "994"), theirs=theirs)
    assert text == BUS + CORE
    assert conflicts[0] == "uid of bus: 996 here, 994 in the new version; yours stays"


def test_a_new_user_whose_number_is_yours_gets_a_free_one() -> None:
    yours = ROOT + "mine:x:995:995::/:/bin/sh\n"
    text, (conflict,) = passwd(ROOT, yours, ROOT + SYNC)
    assert text == yours + SYNC.replace("x:995", "x:999")
    assert conflict == "uid 995 of sync, which is new, is mine's here; it is given 999"


def test_an_account_you_changed_is_never_removed() -> None:
    changed = BUS.replace("/usr/sbin/nologin", "/bin/sh")
    text, conflicts = passwd(ROOT + BUS, ROOT + changed, ROOT, theirs=True)
    assert text == ROOT + changed
    assert len(conflicts) == 1


def test_members_are_merged_as_sets() -> None:
    merged = group("wheel:x:10:a,b\n", "wheel:x:10:a,b,core\n", "wheel:x:10:b,new\n")
    assert merged == ("wheel:x:10:b,core,new\n", ())


def test_a_group_that_is_a_users_first_stays() -> None:
    found = done(
        {"group": "staff:x:50:\n", "passwd": ROOT},
        {"group": "staff:x:50:\n", "passwd": ROOT + "me:x:1000:50::/:/bin/sh\n"},
        {"group": "", "passwd": ROOT},
    )
    assert found.files["group"].data == b"staff:x:50:\n"


def test_a_new_users_first_group_is_the_one_here() -> None:
    found = done(
        {"group": "bus:x:996:\n", "passwd": ROOT},
        {"group": "bus:x:996:\n", "passwd": ROOT},
        {"group": "bus:x:994:\n", "passwd": ROOT + "bus2:x:990:994::/:/bin/false\n"},
    )
    assert found.gids == {994: 996}
    assert b"bus2:x:990:996:" in found.files["passwd"].data


def test_a_password_of_yours_stays_and_shadow_follows_passwd() -> None:
    found = done(
        {"passwd": ROOT + BUS, "shadow": "root:*:1::::::\nbus:!:1::::::\n"},
        {"passwd": ROOT + BUS + CORE, "shadow": "root:$y$hash:2::::::\nbus:!:1::::::\ncore:$y$x:3::::::\n"},
        {"passwd": ROOT + SYNC, "shadow": "root:*:9::::::\nsync:!:9::::::\n"},
    )
    assert found.files["shadow"].data == b"root:$y$hash:2::::::\ncore:$y$x:3::::::\nsync:!:9::::::\n"


def test_subordinate_ids_of_your_user_stay() -> None:
    found = done({"subuid": ""}, {"subuid": "core:100000:65536\n"}, {"subuid": "new:200000:65536\n"})
    assert found.files["subuid"].data == b"core:100000:65536\nnew:200000:65536\n"


def test_what_a_new_version_ships_is_given_to_the_number_here() -> None:
    old = _owned(tree({"group": "bus:x:996:\n", "bus.conf": "1\n"}), 996)
    new = _owned(tree({"group": "bus:x:994:\n", "bus.conf": "2\n"}), 994)
    (action,) = (action for action in plan(old, old, new, Policy.MINE) if action.path == "bus.conf")
    assert action.result is Result.UPDATED
    assert action.entry is not None
    assert action.entry.gid == 996


def test_what_was_given_to_the_number_here_counts_as_untouched_ever_after() -> None:
    old = _owned(tree({"group": "bus:x:994:\n", "bus.conf": "1\n"}), 994)
    yours = _owned(tree({"group": "bus:x:996:\n", "bus.conf": "1\n"}), 996)
    (action,) = (
        action
        for action in plan(old, yours, tree({"group": "bus:x:994:\n"}), Policy.MINE)
        if action.path == "bus.conf"
    )
    assert action.result is Result.REMOVED


def _owned(what: Tree, gid: int) -> Tree:
    found: dict[str, Entry] = dict(what.entries)
    entry = found["bus.conf"]
    found["bus.conf"] = Entry(Kind.FILE, entry.mode, entry.uid, gid, entry.content, entry.size_bytes)
    return Tree(found, what.read)


def test_a_conflict_puts_the_whole_file_beside() -> None:
    old, new = tree({"passwd": BUS}), tree({"passwd": BUS.replace("996", "994")})
    paths = {action.path: action for action in plan(old, old, new, Policy.MINE)}
    assert paths["passwd"].result is Result.CONFLICT
    assert paths["passwd"].beside == f"passwd{NEW_SUFFIX}"
    assert paths[f"passwd{NEW_SUFFIX}"].entry == new.entries["passwd"]


_NAMES = st.sampled_from(["root", "bus", "sync", "core", "me"])
_IDS = st.integers(0, 4).map(str)


@st.composite
def _rows(draw: st.DrawFn) -> str:
    rows = draw(st.dictionaries(_NAMES, st.tuples(_IDS, _IDS, st.sampled_from(["", "sh"])), max_size=4))
    return "".join(f"{name}:x:{uid}:{gid}::/:{shell}\n" for name, (uid, gid, shell) in rows.items())


@settings(max_examples=200, deadline=None)
@given(_rows(), _rows(), _rows(), st.booleans())
def test_of_any_three_files(old: str, yours: str, new: str, theirs: bool) -> None:
    text, _ = passwd(old, yours, new, theirs=theirs)
    result, mine = parse(text.encode()), parse(yours.encode())
    assert {key: row[2] for key, row in mine.items() if key in result} == {
        key: result[key][2] for key in mine if key in result
    }
    assert {key for key, row in mine.items() if parse(old.encode()).get(key) != row} <= result.keys()
    assert passwd(new, text, new, theirs=theirs)[0] == text


@settings(max_examples=100, deadline=None)
@given(_rows(), _rows())
def test_nothing_new_leaves_the_file_as_it_is(old: str, yours: str) -> None:
    assert passwd(old, yours, old) == (yours, ())
