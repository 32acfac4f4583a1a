"""What may be deleted of runs that are over, and deleting it: `survey` looks, `carry_out` does what was seen.

The record of a run goes first, in one transaction that also notes that its results are still there (a *leftover*). Only
then its results go, but for those that a run on record or a cache entry needs: they stay noted, and a later prune looks
again. So no record ever refers to a result that was pruned, and a prune that broke off is finished by the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dataflow import settings, states
from dataflow.places import open_results
from dataflow_storage import CacheIndex, RunStore, StoreUnavailable

if TYPE_CHECKING:
    from dataflow_storage import Entry, ResultStore
    from dataflow_storage.rows import RunRow

DAY = 86400.0
GRACE = 3600.0  # seconds: a run may have found a cache entry just before it expired
RUN_ID = "[0-9a-f]{32}"
AT_ONCE = 20  # runs whose rows are deleted in one transaction


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Which runs go.

    Parameters
    ----------
    older_than : float or None
        Only those that ended so many seconds ago, or more.
    keep_last : int or None
        Of each flow, the newest so many of those that the other conditions let through stay.
    flow, state : str or None
        Only those of this flow; only those that ended in this state.
    orphans : bool
        Also results of runs that this record does not know; needs `older_than`.
    """

    older_than: float | None = None
    keep_last: int | None = None
    flow: str | None = None
    state: str | None = None
    orphans: bool = False


@dataclass(kw_only=True)
class Remains:
    """What one run has in a result store.

    Parameters
    ----------
    id, name, flow, state : str
        The run; of one that is not on record, what is known of it.
    ended : float or None
        Seconds since the epoch; of one that is not on record, when its last result was written.
    url : str
        The result store.
    doomed, kept : dict of str to int
        Files that go and files that others need, with their bytes.
    """

    id: str
    name: str
    flow: str
    state: str
    ended: float | None
    url: str
    doomed: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Stale:
    """A cache entry that serves nobody.

    Parameters
    ----------
    url : str
        The result store.
    folder, key : str
        The entry.
    path, run : str
        The task run that made it.
    why : str
        ``"expired"`` or ``"gone"``: its result is.
    """

    url: str
    folder: str
    key: str
    path: str
    run: str
    why: str


@dataclass(kw_only=True)
class Survey:
    """What would go, or what went.

    Parameters
    ----------
    runs : list of Remains
        Runs whose record goes.
    leftovers : list of Remains
        What earlier prunes left.
    orphans : list of Remains
        Results of runs that are not on record.
    entries : list of Stale
        Cache entries.
    rubbish : dict of str to dict
        By result store: half-written files and claims of processes that died, with their bytes.
    unreachable : dict of str to str
        Result stores that could not be looked at, and why.
    """

    runs: list[Remains] = field(default_factory=list)
    leftovers: list[Remains] = field(default_factory=list)
    orphans: list[Remains] = field(default_factory=list)
    entries: list[Stale] = field(default_factory=list)
    rubbish: dict[str, dict[str, int]] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)

    @property
    def remains(self) -> list[Remains]:
        """Of all kinds."""
        return [*self.runs, *self.leftovers, *self.orphans]

    @property
    def is_empty(self) -> bool:
        """Nothing goes."""
        return not (self.runs or self.entries or any(one.doomed for one in self.remains) or any(self.rubbish.values()))


def choose(rows: Iterable[RunRow], rule: Rule, now: float) -> Iterator[RunRow]:
    """Those of some runs, newest first, that a rule does not keep."""
    seen: Counter[str] = Counter()
    for row in rows:
        if row.state not in states.RUN_FINAL or (row.owner and row.lease_until and row.lease_until > now):
            continue
        if rule.flow not in (None, row.flow) or rule.state not in (None, row.state):
            continue
        seen[row.flow] += 1
        is_recent = rule.keep_last is not None and seen[row.flow] <= rule.keep_last
        is_young = rule.older_than is not None and now - (row.ended or row.created) < rule.older_than
        if not is_recent and not is_young:
            yield row


def survey(runs: RunStore, rule: Rule, now: float) -> Survey:
    """Look what a rule would delete now. Nothing is changed.

    Parameters
    ----------
    runs : RunStore
        The record.
    rule : Rule
        Which runs.
    now : float
        Seconds since the epoch.
    """
    from dataflow_storage.retention import Retention

    found, record = Survey(), Retention(runs)
    here = open_results(settings.results_url()).url
    for row in choose(runs.runs(state=sorted(states.RUN_FINAL), limit=None), rule, now):
        url = row.results_url or here
        ended = row.ended or row.created
        found.runs.append(Remains(id=row.id, name=row.name, flow=row.flow, state=row.state, ended=ended, url=url))
    for left in record.leftovers():
        url = left.results_url or here
        found.leftovers.append(Remains(id=left.id, name=left.name, flow=left.flow, state="", ended=None, url=url))
    going = {one.id for one in found.runs}
    borrowed = _borrowed(runs, going)
    for url in dict.fromkeys([here, *(one.url for one in found.remains)]):
        try:
            place = _Place(url, rule, now)
            place.load()
            if rule.orphans:
                found.orphans += place.orphans(runs)
            mine = [one for one in found.remains if one.url == url]
            found.entries += place.look(mine, borrowed)
            found.rubbish[url] = place.rubbish()
        except StoreUnavailable as error:
            found.unreachable[url] = error.reason
    found.leftovers = [one for one in found.leftovers if one.doomed or not one.kept]
    return found


