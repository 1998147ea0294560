"""Looking at a repository as a sceptic, clearing it up, copying it: by their own words and by damage done."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Self

import pytest

from fakes.clock import FakeClock
from fakes.releases import Releases
from skerry.image.release import changes
from skerry.image.release.collect import collect
from skerry.image.release.errors import MixAndMatchError, RollbackError, SignatureError, StaleError
from skerry.image.release.mirror import Mirrored, mirror
from skerry.image.release.repository import Repository
from skerry.image.release.verify import Verdict, Weight, verify
from skerry.kit.transport import InterruptedTransferError, UrlTransport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86400.0


class Clock(FakeClock):
    def turn(self, seconds: float) -> None:
        self._passed += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def releases(tmp_path: Path, clock: Clock) -> Releases:
    made = Releases(tmp_path, clock, channels=("stable", "beta"))
    made.publish("2026.10.0")
    made.publish("2026.11.0")
    made.publish("2026.11.0", "beta")
    return made


def looked(releases: Releases) -> Verdict:
    return verify(releases.repository, releases.clock, trusted=releases.first_root)


# -- verify


def test_a_good_repository_is_good(releases: Releases) -> None:
    verdict = looked(releases)
    assert verdict.good
    assert verdict.findings == ()
    assert (verdict.roots, verdict.signatures, verdict.documents, verdict.blobs) == (1, 8, 5, 12)


def test_a_damaged_blob_is_found(releases: Releases) -> None:
    blob = releases.repository.manifest(releases.state(), "stable", "2026.10.0").part("root").full
    file = releases.repository.blob(blob)
    file.write_bytes(bytes(len(file.read_bytes())))
    (finding,) = looked(releases).findings
    assert (finding.weight, finding.what) == (Weight.ERROR, f"{blob.path} is damaged")


def test_a_missing_blob_is_found(releases: Releases) -> None:
    blob = releases.repository.manifest(releases.state(), "beta", "2026.11.0").part("uki").pack
    releases.repository.blob(blob).unlink()
    (finding,) = looked(releases).findings
    assert finding.what == f"{blob.path} is missing"


def test_every_file_of_metadata_and_documents_is_looked_at(releases: Releases) -> None:
    """Whatever is flipped in a file that is in use, it is found."""
    top = releases.repository.directory
    kept = top.with_name("kept")
    shutil.copytree(top, kept)
    state = releases.state()
    used = {"1.root", "timestamp", *(f"{state.every()[one].signed.version}.{one}" for one in
            ("targets", "stable", "beta", "snapshot"))}  # fmt: skip
    files = [top / "metadata" / f"{name}.json" for name in used]
    newest = {
        target.hashes["sha256"] for role in state.channels.values() for target in role.signed.targets.values()
    }
    files += [file for file in top.rglob("targets/channels/*/*.json") if file.name.split(".")[0] in newest]
    assert len(files) == 11
    for file in files:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        verdict = looked(releases)
        assert not verdict.good, file
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    assert looked(releases).good


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (2.8, "timestamp expires on"),
        (3.1, "timestamp expired on"),
        (15, "snapshot expired on"),
        (91, "stable expired"),
    ],
)
def test_the_time_is_looked_at(releases: Releases, clock: Clock, days: float, said: str) -> None:
    clock.turn(days * DAY)
    verdict = looked(releases)
    assert any(said in finding.what for finding in verdict.findings)
    assert verdict.good == ("expires" in said)


def test_documents_that_disagree_are_found(releases: Releases, clock: Clock) -> None:
    """Signed, and yet wrong: by a bug of ours, or by whoever holds the channel's key."""
    import msgspec

    state = releases.state()
    document = msgspec.structs.replace(
        state.documents["stable"], floor="2026.12.0", withdrawn={"2026.9.0": "x"},
        releases=state.documents["stable"].releases[:1],
    )  # fmt: skip
    releases.apply(changes.edit(state, document, clock.now(), "wrong"))
    said = " ".join(finding.what for finding in looked(releases).findings)
    assert "signs for 2026.11.0 and does not list it" in said
    assert "the floor of stable, 2026.12.0, is no release of it" in said
    assert "2026.9.0 was withdrawn from stable, which does not have it" in said


