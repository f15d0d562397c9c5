from chat import is_room
from pydantic import BaseModel


# Who is there: room > connection. chat_stream.py puts them in and takes them out. Items are kept on
# disk, connections are not: if the process is killed, nobody leaves. So each item says in which run
# of the process it was made, and whoever joins next takes out what an earlier one has left.
class Person(BaseModel):
    id: str
    name: str
    run: str


config = {
    "name": "people",
    "schema": Person,
    "canAccess": lambda subscription: is_room(subscription.group_id),
}
