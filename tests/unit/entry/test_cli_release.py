"""`skerry release`, through its command line: what it says, what it exits with, and where secrets are not."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock
from fakes.images import SALT, UUID, make_image
from fakes.releases import Releases
from skerry.entry.cli.main import cli, run
from skerry.image.compose.build import Store
from skerry.image.content.verity import Hasher
from skerry.image.release import keys
from skerry.image.release.repository import Repository
from skerry.kit.clock import SystemClock

if TYPE_CHECKING:
    from pathlib import Path

PASSPHRASE = "a passphrase"


class Operator:
    """Types commands, in a place of their own."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.repository = directory / "repository"
        self.keys = directory / "keys"
        self._capsys = capsys

    def type(self, *words: str, keys: str | None = None) -> tuple[int, str, str]:
        where = ["-r", str(self.repository), "-k", str(keys or self.keys)]
        making = words[:1] == ("init",) or words[:2] in (("keys", "rotate"), ("channel", "add"))
        more = [] if words[0] == "client" else [*where, *(["--rounds", "1000"] if making else [])]
        status = run(cli, ["release", *words, *more], name="skerry")
        captured = self._capsys.readouterr()
        assert PASSPHRASE not in captured.out + captured.err
        assert "PRIVATE" not in captured.out + captured.err
        return status, captured.out, captured.err

    def done(self, *words: str) -> object:
        """The JSON of a command that has to succeed."""
        status, out, err = self.type(*words, "--json")
        assert status == 0, err
        return json.loads(out.splitlines()[-1])


@pytest.fixture
def operator(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Operator:
    monkeypatch.setenv("SKERRY_PASSPHRASE", PASSPHRASE)
    for name in ("SKERRY_REPOSITORY", "SKERRY_KEYS"):
        monkeypatch.delenv(name, raising=False)
    return Operator(tmp_path, capsys)


@pytest.fixture
def releases(operator: Operator) -> Releases:
    """A repository without releases; made now, for commands go by the system's clock."""
    clock = FakeClock(now=SystemClock().now())
    return Releases(operator.directory, clock, channels=("stable", "beta"))


@pytest.fixture
def begun(operator: Operator, releases: Releases) -> Operator:
    return operator


@pytest.fixture
def published(operator: Operator, releases: Releases) -> Operator:
    """A repository with 2026.10.0 in beta."""
    releases.publish("2026.10.0", "beta")
    return operator


def test_init_makes_keys_and_says_what_goes_where(operator: Operator) -> None:
    status, _out, err = operator.type("init", "--channel", "stable", "--valid", "timestamp=12h")
    assert status == 0, err
    assert "root.json goes into your images" in err
    names = sorted(path.name for path in operator.keys.glob("*.pem"))
    assert names == ["root-1.pem", "root-2.pem", "root-3.pem", "snapshot.pem", "stable.pem", "targets.pem",
                     "timestamp.pem"]  # fmt: skip
    listed = operator.done("keys", "list")
    assert isinstance(listed, list)
    assert [(one["role"], one["threshold"], len(one["here"])) for one in listed] == [
        ("root", 2, 3), ("targets", 1, 1), ("stable", 1, 1), ("snapshot", 1, 1), ("timestamp", 1, 1),
    ]  # fmt: skip
    assert listed[4]["expires"] - listed[3]["expires"] < -13 * 86400


def test_init_takes_public_keys_of_others(operator: Operator, tmp_path: Path) -> None:
    ring = keys.Keyring(tmp_path / "theirs", lambda _: "other", rounds=1)
    ring.make("stable")
    theirs = tmp_path / "theirs" / "stable.pub"
    status, _, err = operator.type("init", "--channel", "stable", "--public", f"stable={theirs}")
    assert (status, "no key of stable is here" in err) == (1, True), err
    assert not Repository(operator.repository).exists


def test_init_twice_is_refused(published: Operator) -> None:
    status, _, err = published.type("init")
    assert status == 1
    assert "holds a repository already" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["init", "--count", "root=two"], "not a number"),
        (["init", "--count", "gamma=2"], "the roles are"),
        (["init", "--valid", "root=1y"], "not a time"),
        (["rollout", "2026.10.0", "--channel", "beta"], "Missing argument 'WAVES'"),
        (["list", "--what"], "No such option"),
    ],
)
def test_misuse_exits_with_2(operator: Operator, words: list[str], said: str) -> None:
    status, _, err = operator.type(*words)
    assert (status, said in err) == (2, True), err