def test_a_root_of_others_is_found(releases: Releases, tmp_path: Path, clock: Clock) -> None:
    other = Releases(tmp_path / "other", clock, channels=("stable",))
    assert not verify(releases.repository, clock, trusted=other.first_root).good


# -- gc


def everything(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


def test_what_is_referred_to_stays_and_the_rest_goes_after_its_time(releases: Releases, clock: Clock) -> None:
    top = releases.repository.directory
    stray = top / "blobs" / "aa" / ("aa" * 32)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"stray")
    (top / "README").write_text("not ours")
    now = max(path.stat().st_mtime for path in top.rglob("*"))
    assert collect(releases.repository, now, dry_run=False).files == ()
    would = collect(releases.repository, now + 3 * DAY, dry_run=True)
    assert everything(top) >= set(would.files)
    done = collect(releases.repository, now + 3 * DAY, dry_run=False)
    assert done == would
    assert "blobs/aa/" + "aa" * 32 in done.files
    assert "metadata/1.snapshot.json" in done.files
    assert not any("root" in name or "README" in name for name in done.files)
    assert everything(top).isdisjoint(done.files)
    assert looked(releases).good
    assert collect(releases.repository, now + 9 * DAY, dry_run=False).files == ()


# -- mirror


def copy(releases: Releases, target: Path, **more: object) -> Mirrored:
    return mirror(
        Repository(target),
        UrlTransport(),
        releases.url,
        releases.first_root,
        releases.clock,
        **more,  # type: ignore[arg-type]
    )


def test_a_mirror_is_whole_and_good(releases: Releases, tmp_path: Path, clock: Clock) -> None:
    target = tmp_path / "mirror"
    done = copy(releases, target)
    assert (done.releases, done.blobs, done.fetched, done.held_bytes) == (3, 12, 12, 0)
    assert verify(Repository(target), clock, trusted=releases.first_root).findings == ()
    client = releases.client(url=target.as_uri())
    client.refresh()
    assert [one.version for one in client.channel("stable").releases] == ["2026.10.0", "2026.11.0"]


def test_a_mirror_fetches_only_what_is_new(releases: Releases, tmp_path: Path) -> None:
    target = tmp_path / "mirror"
    copy(releases, target)
    assert copy(releases, target).fetched == 0
    releases.publish("2026.12.0")
    would = copy(releases, target, dry_run=True)
    assert not list((target / "targets").rglob("*2026.12.0*"))
    done = copy(releases, target)
    assert done == would
    assert (done.fetched, done.blobs) == (6, 18)


