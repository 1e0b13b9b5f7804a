"""Facts about the catalogue, as they go over the bus."""

from dataclasses import dataclass
from typing import ClassVar

from vibecode.outbox import Event


@dataclass(frozen=True, kw_only=True)
class StockLow(Event):
    """What can be sold of a product has just come down to its reorder point, or below it."""

    source: ClassVar[str] = "vibecode.catalog"
    detail_type: ClassVar[str] = "Stock Low"

    sku: str
    available: int
    reorder_point: int

    @property
    def subject(self) -> str:
        """The product's SKU."""
        return self.sku


@dataclass(frozen=True, kw_only=True)
class PictureStored(Event):
    """A picture of a product was looked at and stands where everybody sees it."""

    source: ClassVar[str] = "vibecode.catalog"
    detail_type: ClassVar[str] = "Picture Stored"

    sku: str
    image_id: int

    @property
    def subject(self) -> str:
        """The product's SKU."""
        return self.sku