def test_a_threshold_that_cannot_be_reached_is_refused(operator: Operator) -> None:
    status, _, err = operator.type("init", "--threshold", "root=4")
    assert (status, "cannot need 4 of 3 keys" in err) == (1, True), err
    assert not operator.keys.exists()


def test_which_repository_has_to_be_said(operator: Operator, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["release", "list"], name="skerry") == 2
    assert "SKERRY_REPOSITORY" in capsys.readouterr().err


def test_a_release_goes_its_way(published: Operator) -> None:
    for words in (
        ["promote", "2026.10.0", "--to", "stable", "--rollout", "10%@0h,100%@2d"],
        ["rollout", "2026.10.0", "immediate", "--channel", "stable"],
        ["pause", "stable", "--reason", "disks fail"],
        ["resume", "stable"],
        ["floor", "2026.10.0", "--channel", "stable"],
        ["withdraw", "2026.10.0", "--channel", "beta", "--reason", "eats data"],
        ["refresh"],
        ["renew", "stable", "targets"],
        ["channel", "add", "gamma"],
    ):
        before = published.done("keys", "list")
        said = published.done(*words, "--dry-run")
        assert isinstance(said, dict)
        assert said["dry_run"] is True
        assert published.done("keys", "list") == before
        published.done(*words)
        assert published.done("keys", "list") != before
    listed = published.done("list")
    assert isinstance(listed, list)
    assert [(one["channel"], one["version"], one["share"], one["state"]) for one in listed] == [
        ("stable", "2026.10.0", 1.0, "out"), ("beta", "2026.10.0", 1.0, "withdrawn"),
    ]  # fmt: skip
    verdict = published.done("verify")
    assert isinstance(verdict, dict)
    assert (verdict["good"], verdict["findings"]) == (True, [])


def test_tables_for_people(published: Operator) -> None:
    published.done("pause", "beta", "--reason", "disks fail")
    _, out, _ = published.type("list")
    assert out.splitlines()[0].split() == ["CHANNEL", "VERSION", "PUBLISHED", "HOSTS", "STATE"]
    assert out.splitlines()[1].split()[:2] == ["beta", "2026.10.0"]
    _, out, _ = published.type("show")
    assert "stable: no releases yet" in out
    assert "disks fail" in out
    _, out, _ = published.type("show", "2026.10.0")
    assert "kernel 6.12.0" in out
    _, out, _ = published.type("keys", "list")
    assert "2 of 3" in out


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp", "stable"])
def test_keys_are_rotated(published: Operator, role: str) -> None:
    before = {one["role"]: one["keys"] for one in published.done("keys", "list")}  # type: ignore[attr-defined]
    published.done("keys", "rotate", role)
    after = {one["role"]: one["keys"] for one in published.done("keys", "list")}  # type: ignore[attr-defined]
    assert set(before[role]).isdisjoint(after[role])
    assert len(before[role]) == len(after[role])
    first = published.repository / "metadata" / "1.root.json"
    status, _, err = published.type("verify", "--root", str(first))
    assert status == 0, err


def test_a_key_is_kept_when_asked(published: Operator) -> None:
    published.done("keys", "rotate", "root", "--keep", "root-1", "--keep", "root-2")
    listed = published.done("keys", "list")
    assert isinstance(listed, list)
    assert listed[0]["here"] == ["root-1", "root-2", "root-4"]


def test_a_refresh_tells_of_a_channel_that_expired(operator: Operator) -> None:
    Releases(operator.directory, FakeClock(now=SystemClock().now() - 100 * 86400))
    status, _, err = operator.type("refresh")
    assert status == 0
    assert "warning: stable expired, and hosts take nothing of it, on 20" in err
    operator.done("renew", "stable")
    assert operator.type("refresh")[2] == ""