def test_a_mirror_of_a_mirror_is_the_same(releases: Releases, tmp_path: Path) -> None:
    copy(releases, tmp_path / "one")
    mirror(
        Repository(tmp_path / "two"), UrlTransport(), (tmp_path / "one").as_uri(), releases.first_root,
        releases.clock,
    )  # fmt: skip
    one, two = (
        {name for name in everything(tmp_path / which) if not name.startswith(".")}
        for which in ("one", "two")
    )
    assert one == two
    assert all(
        (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in one
    )


def test_a_mirror_follows_new_keys_and_keeps_every_root(
    releases: Releases, tmp_path: Path, clock: Clock
) -> None:
    target = tmp_path / "mirror"
    copy(releases, target)
    for number, role in enumerate(("timestamp", "snapshot", "targets", "stable")):
        key = releases.keyring.make(f"{role}-new-{number}")
        releases.apply(changes.rotate(releases.state(), role, [key], 1, clock.now()))
    copy(releases, target)
    assert verify(Repository(target), clock, trusted=releases.first_root).findings == ()
    late = tmp_path / "late"
    latest = releases.repository.root_bytes(4)
    mirror(Repository(late), UrlTransport(), releases.url, latest, clock)
    assert verify(Repository(late), clock, trusted=releases.first_root).findings == ()


@pytest.mark.parametrize("lie", ["blob", "old", "keys", "stale"])
def test_a_mirror_that_is_lied_to_stays_as_it_was(
    releases: Releases, tmp_path: Path, clock: Clock, lie: str
) -> None:
    target, evil = tmp_path / "mirror", tmp_path / "evil"
    shutil.copytree(releases.repository.directory, evil)
    copy(releases, target)
    releases.publish("2026.12.0")
    if lie == "old":
        copy(releases, target)
    else:
        shutil.rmtree(evil)
        shutil.copytree(releases.repository.directory, evil)
    before = {name: (target / name).read_bytes() for name in everything(target) if not name.startswith(".")}
    if lie == "blob":
        blob = releases.repository.manifest(releases.state(), "stable", "2026.12.0").part("root").full
        (evil / blob.path).write_bytes(bytes(blob.size))
    if lie == "keys":
        data = (evil / "metadata" / "timestamp.json").read_bytes().replace(b'"sig":"', b'"sig":"00')
        (evil / "metadata" / "timestamp.json").write_bytes(data)
    if lie == "stale":
        clock.turn(4 * DAY)
    wanted = {"blob": MixAndMatchError, "old": RollbackError, "keys": SignatureError, "stale": StaleError}[
        lie
    ]
    with pytest.raises(wanted):
        mirror(Repository(target), UrlTransport(), evil.as_uri(), releases.first_root, clock)
    after = {name: (target / name).read_bytes() for name in before}
    assert after == before


class Cutting(UrlTransport):
    """Every answer ends after so many bytes, and says so."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after
        self.asked: list[tuple[str, int]] = []

    def open(self, url: str, *, start: int = 0, end: int | None = None):  # type: ignore[no-untyped-def]
        self.asked.append((url, start))
        return _Cut(super().open(url, start=start, end=end), self._after if "/blobs/" in url else 1 << 30)


class _Cut:
    def __init__(self, opened: object, after: int) -> None:
        self._opened = opened
        self._after = after

    def __enter__(self) -> Self:
        self._body = self._opened.__enter__()  # type: ignore[attr-defined]
        self.start, self.total = self._body.start, self._body.total
        return self

    def __exit__(self, *details: object) -> None:
        self._opened.__exit__(*details)  # type: ignore[attr-defined]

    def chunks(self) -> Iterator[bytes]:
        for chunk in self._body.chunks():
            if len(chunk) > self._after:
                yield chunk[: self._after]
                raise InterruptedTransferError("cut")
            yield chunk


def test_a_blob_goes_on_where_it_was_cut(releases: Releases, tmp_path: Path, clock: Clock) -> None:
    target = tmp_path / "mirror"
    cutting = Cutting(8)
    mirror(Repository(target), cutting, releases.url, releases.first_root, clock)
    assert verify(Repository(target), clock, trusted=releases.first_root).good
    assert any(start == 16 for _, start in cutting.asked)


def test_a_line_that_is_always_cut_is_given_up_and_taken_up_later(
    releases: Releases, tmp_path: Path, clock: Clock
) -> None:
    target = tmp_path / "mirror"
    with pytest.raises(InterruptedTransferError):
        mirror(Repository(target), Cutting(1), releases.url, releases.first_root, clock)
    assert not (target / "metadata").exists()
    assert list((target / "blobs").rglob(".*.partial"))
    copy(releases, target)
    assert verify(Repository(target), clock, trusted=releases.first_root).good


def test_damage_here_is_mended_when_asked(releases: Releases, tmp_path: Path, clock: Clock) -> None:
    target = tmp_path / "mirror"
    copy(releases, target)
    blob = releases.repository.manifest(releases.state(), "stable", "2026.10.0").part("root").full
    (target / blob.path).write_bytes(bytes(blob.size))
    assert copy(releases, target).fetched == 0
    assert copy(releases, target, check=True).fetched == 1
    assert verify(Repository(target), clock, trusted=releases.first_root).good
