"""The catalogue's doors: products and categories over HTTP."""

import time
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.shortcuts import get_object_or_404
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from catalog.filters import ProductFilter, StaffProductFilter
from catalog.models import Category, Product, ProductImage, ProductQuerySet
from catalog.pictures import begin_upload, complete_upload
from catalog.serializers import (
    CategoryOut,
    CategoryTreeOut,
    ImageIn,
    ImageOut,
    ProductIn,
    ProductOut,
    ProductPatch,
    StockIn,
    StockOut,
    UploadOut,
)
from catalog.services import adjust_stock, archive_product, change_product, create_product
from vibecode.api import (
    IsStaff,
    actor,
    answer_tagged,
    etag_of,
    expected_version,
    for_schema,
    is_staff,
    parse,
)
from vibecode.describing import described
from vibecode.errors import Fault, Malformed
from vibecode.idempotency import idempotent
from vibecode.pagination import Keyset


class ProductPages(Keyset):
    """Products, newest first unless asked otherwise."""

    orderings: ClassVar[dict[str, str]] = {
        "newest": "-created_at",
        "price": "price",
        "-price": "-price",
        "name": "name",
        "relevance": "-relevance",
    }


class ProductViewSet(GenericViewSet[Product]):
    """Products: everybody reads what is published; staff read and write all."""

    serializer_class = ProductOut
    pagination_class = ProductPages
    lookup_field = "sku"

    def get_permissions(self) -> list[BasePermission]:
        """Reading is free, writing is for staff."""
        return [AllowAny() if self.request.method in {"GET", "HEAD", "OPTIONS"} else IsStaff()]

    @property
    def filterset_class(self) -> type[ProductFilter]:
        """Staff may also ask by status."""
        return StaffProductFilter if for_schema(self) or is_staff(self.request) else ProductFilter

    def get_queryset(self) -> ProductQuerySet:
        """The products that the caller may see, with all that the answer shows."""
        products = Product.objects.with_shelf().with_images().fetch_mode(models.FETCH_RAISE)
        return products if is_staff(self.request) else products.published()

    def get_object(self) -> Product:
        """The product of the address, whatever the case of its SKU."""
        return get_object_or_404(self.get_queryset(), sku=self.kwargs["sku"].upper())

    def list(self, request: Request) -> Response:
        """A page of products."""
        if request.query_params.get("ordering") == "relevance" and not request.query_params.get("search", "").strip():
            raise Malformed(
                "The query is invalid.", faults=[Fault("/ordering", "invalid", "relevance needs a search.")]
            )
        products = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        data = self.get_serializer(products, many=True).data
        page = self.get_paginated_response(data).data
        seen = [_state(product) for product in products]
        return answer_tagged(request, etag_of(len(seen), seen, page["next"], page["previous"], _signing_window()), page)

    def retrieve(self, request: Request, sku: str) -> Response:  # noqa: ARG002 -- get_object reads it
        """One product."""
        return _answer(request, self.get_object())

    @described(request=ProductIn, responses={201: ProductOut})
    @idempotent
    def create(self, request: Request) -> Response:
        """Put a product on the list."""
        values = parse(ProductIn, request)
        product = create_product(sku=values.pop("sku"), name=values.pop("name"), values=values, actor=actor(request))
        location = f"{settings.PUBLIC_URL}{product.get_absolute_url()}"
        return Response(ProductOut(product).data, status=201, headers={"Location": location, "ETag": _tag(product)})

    @described(request=ProductPatch, responses=ProductOut)
    def partial_update(self, request: Request, sku: str) -> Response:  # noqa: ARG002 -- the framework's signature
        """Change fields of a product; with If-Match only if nobody else has since you read it."""
        values = parse(ProductPatch, request, partial=True)
        changed = change_product(
            product=self.get_object(), values=values, actor=actor(request), expected_version=expected_version(request)
        )
        return Response(ProductOut(changed).data, headers={"ETag": _tag(changed)})

    @described(responses={204: None})
    def destroy(self, request: Request, sku: str) -> Response:  # noqa: ARG002 -- the framework's signature
        """Archive a product; orders keep its name and price."""
        archive_product(product=self.get_object(), actor=actor(request))
        return Response(status=204)

    @described(request=StockIn, responses=StockOut)
    @idempotent(required=True)
    def stock(self, request: Request, sku: str) -> Response:  # noqa: ARG002 -- the framework's signature
        """Add units to what is on hand, or take some away: one movement in the ledger."""
        values = parse(StockIn, request)
        stock = adjust_stock(
            product=self.get_object(),
            delta=values["delta"],
            reason=values["reason"],
            actor=actor(request),
        )
        return Response(StockOut(stock).data)

    @described(request=ImageIn, responses={201: UploadOut})
    @idempotent
    def images(self, request: Request, sku: str) -> Response:  # noqa: ARG002 -- the framework's signature
        """Begin the upload of a picture.

        Post the file to `url` as multipart/form-data within `expiresIn` seconds: all of `fields` first, then the file
        as `file`. Then complete it; until then nobody sees the picture.
        """
        values = parse(ImageIn, request)
        upload = begin_upload(
            product=self.get_object(),
            content_type=values["contentType"],
            actor=actor(request),
            size=values.get("size"),
            alt=values.get("alt", ""),
        )
        return Response(UploadOut(upload).data, status=201)

    # Not @idempotent: it would wait for S3 inside a transaction. A picture is completed once however often it is asked.
    @described(request=None, responses=ImageOut)
    def complete_image(self, request: Request, sku: str, image_id: int) -> Response:
        """Look at what was stored, and show the picture.

        Its camera data are dropped and it is turned upright. 409 `picture-not-uploaded` while there is no file, 422
        `picture-refused` for good where it is none that can be shown. An Idempotency-Key changes nothing here: asked
        again, it answers the same.
        """
        images = ProductImage.objects.select_related("product")
        image = get_object_or_404(images, pk=image_id, product__sku=sku.upper())
        return Response(ImageOut(complete_upload(image=image, actor=actor(request))).data)


class CategoryTreeView(APIView):
    """The tree of categories."""

    permission_classes = (AllowAny,)

    @described(responses=CategoryTreeOut)
    def get(self, request: Request) -> Response:
        """The whole tree."""
        rows = list(Category.objects.values("id", "parent_id", "slug", "name").order_by("position", "name", "id"))
        nodes: dict[int, dict[str, Any]] = {row["id"]: {**row, "children": []} for row in rows}
        roots: list[dict[str, Any]] = []
        for node in nodes.values():
            (nodes[node["parent_id"]]["children"] if node["parent_id"] else roots).append(node)
        return answer_tagged(request, etag_of(len(rows), rows), {"results": CategoryOut(roots, many=True).data})


def _answer(request: Request, product: Product) -> Response:
    return answer_tagged(request, _tag(product), ProductOut(product).data)


def _tag(product: Product) -> str:
    return etag_of(product.version, _state(product), _signing_window())


def _state(product: Product) -> list[Any]:
    """All that the answer shows; what does not move the version stands by itself."""
    category = product.category.slug if product.category else None
    images = [
        (image.pk, image.file.name, image.thumbnail.name, image.preview.name, image.alt, image.position)
        for image in product.pictures
    ]
    return [product.pk, product.version, product.stock.available, category, images]


def _signing_window() -> int:
    """Changes while a signed address of an image is still good, so that no 304 keeps a dead one alive."""
    return 0 if settings.MEDIA_ORIGIN else int(time.time() // (settings.MEDIA_URL_SECONDS / 2))
