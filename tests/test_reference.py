"""Every state, setting, task option, trigger and public name stands in the reference."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import dataflow
from dataflow import states, triggers
from dataflow.definition import HOOKS, POLICY_OPTIONS
from dataflow.settings import get
from tests.api_page import PAGE, page

ROOT = Path(__file__).parents[1]
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
NOT_TRIGGERS = {"Upstreams", "Trigger", "Between", "Protocol", "Callable", "Iterable", "Manual"}


def settings(tree: dict[str, object], prefix: str = "") -> list[str]:
    names: list[str] = []
    for name, value in tree.items():
        path = f"{prefix}.{name}" if prefix else name
        names += settings(value, path) if isinstance(value, dict) and value else [path]
    return names


SETTINGS = settings(yaml.safe_load((ROOT / "dataflow" / "dataflow.yaml").read_text()))


@pytest.mark.parametrize("state", sorted(set(states.TASK_TRANSITIONS) | set(states.RUN_TRANSITIONS)))
def test_every_state_is_explained(state: str) -> None:
    assert f"\n| {state} | " in REFERENCE


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_is_explained_and_has_its_default(setting: str) -> None:
    assert f"| `{setting}` | " in REFERENCE
    get(setting.removeprefix("dataflow."))


IDENTITY = {"name", "tags", "description", "version", "outputs"}


@pytest.mark.parametrize("option", sorted({*POLICY_OPTIONS, *HOOKS, *IDENTITY}))
def test_every_option_is_explained(option: str) -> None:
    table = REFERENCE.partition("## Options of a task")[2].partition("## Triggers")[0]
    assert f"`{option}`" in table


def test_every_trigger_is_explained() -> None:
    public = {name for name in vars(triggers) if name.islower() and not name.startswith("_")}
    public -= {"annotations", "dataclass", "states"}
    assert {"all_successful", "manual"} <= public
    missing = [name for name in public if f"`{name}" not in REFERENCE]
    assert not missing


def test_the_page_of_public_names_says_what_the_docstrings_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "make docs writes it anew"


def test_every_public_name_is_explained() -> None:
    parts = re.split(r"^##+ `", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    told = {part.partition("`\n\n") for part in parts}
    assert {re.split(r"[(`]", name)[0] for name, _, _ in told} >= set(dataflow.__all__)
    assert [name for name, _, text in told if not text.strip()] == []
