"""The model that both sides check bodies with, and the work that both do on an order."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

__all__ = ["Order", "total"]


class Item(BaseModel):
    """One line of an order."""

    sku: str = Field(min_length=1, max_length=20)
    quantity: int = Field(ge=1)
    price: float = Field(ge=0)


class Order(BaseModel):
    """What is posted."""

    number: int
    customer: str = Field(pattern=r"^[^@]+@[^@]+$")
    items: list[Item] = Field(min_length=1)
    note: str = ""

    def total(self) -> float:
        """What it costs."""
        return sum(item.quantity * item.price for item in self.items)


def total(order: dict[str, Any]) -> float:
    """What it costs, of an order as JSON has it."""
    cost: float = sum(item["quantity"] * item["price"] for item in order["items"])
    return cost
