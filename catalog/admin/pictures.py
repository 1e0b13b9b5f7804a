"""A product's pictures in the admin: their form, what it accepts, and how they reach S3. Called by products."""

from typing import Any

from django import forms
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.widgets import UnfoldAdminImageSmallFieldWidget

from catalog.models import ProductImage
from catalog.services import describe_picture, keep_picture, remove_picture
from vibecode import aws

LARGEST_PICTURE = 5 * 1024 * 1024  # bytes; a request on Lambda carries 6 MB
PICTURES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}  # what every browser shows


class PictureWidget(UnfoldAdminImageSmallFieldWidget):  # type: ignore[misc,unused-ignore]  # unfold ships no types
    """The picture that is there, or a place for a new one."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """A thumbnail, or the file input."""
        if value and getattr(value, "url", None):
            return format_html(
                '<a href="{0}" target="_blank"><img class="shop-picture shop-large" src="{0}" alt="{1}"></a>',
                value.url, value.instance.alt,
            )  # fmt: skip
        return SafeString(super().render(name, value, attrs, renderer))


class PictureForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """A picture: chosen once, described and put in order at any time."""

    class Meta:
        model = ProductImage
        fields = ("file", "alt", "position")
        widgets = {"file": PictureWidget({"accept": ",".join(f".{ending}" for ending in ("jpeg", *PICTURES.values()))})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
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
        """Refuse what is too large, and what not every browser shows."""
        file = self.cleaned_data["file"]
        if isinstance(file, UploadedFile):
            if (file.size or 0) > LARGEST_PICTURE:
                raise forms.ValidationError(
                    f"The picture has {(file.size or 0) / 2**20:.1f} MB; {LARGEST_PICTURE // 2**20} MB is the most."
                )
            if picture_format(file) not in PICTURES:
                raise forms.ValidationError("Choose a JPEG, PNG, WebP or GIF: not every browser shows other formats.")
        return file


def picture_format(file: "UploadedFile[Any]") -> str:
    """What Pillow, which has just read the file for the form, says it is."""
    return str(getattr(getattr(file, "image", None), "format", ""))


class PictureInline(TabularInline):
    """A product's pictures."""

    model = ProductImage
    form = PictureForm
    fields = ("file", "alt", "position")
    ordering = ("position", "id")
    extra = 1
    show_title = False
    verbose_name = "picture"
    verbose_name_plural = "pictures"


# --- writing ---------------------------------------------------------------------------------------------------------
def write_pictures(request: HttpRequest, formset: Any) -> None:
    """Write what changed of pictures that are there; new ones wait for the end of the transaction."""
    pictures: list[ProductImage] = formset.save(commit=False)
    request.new_pictures = [picture for picture in pictures if not picture.pk]  # type: ignore[attr-defined]  # carried to keep_pictures
    for picture in pictures:
        if picture.pk:
            describe_picture(picture=picture)
    for picture in formset.deleted_objects:
        remove_picture(picture=picture)


def keep_pictures(request: HttpRequest) -> None:
    """Store the new pictures of a request, once its transaction has committed."""
    for picture in getattr(request, "new_pictures", []):
        _keep_picture(request, picture)


def _keep_picture(request: HttpRequest, picture: ProductImage) -> None:
    try:
        keep_picture(picture=picture, ending=PICTURES[picture_format(picture.file.file)])
    except _storage_errors():
        messages.error(request, f"{picture.product.sku} is saved, but its picture could not be stored: add it again.")


def _storage_errors() -> tuple[type[Exception], ...]:
    return (OSError, *aws.service_errors())
