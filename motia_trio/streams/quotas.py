"""How much of something there may be at once: in all, and for each who has some. Pure."""

from __future__ import annotations

__all__ = ["Quota"]


class Quota:
    """Counts what is out, in all and by whom; ``each`` None: whoever asks may have all."""

    def __init__(self, total: int, each: int | None = None) -> None:
        self.total = total
        self.each = each
        self.out = 0
        self._by: dict[str, int] = {}

    def take(self, who: str) -> str | None:
        """Take one, and give None; or take none, and say which limit is in the way."""
        if self.out >= self.total:
            return f"{self.total} in all"
        mine = self._by.get(who, 0)
        if self.each is not None and mine >= self.each:
            return f"{self.each} for one address"
        self.out += 1
        self._by[who] = mine + 1
        return None

    def give(self, who: str, number: int = 1) -> None:
        """Give back what was taken."""
        self.out -= number
        self._by[who] -= number
        if not self._by[who]:
            del self._by[who]
