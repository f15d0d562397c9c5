"""``motia-trio openapi`` and ``asyncapi``, each run as a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from tests.support import invoke, project, run_command

STEP = """
print("loading")

config = {
    "name": "PlaceOrder",
    "triggers": [{"type": "http", "method": "POST", "path": "/orders/:id"}],
    "enqueues": ["order.placed"],
    "description": "Takes an order \u2192 and ships it",
}

async def handler(req, ctx):
    return {"status": 202}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return project(tmp_path / "shop", {"steps/place_step.py": STEP})


def test_openapi_prints_the_document_and_what_a_step_prints_goes_elsewhere(shop: Path) -> None:
    code, out, err = run_command("openapi", str(shop), env={"PYTHONIOENCODING": "latin-1"})
    assert (code, err) == (0, "loading\n")
    document = json.loads(out)
    validate(document)
    assert document["info"] == {"title": "shop", "version": "1.0.0"}
    operation = document["paths"]["/orders/{id}"]["post"]
    assert operation["summary"] == "Takes an order \u2192 and ships it"
    assert not (shop / ".motia").exists(), "nothing was run"


def test_asyncapi_prints_the_document(shop: Path) -> None:
    code, out, _ = run_command("asyncapi", str(shop), "--title", "Shop", "--api-version", "2")
    document = json.loads(out)
    assert (code, document["info"]) == (0, {"title": "Shop", "version": "2"})
    assert list(document["channels"]) == ["order.placed"]


def test_the_document_is_of_the_folder_one_is_in(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop)
    code, out, _ = run_command("openapi")
    assert (code, json.loads(out)["info"]["title"]) == (0, "shop")


@pytest.mark.parametrize("name", ["openapi", "asyncapi"])
def test_a_document_can_be_written_into_a_file(name: str, shop: Path, tmp_path: Path) -> None:
    target = tmp_path / "document.json"
    code, out, _ = invoke(name, shop, "--output", target)
    assert (code, out) == (0, "")
    assert target.read_text() == invoke(name, shop)[1]


def test_a_file_that_cannot_be_written_is_told(shop: Path, tmp_path: Path) -> None:
    target = tmp_path / "no" / "document.json"
    code, out, err = invoke("openapi", shop, "--output", target)
    assert (code, out) == (1, "")
    assert err.endswith(f"motia-trio: {target}: No such file or directory\n")


@pytest.mark.parametrize("name", ["openapi", "asyncapi"])
def test_a_project_that_does_not_load_is_told_as_run_tells_it(name: str, tmp_path: Path) -> None:
    root = project(
        tmp_path,
        {
            "steps/a_step.py": "import nothing_of_this_name\n",
            "steps/b_step.py": 'config = {"name": "B"}\nasync def handler(): ...\n',
        },
    )
    code, out, err = run_command(name, str(root))
    assert (code, out) == (1, "")
    assert run_command("run", str(root), "--port", "0") == (1, "", err)
    assert "a_step.py" in err
    assert "b_step.py" in err


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert invoke("openapi", missing) == (1, "", f"motia-trio: {missing}: no such folder\n")


def test_a_setting_that_does_not_fit_is_told(shop: Path) -> None:
    (shop / "motia.toml").write_text("port = 'x'\n")
    code, out, err = invoke("openapi", shop)
    assert (code, out) == (1, "")
    assert "port = 'x'" in err
