"""``motia-trio state``: the state of the project, as ``ctx.state`` has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from motia_trio.cli.project import Ask, Failed, talk
from motia_trio.cli.values import directory_option, duration, json_option, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["state"]


@click.group()
def state() -> None:
    """Read and change the state: groups of keys with JSON values.

    Changes are changes like any other: steps with a state trigger are told of them.
    """


@state.command("get")
@click.argument("group")
@click.argument("key")
@json_option
@directory_option
def _get(group: str, key: str, directory: str, *, as_json: bool) -> None:
    """Print the value of KEY in GROUP. When there is none, the exit code is 1.

    With --json: an object with group, key and value.

    \b
    Example:
        motia-trio state get orders 17
    """  # noqa: D301 - click wants the character itself
    from motia_trio.cli.show import print_json, short_json

    with talk(directory) as ask:
        answer = ask("state.get", group=group, key=key)
    if not answer["found"]:
        raise _no_such_key(group, key)
    if as_json:
        print_json({"group": group, "key": key, "value": answer["value"]})
    else:
        click.echo(short_json(answer["value"], indent=2))


@state.command("set")
@click.argument("group")
@click.argument("key")
@click.argument("value", metavar="JSON", type=parse_json)
@click.option("--ttl", type=duration, metavar="TIME", help="Gone after TIME: 90s, 2h.  [never]")
@json_option
@directory_option
def _set(
    group: str, key: str, value: Any, directory: str, *, ttl: float | None, as_json: bool
) -> None:
    """Keep a JSON value as KEY in GROUP. A - reads it from stdin.

    With --json: an object with new_value and old_value (null if there was none).

    \b
    Examples:
        motia-trio state set orders 17 '{"paid": true}'
        motia-trio state set sessions ada '"open"' --ttl 30m
    """  # noqa: D301 - click wants the character itself
    from motia_trio.cli.show import clean, print_json

    with talk(directory, steps=True, creates=True) as ask:
        answer = ask("state.set", group=group, key=key, value=value, ttl=ttl)
    if as_json:
        print_json(answer)
    else:
        click.echo(f"set {clean(group)} {clean(key)}")


@state.command("delete")
@click.argument("group")
@click.argument("key")
@json_option
@directory_option
def _delete(group: str, key: str, directory: str, *, as_json: bool) -> None:
    """Remove KEY from GROUP. When there is none, the exit code is 1.

    With --json: an object with old_value.

    \b
    Example:
        motia-trio state delete orders 17
    """  # noqa: D301 - click wants the character itself
    from motia_trio.cli.show import clean, print_json

    with talk(directory, steps=True) as ask:
        answer = ask("state.delete", group=group, key=key)
    if not answer["found"]:
        raise _no_such_key(group, key)
    if as_json:
        print_json({"old_value": answer["old_value"]})
    else:
        click.echo(f"deleted {clean(group)} {clean(key)}")


@state.command("list")
@click.argument("group", required=False)
@json_option
@directory_option
def _list(group: str | None, directory: str, *, as_json: bool) -> None:
    """List the groups that have a key; with GROUP, its keys and their values.

    With --json: an array of names; with GROUP, an array of objects with key and value.

    \b
    Examples:
        motia-trio state list
        motia-trio state list orders --json
    """  # noqa: D301 - click wants the character itself
    from motia_trio.cli.show import clean, print_json_list, short_json, table

    with talk(directory) as ask:
        if group is None:
            names = _pages(ask, "groups")
            if as_json:
                print_json_list(names)
            else:
                for name in names:
                    click.echo(clean(name))
            return
        items = _pages(ask, "items", group=group)
        if as_json:
            print_json_list(items)
            return
        first = next(items, None)
        if first is None:
            click.echo(f"no keys in {clean(group)}", err=True)
            return
        rows = (
            (item["key"], short_json(item["value"])) for part in ([first], items) for item in part
        )
        for line in table(("KEY", "VALUE"), rows):
            click.echo(line)


def _pages(ask: Ask, what: str, **params: Any) -> Iterator[Any]:
    """All of a list that is told some at a time."""
    after = ""
    while True:
        answer = ask("state.list", after=after, **params)
        yield from answer[what]
        if not answer["more"]:
            return
        last = answer[what][-1]
        after = last["key"] if what == "items" else last


def _no_such_key(group: str, key: str) -> Failed:
    from motia_trio.cli.show import clean

    return Failed(f"there is no {clean(key)!r} in {clean(group)!r}")
