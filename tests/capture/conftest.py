"""The capture, installed for one test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dataflow.capture import install, uninstall


@pytest.fixture
def installed() -> Iterator[None]:
    install()
    yield
    uninstall()