def carry_out(runs: RunStore, planned: Survey, rule: Rule, now: float) -> Survey:
    """Delete what a survey found, as far as it still may go: what others took up meanwhile stays.

    Parameters
    ----------
    runs, rule, now
        As for the survey.
    planned : Survey
        What `survey` gave.

    Returns
    -------
    Survey
        What went.
    """
    from dataflow_storage import cleaning
    from dataflow_storage.retention import Retention

    record, done = Retention(runs), Survey()
    gone: set[str] = set()
    for start in range(0, len(planned.runs), AT_ONCE):
        some = [one.id for one in planned.runs[start : start + AT_ONCE]]
        gone.update(record.delete(some, ended=states.RUN_FINAL))
    record.sweep()
    done.runs = [one for one in planned.runs if one.id in gone]
    noted = {left.id for left in record.leftovers()}
    done.leftovers = [one for one in planned.leftovers if one.id in noted]
    known = record.known(one.id for one in planned.orphans)
    done.orphans = [one for one in planned.orphans if one.id not in known]
    empty: list[str] = []
    for url in dict.fromkeys([*planned.rubbish, *(one.url for one in done.remains)]):
        mine = [one for one in done.remains if one.url == url]
        try:
            place = _Place(url, rule, now)
            # What is needed is looked at again: runs and cache entries may have come since. Entries first: whoever
            # found one that was forgotten meanwhile has it on record by then.
            place.load()
            stale = place.look(mine, _borrowed(runs, set()))
            doomed = [entry for entry in stale if entry in planned.entries]
            if doomed:
                place.forget(doomed)
                done.entries += doomed
                place.load()
                place.look(mine, _borrowed(runs, set()))
            for one in mine:
                cleaning.remove(place.store, one.doomed)
                empty += [] if one.kept else [one.id]
            done.rubbish[url] = planned.rubbish.get(url, {})
            cleaning.remove(place.store, done.rubbish[url])
        except StoreUnavailable as error:
            done.unreachable[url] = error.reason
            for one in mine:
                one.doomed, one.kept = {}, {}
    record.forget(empty)
    return done


def _borrowed(runs: RunStore, going: set[str]) -> set[str]:
    """Results that other runs than those that made them refer to."""
    from dataflow_storage.retention import Retention

    return {_tail(str(reference["url"])) for run_id, reference in Retention(runs).borrowed() if run_id not in going}


def _tail(url: str) -> str:
    """What names a result wherever its store is mounted: the run that made it, and the file."""
    return "/".join(url.split("/")[-2:])


class _Place:
    """One result store, as the survey sees it."""

    def __init__(self, url: str, rule: Rule, now: float) -> None:
        self.store: ResultStore = open_results(url)
        self._rule, self._now = rule, now
        self._entries: list[tuple[str, Entry]] = []

    def load(self) -> None:
        """Read the cache."""
        index = CacheIndex(self.store)
        self._entries = [(folder, entry) for folder in index.folders() for entry in index.entries(folder)]

    def look(self, remains: Sequence[Remains], borrowed: set[str]) -> list[Stale]:
        """Fill in which files of some runs go and which stay, and find cache entries that serve nobody."""
        from dataflow_storage import cleaning

        files = {one.id: cleaning.folder(self.store, one.id) for one in remains}
        there = {_tail(url) for found in files.values() for url in found}
        stale: list[Stale] = []
        needed = set(borrowed)
        for folder, entry in self._entries:
            name = "" if entry.reference is None else _tail(entry.reference.url)  # without one, there was nothing to do
            is_gone = name.partition("/")[0] in files and name not in there
            why = "gone" if is_gone else "expired" if self._has_expired(entry) else ""
            if why:
                stale.append(
                    Stale(url=self.store.url, folder=folder, key=entry.key, path=entry.path, run=entry.run, why=why)
                )
            else:
                needed.add(name)
        for one in remains:
            one.doomed = {url: size for url, size in files[one.id].items() if _tail(url) not in needed}
            one.kept = {url: size for url, size in files[one.id].items() if _tail(url) in needed}
        return stale

    def _has_expired(self, entry: Entry) -> bool:
        longer = self._rule.older_than
        if longer is None or entry.expires is None:
            return False
        return self._now - entry.created > entry.expires + max(longer, GRACE)

    def forget(self, entries: Sequence[Stale]) -> None:
        """Take entries out of the cache."""
        by_folder: dict[str, set[str]] = {}
        for entry in entries:
            by_folder.setdefault(entry.folder, set()).add(entry.key)
        for folder, keys in by_folder.items():
            CacheIndex(self.store).remove(folder, keys)

    def orphans(self, runs: RunStore) -> list[Remains]:
        """Results of runs that are not on record, all of them old enough.

        The store is listed first: a run is on record before it has a result.
        """
        from dataflow_storage import cleaning
        from dataflow_storage.retention import Retention

        assert self._rule.older_than is not None
        ids = cleaning.folders(self.store, RUN_ID)
        known = Retention(runs).known(ids)
        found = []
        for run_id in sorted(ids.keys() - known):
            objects = list(self.store.objects(f"{run_id}/"))
            last = max((each.created for each in objects), default=self._now)  # what cannot be read stays
            if self._now - last > self._rule.older_than:
                flow = str(objects[0].meta.get("flow", ""))
                found.append(Remains(id=run_id, name="", flow=flow, state="", ended=last, url=self.store.url))
        return found

    def rubbish(self) -> dict[str, int]:
        """What processes that died left: files half-written more than a day ago, claims that ended as long ago."""
        from dataflow_storage import cleaning

        before = self._now - DAY
        return {**cleaning.temporaries(self.store, before), **cleaning.claims(self.store, before)}
