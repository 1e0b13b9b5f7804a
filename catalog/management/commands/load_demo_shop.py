"""`manage.py load_demo_shop`: fills an empty shop with a sample of real products. Called by each `make run`."""

from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from catalog.demo import SAMPLE
from catalog.loading import load_catalogue
from catalog.models import Product
from catalog.online_retail import Garbled, catalogue_of, read_file
from vibecode.bucket import StorageAway
from vibecode.management.progress import progress_bar

PICTURES = 24


class Command(BaseCommand):
    """A stranger's first look at the shop should not be at an empty one. A shop with products is left alone."""

    help = "Load the sample of Online Retail (CC BY 4.0) into a shop without products; else do nothing."

    def handle(self, **_options: Any) -> None:
        """Load once; pictures where S3 answers."""
        try:
            if Product.objects.exists():
                self.stdout.write("the shop is not empty: nothing to load")
                return
            retail = read_file(SAMPLE)
            items = catalogue_of(retail.lines).items
            with progress_bar("Loading the demo shop", len(items)) as advance:
                loaded = load_catalogue(items=items, source=retail.name, advance=advance)
        except (DatabaseError, Garbled) as error:
            raise CommandError(f"The demo shop was not loaded: {str(error).strip()}") from error
        self.stdout.write(
            f"the demo shop has {len(loaded.created)} products in {loaded.categories} categories "
            "(from Online Retail, D. Chen, UCI, CC BY 4.0)"
        )
        bestsellers = Counter(line.sku for line in retail.lines)
        first = sorted(items, key=lambda item: (-bestsellers[item.sku], item.sku))[:PICTURES]
        self.stdout.write(self.hang_pictures([item.sku for item in first]))

    def hang_pictures(self, skus: list[str]) -> str:
        """Draw and store a picture for each; a sentence about how it went."""
        from catalog.demo.pictures import draw_picture
        from catalog.pictures import examine, keep_picture

        hung = 0
        try:
            products = list(Product.objects.filter(sku__in=skus).order_by("sku"))
            with progress_bar("Hanging pictures", len(products)) as advance:
                for product in products:
                    picture = examine(content=draw_picture(product.sku, product.name), content_type="image/webp")
                    keep_picture(product=product, picture=picture, alt=f"{product.name}, a drawn placeholder")
                    hung += 1
                    advance(1)
        except StorageAway as away:
            return f"{away.detail} {hung} of {len(skus)} pictures were stored; the shop works without."
        return f"{hung} pictures were drawn and stored"
