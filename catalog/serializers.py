"""The catalogue on the wire. Called by the views; shapes only, no query."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from catalog.models import PICTURE_TYPES, Product
from catalog.pictures import LARGEST_UPLOAD
from vibecode.api import Input, Moment, Money, Pattern, Text, Whole


class FileUrl(serializers.URLField):
    """The address of a file on S3; null while there is none."""

    def to_representation(self, value: Any) -> str | None:  # type: ignore[override]  # the field may be null
        """The address, signed where the bucket has no public one."""
        return str(value.url) if value else None


class ImageOut(serializers.Serializer[Any]):
    """A picture. Its copies are WebP, at most 160 and 640 pixels wide, and null for the seconds until they are made."""

    id = serializers.IntegerField()
    url = FileUrl(source="file")
    thumbnailUrl = FileUrl(source="thumbnail", allow_null=True)
    previewUrl = FileUrl(source="preview", allow_null=True)
    alt = serializers.CharField()
    width = serializers.IntegerField(allow_null=True)
    height = serializers.IntegerField(allow_null=True)


class ProductOut(serializers.Serializer[Product]):
    """A product as everybody may see it."""

    sku = serializers.CharField()
    name = serializers.CharField()
    slug = serializers.CharField()
    description = serializers.CharField()
    price = serializers.DecimalField(max_digits=12, decimal_places=2)
    currency = serializers.CharField()
    category = serializers.CharField(source="category.slug", default=None, allow_null=True)
    status = serializers.ChoiceField(choices=Product.Status.choices)
    available = serializers.IntegerField(source="stock.available")
    images = ImageOut(many=True, source="pictures")
    version = serializers.IntegerField()
    createdAt = Moment(source="created_at")
    updatedAt = Moment(source="updated_at")


class ProductIn(Input):
    """A new product."""

    sku = Pattern(
        r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,39}\Z",
        max_length=40,
        help_text="Letters, digits, dot, dash, underscore; folded to upper case.",
    )
    name = Text(max_length=200)
    description = Text(max_length=10_000, allow_blank=True, required=False)
    price = Money()
    currency = Pattern(r"\A[A-Z]{3}\Z", required=False, help_text="ISO 4217; the shop's by default.")
    category = Text(max_length=100, allow_null=True, required=False, help_text="A category's slug.")
    status = serializers.ChoiceField(choices=Product.Status.choices, required=False)

    def validate_sku(self, value: str) -> str:
        """SKUs are upper case."""
        return value.upper()


class ProductPatch(ProductIn):
    """Changes to a product; its SKU stays."""

    sku = None  # type: ignore[assignment]  # DRF's way of leaving out an inherited field
    validate_sku = None  # type: ignore[assignment]  # goes with the field above


class ImageIn(Input):
    """A picture that is to be uploaded."""

    contentType = serializers.ChoiceField(choices=[*PICTURE_TYPES], help_text="What the file is.")
    size = Whole(least=1, most=LARGEST_UPLOAD, required=False)
    alt = Text(max_length=200, allow_blank=True, required=False, help_text="What it shows, for who cannot see it.")


class UploadOut(serializers.Serializer[Any]):
    """A form to be posted to S3 as multipart/form-data: all fields first, then the file as `file`."""

    imageId = serializers.IntegerField(source="image.pk")
    url = serializers.URLField()
    fields = serializers.DictField(child=serializers.CharField())  # type: ignore[assignment]  # the wire's name
    expiresIn = serializers.IntegerField(source="seconds", help_text="Seconds for which S3 takes it.")


class StockIn(Input):
    """Units to add (a delivery) or to take away (a correction)."""

    delta = Whole(least=-(10**9), most=10**9)
    reason = Text(max_length=200)

    def validate_delta(self, value: int) -> int:
        """Nothing is no movement."""
        if value == 0:
            raise serializers.ValidationError("delta must not be 0: nothing would change.")
        return value


class StockOut(serializers.Serializer[Any]):
    """A product's shelf."""

    sku = serializers.CharField(source="product.sku")
    onHand = serializers.IntegerField(source="on_hand")
    reserved = serializers.IntegerField()
    available = serializers.IntegerField()


class CategoryOut(serializers.Serializer[Any]):
    """A category with those below it."""

    slug = serializers.CharField()
    name = serializers.CharField()
    children = serializers.SerializerMethodField()

    @extend_schema_field({"type": "array", "items": {"$ref": "#/components/schemas/CategoryOut"}})
    def get_children(self, node: dict[str, Any]) -> list[Any]:
        """The branch below."""
        return list(CategoryOut(node["children"], many=True).data)


class CategoryTreeOut(serializers.Serializer[Any]):
    """The whole tree."""

    results = CategoryOut(many=True)
