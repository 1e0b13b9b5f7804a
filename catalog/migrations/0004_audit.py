"""The audit trail follows what is for sale, its price and its pictures. Counters of stock have their ledger."""

from django.db import migrations

from vibecode.tracking import UPDATE, track

PRODUCT = "SELECT id, sku FROM catalog_product WHERE id = ($1 ->> 'product_id')::bigint"
ON_ITS_PAGE = {"page": ("catalog.product", "product_id"), "look_up": PRODUCT}


class Migration(migrations.Migration):
    atomic = False  # one table locked at a time

    dependencies = [("catalog", "0003_pictures"), ("vibecode", "0004_audit_trail")]

    operations = [
        track(
            "catalog_product", "sku", "name", "slug", "description", "price", "currency", "status", "category_id",
            kind="catalog.product", name="sku",
        ),
        track("catalog_category", "name", "slug", "parent_id", "position", kind="catalog.category", name="name"),
        track("catalog_productimage", "alt", "position", "state", kind="catalog.productimage", **ON_ITS_PAGE),
        track("catalog_stock", "reorder_point", kind="catalog.stock", deeds=[UPDATE], **ON_ITS_PAGE),
    ]
