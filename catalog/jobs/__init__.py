"""Files of products, prices and stock, in and out. Named in JOBS of vibecode/resources.py; begun by the admin."""

from catalog.jobs.exports import (
    ExportPrices,
    ExportProducts,
    ExportStock,
    export_prices,
    export_products,
    export_stock,
)
from catalog.jobs.imports import ImportPrices, ImportProducts, ImportStock

__all__ = [
    "ExportPrices",
    "ExportProducts",
    "ExportStock",
    "ImportPrices",
    "ImportProducts",
    "ImportStock",
    "export_prices",
    "export_products",
    "export_stock",
]