def test_a_change_is_signed_elsewhere(published: Operator, tmp_path: Path) -> None:
    stick, vault = str(tmp_path / "stick"), tmp_path / "vault"
    vault.mkdir()
    for name in ("root-1", "root-2"):
        for end in ("pem", "pub"):
            (published.keys / f"{name}.{end}").rename(vault / f"{name}.{end}")
    (published.keys / "root-3.pem").unlink()
    published.done("prepare", stick, "root")
    status, _, err = published.type("assemble", stick)
    assert (status, "no key of root is here" in err) == (1, True), err
    assert "root-3" not in err, "of which only the public half is here"
    status, out, _ = published.type("sign", stick, "--dry-run", keys=str(vault))
    assert "root version 2: 0 of 2 signatures, 2 more needed" in out
    status, out, err = published.type("sign", stick, keys=str(vault))
    assert (status, "complete" in out) == (0, True), err
    published.done("assemble", stick)
    listed = published.done("keys", "list")
    assert isinstance(listed, list)
    assert listed[0]["version"] == 2


def test_verify_fails_where_something_is_wrong(published: Operator) -> None:
    next((published.repository / "blobs").rglob("*/" + "?" * 64)).unlink()
    status, out, err = published.type("verify")
    assert (status, "is missing" in err, out) == (1, True, "")
    status, out, _ = published.type("verify", "--json")
    assert (status, json.loads(out)["good"]) == (1, False)


def test_a_mirror_is_made_and_cleared_up(published: Operator, tmp_path: Path) -> None:
    source = published.repository.as_uri()
    published.repository = tmp_path / "mirror"
    done = published.done("mirror", source)
    assert isinstance(done, dict)
    assert done["fetched"] == 6
    assert published.type("verify")[0] == 0
    published.repository = tmp_path / "repository"
    gone = published.done("gc", "--older-than", "0h", "--dry-run")
    assert isinstance(gone, dict)
    assert "metadata/1.snapshot.json" in gone["files"]
    published.done("gc", "--older-than", "0h")
    assert published.type("verify")[0] == 0


def test_the_client_as_suites_drive_it(published: Operator, tmp_path: Path) -> None:
    trusted = str(published.repository / "metadata" / "1.root.json")
    metadata = str(tmp_path / "metadata")
    url = f"{published.repository.as_uri()}/metadata"
    base = ["client", "--metadata-dir", metadata, "--metadata-url", url]
    assert published.type(*base, "refresh")[0] == 1
    assert published.type(*base, "init", trusted)[0] == 0
    assert published.type(*base, "refresh")[0] == 0
    assert {path.name for path in (tmp_path / "metadata").glob("*.json")} == {
        "root.json", "timestamp.json", "snapshot.json", "targets.json",
    }  # fmt: skip
    target = ["--target-name", "channels/beta/channel.json", "--target-dir", str(tmp_path / "got")]
    target += ["--target-base-url", f"{published.repository.as_uri()}/targets"]
    assert published.type(*base, *target, "download")[0] == 0
    assert len(list((tmp_path / "got").iterdir())) == 1
    target[1] = "channels/beta/nothing.json"
    status, _, err = published.type(*base, *target, "download")
    assert (status, "nobody signs for" in err) == (1, True)


