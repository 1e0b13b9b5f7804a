"""A product's pictures in the admin: dropped onto its page and sent straight to S3, or through its form without script.

Called by products.
"""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.db import models
from django.http import HttpRequest, JsonResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.widgets import UnfoldAdminImageSmallFieldWidget

from catalog.models import PICTURE_TYPES, Product, ProductImage
from catalog.pictures import (
    LARGEST_UPLOAD,
    PictureRefused,
    begin_upload,
    complete_upload,
    describe_picture,
    examine,
    keep_picture,
    remove_picture,
)
from vibecode.bucket import StorageAway
from vibecode.desk import actor_of, answer_json

if TYPE_CHECKING:
    from catalog.images import Picture

LARGEST_PICTURE = 5 * 1024 * 1024  # bytes through the form; a request on Lambda carries 6 MB
ACCEPTED = ",".join(PICTURE_TYPES)


def thumbnail(picture: ProductImage | None, *, side: int) -> SafeString:
    """A picture in a square that is there before it has come; a quiet one where there is none."""
    look = "shop-picture shop-large" if side > 40 else "shop-picture"
    if picture is None:
        return format_html('<span class="{} shop-none material-symbols-outlined" aria-hidden="true">image</span>', look)
    return format_html(
        '<img class="{0}" loading="lazy" decoding="async" width="{1}" height="{1}" src="{2}" alt="{3}">',
        look, side, picture.smallest.url, picture.alt,
    )  # fmt: skip


class PictureWidget(UnfoldAdminImageSmallFieldWidget):  # type: ignore[misc,unused-ignore]  # unfold ships no types
    """The picture that is there, or a place for a new one."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """A thumbnail, or the file input."""
        if value and getattr(value, "url", None):
            shown = thumbnail(value.instance, side=96)
            return format_html('<a href="{}" target="_blank">{}</a>', value.url, shown)
        return SafeString(super().render(name, value, attrs, renderer))


class PictureForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """A picture: chosen once, described and put in order at any time."""

    picture: "Picture | None" = None  # what was found in the file

    class Meta:
        model = ProductImage
        fields = ("file", "alt", "position")
        widgets = {"file": PictureWidget({"accept": ACCEPTED})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in {"alt", "position"} & set(self.fields):  # a column's head is no label
            self.fields[name].widget.attrs["aria-label"] = self.fields[name].label
        if self.instance.pk:
            # Not an ImageField, which would fetch every picture of the product from S3 to look at it once more.
            self.fields["file"] = forms.Field(label="Picture", required=False, disabled=True, widget=PictureWidget)
        elif "file" in self.fields:
            self.fields["file"].label = "Picture"
            self.fields["file"].error_messages["invalid_image"] = (
                "This is no picture, or a broken one: choose a JPEG, PNG, WebP or GIF."
            )

    def clean(self) -> dict[str, Any]:
        """Leave a picture that is there as it is."""
        cleaned = super().clean() or self.cleaned_data
        if self.instance.pk:
            cleaned.pop("file", None)
        return cleaned

    def clean_file(self) -> Any:
        """Refuse what is too large for a request, and what the service finds no picture."""
        file = self.cleaned_data["file"]
        if isinstance(file, UploadedFile):
            if (file.size or 0) > LARGEST_PICTURE:
                raise forms.ValidationError(
                    f"The picture has {(file.size or 0) / 2**20:.1f} MB; {LARGEST_PICTURE // 2**20} MB is the most."
                )
            file.seek(0)
            try:
                self.picture = examine(content=file.read())
            except PictureRefused as refusal:
                raise forms.ValidationError(refusal.detail) from refusal
        return file


class PictureInline(TabularInline):
    """A product's pictures, and where to drop more of them."""

    model = ProductImage
    form = PictureForm
    fields = ("file", "alt", "position")
    ordering = ("position", "id")
    extra = 1
    show_title = False
    verbose_name = "picture"
    verbose_name_plural = "pictures"
    template_before = "catalog/drop_zone.html"
    accepted = ACCEPTED
    largest = LARGEST_UPLOAD

    class Media:
        js = ("vibecode/uploads.js", "catalog/pictures.js")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[ProductImage]:
        """Those that everybody sees."""
        return super().get_queryset(request).shown()  # type: ignore[no-any-return]  # unfold ships no types


# --- straight to S3 --------------------------------------------------------------------------------------------------
class UploadForm(forms.Form):
    """What the page says of a file before it sends it."""

    content_type = forms.CharField(max_length=100, required=False)
    size = forms.IntegerField(min_value=0)


def begin_picture(request: HttpRequest, product: Product) -> JsonResponse:
    """What the page has to post where."""
    form = UploadForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"detail": "The page asks for something strange: load it anew."}, status=400)

    def answer() -> dict[str, Any]:
        upload = begin_upload(product=product, actor=actor_of(request), **form.cleaned_data)
        return {"id": upload.image.pk, "url": upload.url, "fields": dict(upload.fields)}

    return answer_json(answer)


def complete_picture(request: HttpRequest, picture: ProductImage) -> JsonResponse:
    """The picture as it is shown, with the product's version from now on."""

    def answer() -> dict[str, Any]:
        shown = complete_upload(image=picture, actor=actor_of(request))
        return {"id": shown.pk, "url": shown.file.url, "version": shown.product.version}

    return answer_json(answer)


# --- through the form ------------------------------------------------------------------------------------------------
def write_pictures(request: HttpRequest, formset: Any) -> None:
    """Write what changed of pictures that are there; new ones wait for the end of the transaction."""
    pictures: list[ProductImage] = formset.save(commit=False)
    found = {id(form.instance): form.picture for form in formset.forms}
    request.new_pictures = [  # type: ignore[attr-defined]  # carried to keep_pictures
        (picture, found[id(picture)]) for picture in pictures if not picture.pk
    ]
    for picture in pictures:
        if picture.pk:
            describe_picture(picture=picture)
    for picture in formset.deleted_objects:
        remove_picture(picture=picture)


def keep_pictures(request: HttpRequest) -> None:
    """Store the new pictures of a request, once its transaction has committed."""
    for new, picture in getattr(request, "new_pictures", []):
        try:
            keep_picture(product=new.product, picture=picture, alt=new.alt, position=new.position)
        except StorageAway:
            messages.error(request, f"{new.product.sku} is saved, but its picture could not be stored: add it again.")
