"""What a program declares is checked as a whole."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from motia_trio import (
    App,
    LoadFailed,
    SettingInvalid,
    StepDefinition,
    cron,
    http,
    queue,
    step,
    stream,
)


async def handler(input: Any, ctx: Any) -> None: ...
def working(input: Any, ctx: Any) -> None: ...


def make(*triggers: Any, name: str = "A", **options: Any) -> StepDefinition:
    return step(*triggers, name=name, **options)(handler)


def problems(*steps: StepDefinition) -> list[str]:
    with pytest.raises(LoadFailed) as failed:
        App(steps)
    return [str(problem) for problem in failed.value.problems]


def test_an_app_has_its_steps_in_order_and_its_settings() -> None:
    first, second = make(queue("t")), make(queue("t"), name="B")
    app = App([first, second.step], mailbox=5)
    assert app.steps == (first.step, second.step)
    assert app.settings.mailbox == 5
    assert app.warnings == ()


def test_the_root_is_the_current_folder_unless_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert App().root == str(Path.cwd())
    assert App(root="sub").root == str(Path.cwd() / "sub")


def test_a_folder_makes_an_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "flows" / "a_step.py"
    path.parent.mkdir()
    path.write_text("config = {'name': 'A', 'subscribes': ['t']}\ndef handler(x): ...\n")
    app = App.from_directory(tmp_path, folders=["flows"], port=1)
    assert [(each.name, each.source) for each in app.steps] == [("A", "flows/a_step.py")]
    assert app.root == str(tmp_path)
    assert app.settings.port == 1


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(
        SettingInvalid, match="App: unknown setting 'mailbx'; did you mean 'mailbox'"
    ):
        App(mailbx=5)


def test_what_is_no_step_is_refused_with_a_hint() -> None:
    undecorated: Any = handler
    with pytest.raises(TypeError, match=r"takes what @step\(…\) makes"):
        App([undecorated])


def test_two_steps_of_one_name_are_refused_with_both_places() -> None:
    first, second = make(queue("t")), make(queue("u"))
    (told,) = problems(first, second)
    assert (
        told
        == f"{second.step.source}: step name 'A' is taken by {first.step.source}; names are unique"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/a", "/a"),
        ("/a", "/a/"),
        ("/a/:id", "/a/:name"),
        ("/a/:id", "/a/{id}"),
        ("/A", "/%41"),
        ("/a/*rest", "/a/*rest"),
        pytest.param(
            "/a/*rest",
            "/a/*more",
        ),
    ],
)
def test_two_routes_that_match_alike_are_refused_with_both_places(first: str, second: str) -> None:
    one, other = make(http("GET", first)), make(http("GET", second), name="B")
    (told,) = problems(one, other)
    assert told == (
        f"{other.step.source}: GET {second} is also a route of step 'A' ({one.step.source})"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("GET", "/a"), ("POST", "/a")),
        (("GET", "/a"), ("GET", "/A")),
        (("GET", "/a/:id"), ("GET", "/a/b")),
        (("GET", "/a/:id"), ("GET", "/a/*rest")),
    ],
)
def test_routes_that_differ_go_together(first: tuple[str, str], second: tuple[str, str]) -> None:
    assert App([make(http(*first)), make(http(*second), name="B")]).warnings == ()


def test_what_cannot_be_given_is_refused_rather_than_left_out() -> None:
    (told,) = problems(
        make(queue("t"), name="C", infrastructure={"handler": {"placement": "process"}}),
    )
    assert "'process'" in told


@pytest.mark.parametrize(("function", "placement"), [(handler, "trio"), (working, "thread")])
def test_a_placement_that_is_the_one_it_has_anyway_is_fine(function: Any, placement: str) -> None:
    limits = {"handler": {"placement": placement}}
    App([step(queue("t"), infrastructure=limits)(function)])


def test_all_problems_of_all_steps_are_reported_together() -> None:
    limits = {"handler": {"placement": "process"}}
    steps = [make(http("GET", "/"), infrastructure=limits) for _ in "abc"]
    assert len(problems(*steps)) == 7


def test_triggers_of_every_kind_run_and_none_is_warned_of() -> None:
    assert App([make(cron("@daily"), stream("s"))], streams=[{"name": "s"}]).warnings == ()


def test_topics_that_nobody_listens_to_are_warned_of() -> None:
    app = App([make(queue("heard"), enqueues=["heard", "unheard"])])
    (warning,) = app.warnings
    assert "publishes to 'unheard', which no step listens to" in warning


def test_unknown_keys_are_warned_of_with_the_file() -> None:
    definition = make(queue("t", config={"retires": 1}))
    (warning,) = App([definition]).warnings
    assert warning.startswith(f"{definition.step.source}: unknown key")
    assert "retires" in warning