def test_a_wrong_passphrase_is_an_error_and_not_shown(
    published: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKERRY_PASSPHRASE", "guessed")
    status, _, err = published.type("refresh")
    assert status == 1
    assert "passphrase does not open" in err
    assert "guessed" not in err


def test_a_passphrase_from_a_file(
    published: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SKERRY_PASSPHRASE")
    file = tmp_path / "passphrase"
    file.write_text(f"{PASSPHRASE}\n")
    published.done("refresh", "--passphrase-file", str(file))
    status, _, err = published.type("refresh")
    assert (status, "nobody can be asked" in err) == (1, True), err


# -- publishing images that were built here


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The images of this machine: 2026.11.0, and 2026.11.1 with a few blocks changed."""
    monkeypatch.setenv("SKERRY_CACHE", str(tmp_path / "cache"))
    chance = random.Random(7)  # noqa: S311  the same every time
    root, uki = chance.randbytes(64 * 4096), chance.randbytes(9000)
    made = Store()
    made.cache.mkdir()
    make_image(made.cache / "one", made, "2026.11.0", root=root, uki=uki)
    newer = root[: 20 * 4096] + chance.randbytes(4096) + root[21 * 4096 :]
    make_image(made.cache / "two", made, "2026.11.1", root=newer, uki=uki)
    return made


def test_images_are_published_with_patches(begun: Operator, store: Store) -> None:
    first = begun.done("publish", "skerry_2026.11.0", "--channel", "stable", "--notes", "first")
    assert isinstance(first, dict)
    assert first["new_bytes"] == first["stored_bytes"] > 64 * 4096
    second = begun.done("publish", "skerry_2026.11.1", "--channel", "stable", "--rollout", "immediate")
    assert isinstance(second, dict)
    shown = begun.done("show", "2026.11.1")
    assert isinstance(shown, dict)
    root, uki = shown["parts"]
    assert (root["name"], root["verity"]["blocks"]) == ("root", 64)
    assert [patch["from_version"] for patch in root["patches"]] == ["2026.11.0"]
    assert root["patches"][0]["blob"]["size"] < root["full"]["size"] / 10
    assert uki["patches"] == []  # it is the same
    assert shown["packages"] == [{"name": "bash", "version": "5.2+2026.11.1", "size": 0}]
    assert shown["disk"] == {"esp": 512 << 20, "slot": 512 << 20, "verity": 16 << 20}
    assert begun.type("verify")[0] == 0


def test_patches_reach_back_when_the_older_image_is_gone(begun: Operator, store: Store) -> None:
    begun.done("publish", "skerry_2026.11.0", "--channel", "stable")
    store.remove("skerry_2026.11.0")
    begun.done("publish", "skerry_2026.11.1", "--channel", "stable")
    shown = begun.done("show", "2026.11.1")
    assert isinstance(shown, dict)
    assert [patch["from_version"] for patch in shown["parts"][0]["patches"]] == ["2026.11.0"]


def test_what_is_refused_is_refused_before_the_work(begun: Operator, store: Store) -> None:
    begun.done("publish", "skerry_2026.11.1", "--channel", "stable")
    status, _, err = begun.type("publish", "skerry_2026.11.0", "--channel", "stable")
    assert (status, "2026.11.0 is not newer" in err) == (1, True), err
    status, _, err = begun.type("publish", "skerry_2027.1.0", "--channel", "stable")
    assert (status, "there is no image skerry_2027.1.0" in err) == (1, True), err
    (begun.keys / "stable.pem").unlink()
    make_image(store.cache / "three", store, "2026.12.0", root=bytes(4096 * 200), uki=b"x" * 5000)
    made = {path.name for path in (store.cache / "releases").iterdir()}
    status, _, err = begun.type("publish", "skerry_2026.12.0", "--channel", "stable")
    assert (status, "no key of stable is here" in err) == (1, True), err
    assert {path.name for path in (store.cache / "releases").iterdir()} == made


def test_an_extension_belongs_to_its_release(begun: Operator, store: Store, tmp_path: Path) -> None:
    raw = bytes(range(256)) * 128
    hasher = Hasher(SALT)
    hasher.update(raw)
    tree = hasher.tree()
    (tmp_path / "tools.raw").write_bytes(raw)
    (tmp_path / "tools.verity").write_bytes(tree.device(SALT, UUID))
    (tmp_path / "tools.roothash").write_text(f"{tree.root_hash}\n")
    begun.done(
        "publish", "skerry_2026.11.0", "--channel", "stable", "--extension", str(tmp_path / "tools.raw")
    )
    shown = begun.done("show", "2026.11.0")
    assert isinstance(shown, dict)
    assert [part["name"] for part in shown["parts"]] == ["root", "uki", "extension:tools"]
    assert shown["parts"][2]["verity"]["root_hash"] == tree.root_hash
