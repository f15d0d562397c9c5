"""Steps that run by the clock: on time, across its changes, and by hand. No time passes here."""

from datetime import UTC, datetime, timedelta

import trio
import trio.testing

from motia_trio import App, LoadFailed, cron, open_runtime, step

ran = []


@step(cron("30 2 * * *", timezone="Europe/Berlin"), name="CleanUp")
async def clean_up(ctx):
    ran.append(ctx.trigger.expression)
    await ctx.state.set("clean-up", "last", ctx.trace_id)


@step(cron("*/15 * * * *"), cron("@monthly", catch_up=True), name="Report")
async def report(ctx):
    ran.append(ctx.trigger.expression)
    if ctx.trigger.index == 1:
        await trio.sleep(40 * 60)  # two ticks of the other schedule, which is not held up


async def main():
    async with open_runtime(App([clean_up, report]), observers=()) as rt:
        (nightly,) = rt.tree()["CleanUp"].schedules
        due = datetime.fromtimestamp(nightly.next_at, UTC)
        assert due - datetime.now(UTC) <= timedelta(hours=25)

        await trio.sleep(3600)  # no time passes: the clock jumps
        await rt.quiesce()
        assert ran.count("*/15 * * * *") >= 4
        ran.clear()

        trace_id = await rt.run_cron("CleanUp")  # now, whatever the clock says
        await rt.quiesce()
        assert ran == ["30 2 * * *"]
        assert await rt.state.get("clean-up", "last") == trace_id

        await trio.sleep(32 * 86400)  # the first of a month is among these days
        await rt.quiesce()
        assert ran.count("@monthly") in {1, 2}
        assert ran.count("30 2 * * *") in {32, 33, 34}


trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

try:
    step(cron("0 24 * * *", timezone="Europe/Berln"))(report)
except LoadFailed as error:
    print(error)
