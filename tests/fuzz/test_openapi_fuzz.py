"""schemathesis against an example, by the document that the example's service gives.

Each case is a request that fits the document, or one that does not in some place. Whatever it is,
the answer is one that the document tells of. ``FUZZ_CASES=2000`` makes more of them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from attrs import define
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support import command

CASES = int(os.environ.get("FUZZ_CASES", "300"))
EXAMPLE = Path(__file__).parents[2] / "examples" / "contacts"
KEY = {"x-api-key": "open sesame"}

# every route, and what the cases have to reach for the test to say anything
ROUTES = {
    "POST /contacts": {201, 400},
    "GET /contacts": {200, 400},
    "GET /contacts/{id}": {200, 404},
    "PUT /contacts/{id}": {200, 400, 401, 404},
    "PATCH /contacts/{id}": {200, 400, 401, 404},
    "DELETE /contacts/{id}": {204, 401, 404},
    "POST /contacts/{id}/notes": {201, 400, 404},
    "GET /contacts/{id}/notes": {200, 404},
    "POST /contacts/{id}/messages": {202, 400, 404, 422},
    "POST /newsletter": {200, 400},
}


@define
class Book:
    """The running example, with two contacts in it: one takes messages, one does not."""

    url: str
    operations: dict[str, Any]
    contacts: list[str]

    @classmethod
    def at(cls, url: str) -> Book:
        document = httpx.get(f"{url}/openapi.json").raise_for_status().json()
        schema = schemathesis.openapi.from_dict(document)
        found = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
        book = cls(url, {each.label: each for each in found}, ["", ""])
        book.fill(0)
        book.fill(1)
        return book

    def fill(self, index: int) -> None:
        """Put a new contact in the place of one."""
        body = {"name": "Ada", "email": "ada@example.org", "allows_messages": index == 0}
        answer = httpx.post(f"{self.url}/contacts", json=body).raise_for_status()
        self.contacts[index] = answer.json()["id"]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Book]:
    copy = tmp_path_factory.mktemp("fuzz") / "contacts"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns(".*", "test_*", "__pycache__"))
    with command(copy, "--store", "memory:", "--log-level", "warning") as running:
        yield Book.at(running.url)
        code, _, err = running.stop()
    assert code == 0
    assert " ERROR " not in err


def test_the_document_has_the_ten_routes(book: Book) -> None:
    assert set(book.operations) == set(ROUTES)


@pytest.mark.parametrize("label", ROUTES)
def test_every_answer_is_one_that_the_document_tells_of(label: str, book: Book) -> None:
    """No 5xx, no other status, and headers and bodies as they are told; what fits is taken."""
    operation = book.operations[label]
    fitting, other = (
        operation.as_strategy(generation_mode=mode)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    )
    checks = [
        status_code_conformance,
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
    ]
    seen: list[int] = []

    @seed(4)
    @settings(
        max_examples=CASES // len(ROUTES),
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(fitting, fitting, other), st.integers(0, 3), st.integers(0, 3))
    def ask(case: Any, contact: int, key: int) -> None:
        if contact < 2 and "id" in case.path_parameters:
            case.path_parameters["id"] = book.contacts[contact]
        answer = case.call(base_url=book.url, headers=KEY if key else {})
        seen.append(answer.status_code)
        assert answer.status_code < 500, case.as_curl_command()
        taken = [] if answer.status_code == 422 else [positive_data_acceptance]
        case.validate_response(answer, checks=[*checks, *taken])
        if case.method == "DELETE" and answer.status_code == 204:
            book.fill(contact)

    ask()
    assert ROUTES[label] <= set(seen)
    assert len(seen) >= CASES // len(ROUTES)
