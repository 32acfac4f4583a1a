"""Flows for pictures, and what a picture says."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from dataflow import Node, flow, task
from dataflow.flow_graph import FlowGraph

SVG = "{http://www.w3.org/2000/svg}"


@task
def fetch(url: str) -> str:
    return url


@task
def clean(x: object) -> object:
    return x


@task
def load(*xs: object) -> int:
    return 1


@flow
def report(day: str) -> object:
    table = clean(day)
    return load(table, clean(table))


@flow
def decide(x: object) -> object:
    return clean(x)


@flow
def etl(n: int = 8333, wide: bool = False) -> object:
    raw = fetch.map([str(i) for i in range(n)])
    found = clean.map(load(1)) if wide else raw
    return load(clean.map(raw), report("today"), decide(found), report("now"))


@flow
def chain(n: int) -> object:
    x: object = fetch("a")
    for _ in range(n):
        x = clean(x)
    return x


@flow
def ladder(n: int) -> object:
    x: object = fetch("a")
    for i in range(n):
        x = clean.options(name=f"step_{i}")(load(x))
    return x


@flow
def subflows(n: int) -> object:
    return [report(str(day)) for day in range(n)]


@flow
def dense(n: int) -> object:
    nodes: list[Node] = []
    for i in range(n):
        nodes.append(load.options(name=f"layer_{i}")(*nodes))
    return nodes[-1]


def graph_of(made: object) -> FlowGraph:
    assert isinstance(made, FlowGraph)
    return made


def texts(picture: str) -> list[str]:
    return ["".join(element.itertext()) for element in ET.fromstring(picture).iter(f"{SVG}text")]
