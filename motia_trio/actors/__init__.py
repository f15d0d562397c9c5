"""Mechanisms of Trio that know nothing of Motia: mailboxes, crews, supervision, placement, time."""

from motia_trio.actors.clock import WallClock, is_virtual
from motia_trio.actors.crew import Crew, Hand
from motia_trio.actors.mailbox import Lane, Mailbox, MailboxStatistics
from motia_trio.actors.placement import drive, in_thread, to_its_end
from motia_trio.actors.reply import Reply
from motia_trio.actors.supervisor import Child, ChildState, ChildStatistics, Life, Supervisor

__all__ = [
    "Child",
    "ChildState",
    "ChildStatistics",
    "Crew",
    "Hand",
    "Lane",
    "Life",
    "Mailbox",
    "MailboxStatistics",
    "Reply",
    "Supervisor",
    "WallClock",
    "drive",
    "in_thread",
    "is_virtual",
    "to_its_end",
]
