from chat import RUN, Message, is_room

# What is said: room > message. A browser that joins a room gets the messages that are there, and
# then each as it comes. They are kept on disk for a week, and of a room the newest 200.
WEEK = 7 * 24 * 60 * 60


def can_access(subscription, auth):
    return is_room(subscription.group_id)


# Who is there is kept in another stream, which people_stream.py declares. onJoin runs before the
# join is answered, onLeave once after it, also when the browser is closed or the line breaks.
async def on_join(subscription, ctx, auth):
    if subscription.id is not None:  # one message is followed, not the room
        return
    people = ctx.streams.people
    for person in await people.get_group(subscription.group_id):
        if person["run"] != RUN:
            await people.delete(subscription.group_id, person["id"])
    person = {"id": auth["connection"], "name": auth["name"], "run": RUN}
    await people.set(subscription.group_id, person["id"], person)


async def on_leave(subscription, ctx, auth):
    if subscription.id is None:
        await ctx.streams.people.delete(subscription.group_id, auth["connection"])


config = {
    "name": "chat",
    "schema": Message,
    "ttl": WEEK,
    "max_items": 200,
    "canAccess": can_access,
    "onJoin": on_join,
    "onLeave": on_leave,
}
