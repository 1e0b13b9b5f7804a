"""POST /products/{sku}/images and …/complete: what a browser stores is looked at before anybody sees it."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from catalog import pictures
from catalog.consumers import sweep
from catalog.models import Product, ProductImage
from catalog.pictures import LARGEST_UPLOAD, begin_upload, complete_upload, remove_picture
from tests.catalog.files import a_bomb, a_moving_one, a_picture, from_a_telephone, opened
from tests.in_process import Caller, sign_in
from tests.plain import PLAIN
from tests.platform.answers import assert_refused, pointers
from vibecode import aws, bucket
from vibecode.models import IdempotencyKey, OutboxEvent
from vibecode.rights import GROUPS, Actor

type Make = Callable[..., Product]


def begin(caller: Caller, content_type: str = "image/png", **more: Any) -> Any:
    """Ask for an upload to the lamp."""
    return caller.post("/products/lamp/images", {"contentType": content_type, **more})


def store(begun: dict[str, Any], content: bytes) -> httpx.Response:
    """Post a file as a browser does: the fields as they came, then the file."""
    return httpx.post(begun["url"], data=begun["fields"], files={"file": ("any.name", content)}, **PLAIN)


def complete(caller: Caller, begun: dict[str, Any]) -> Any:
    """Say that the file is there."""
    return caller.post(f"/products/lamp/images/{begun['imageId']}/complete")


def upload(caller: Caller, content: bytes, content_type: str = "image/png", **more: Any) -> Any:
    """All three; the last one's answer."""
    begun = begin(caller, content_type, **more).json()
    assert store(begun, content).status_code == 204
    return complete(caller, begun)


def keys(prefix: str) -> set[str]:
    """What lies in the bucket."""
    listed = aws.client("s3").list_objects_v2(Bucket=settings.MEDIA_BUCKET, Prefix=prefix).get("Contents", [])
    return {entry["Key"] for entry in listed}


def stored(key: str) -> bytes:
    """The bytes of an object."""
    found = bucket.read(key)
    assert found is not None
    return found.content


@pytest.fixture(autouse=True)
def _tidy_bucket(db: None) -> Any:
    """The bucket is not rolled back with the database."""
    yield
    for key in keys("uploads/") | keys("products/lamp"):
        bucket.delete(key)


# --- the form --------------------------------------------------------------------------------------------------------
def test_the_policy_admits_one_key_one_type_and_10_mb_for_10_minutes(staff: Caller, product: Make) -> None:
    product("LAMP")
    asked = datetime.now(UTC)

    answer = begin(staff, "image/webp", size=1000, alt="A lamp")

    body = answer.json()
    policy = json.loads(base64.b64decode(body["fields"]["policy"]))
    until = datetime.fromisoformat(policy["expiration"])
    key = body["fields"]["key"]
    assert (answer.status_code, set(body)) == (201, {"imageId", "url", "fields", "expiresIn"})
    assert body["expiresIn"] == 600
    assert timedelta(seconds=595) < until - asked < timedelta(seconds=605)
    assert [c for c in policy["conditions"] if isinstance(c, list)] == [["content-length-range", 1, 10 * 2**20]]
    exact = {name: value for c in policy["conditions"] if isinstance(c, dict) for name, value in c.items()}
    assert exact["key"] == key
    assert exact["bucket"] == settings.MEDIA_BUCKET
    assert exact["Content-Type"] == body["fields"]["Content-Type"] == "image/webp"
    assert exact["x-amz-algorithm"] == body["fields"]["x-amz-algorithm"] == "AWS4-HMAC-SHA256"
    assert len(body["fields"]["x-amz-signature"]) == 64
    assert key.startswith("uploads/")
    assert len(key.removeprefix("uploads/").removesuffix(".webp")) == 32
    image = ProductImage.objects.get()
    assert (image.pk, image.state, image.upload, image.alt) == (body["imageId"], "awaiting", key, "A lamp")


@pytest.mark.parametrize("region", ["eu-north-1", "us-east-1"])
def test_a_real_bucket_is_signed_for_under_the_address_that_the_desk_admits(
    monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    aws.client.cache_clear()  # type: ignore[attr-defined]  # of functools.cache, which the overloads hide
    with monkeypatch.context() as real:
        for name, value in {"AWS_REGION": region, "AWS_ENDPOINT_URL": None, "SIMULATED": False}.items():
            real.setattr(settings, name, value)
        real.delenv("AWS_ENDPOINT_URL")
        form = bucket.sign_form("uploads/a.png", content_type="image/png", most=10, seconds=60)
    aws.client.cache_clear()  # type: ignore[attr-defined]  # of functools.cache, which the overloads hide

    assert form.url == f"https://{settings.MEDIA_BUCKET}.s3.{region}.amazonaws.com/"


def test_the_bucket_lets_pages_post_and_forgets_what_nobody_fetched() -> None:
    s3 = aws.client("s3")

    [cors] = s3.get_bucket_cors(Bucket=settings.MEDIA_BUCKET)["CORSRules"]
    [rule] = s3.get_bucket_lifecycle_configuration(Bucket=settings.MEDIA_BUCKET)["Rules"]

    assert cors["AllowedMethods"] == ["POST"]
    assert "*" not in cors["AllowedOrigins"]
    assert (rule["Filter"]["Prefix"], rule["Expiration"]["Days"], rule["Status"]) == ("uploads/", 1, "Enabled")


def test_only_pages_of_ours_may_post_what_we_signed(staff: Caller, product: Make) -> None:
    product("LAMP")
    url = begin(staff).json()["url"]

    for origin, status in (("http://127.0.0.1:8000", 200), ("https://elsewhere.example", 403)):
        asks = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = httpx.options(url, headers=asks, trust_env=False)
        assert answer.status_code == status, origin
        assert answer.headers.get("Access-Control-Allow-Origin") == (origin if status == 200 else None)


def test_two_uploads_have_nothing_in_common_but_their_order(staff: Caller, product: Make) -> None:
    product("LAMP")

    one, other = begin(staff).json(), begin(staff).json()

    assert one["fields"]["key"] != other["fields"]["key"]
    assert [*ProductImage.objects.order_by("pk").values_list("position", flat=True)] == [0, 1]


def test_the_same_request_twice_begins_one_upload(staff: Caller, product: Make) -> None:
    product("LAMP")
    body = {"contentType": "image/png"}

    first, again = (staff.post("/products/LAMP/images", body, Idempotency_Key="k") for _ in range(2))

    assert first.content == again.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert ProductImage.objects.count() == 1


@pytest.mark.parametrize(("body", "where"), [
    ({}, "/contentType"),
    ({"contentType": "image/svg+xml"}, "/contentType"),
    ({"contentType": "text/html"}, "/contentType"),
    ({"contentType": 5}, "/contentType"),
    ({"contentType": "image/png", "size": 0}, "/size"),
    ({"contentType": "image/png", "size": LARGEST_UPLOAD + 1}, "/size"),
    ({"contentType": "image/png", "size": "9"}, "/size"),
    ({"contentType": "image/png", "alt": "x" * 201}, "/alt"),
    ({"contentType": "image/png", "key": "products/mine.png"}, "/key"),
])  # fmt: skip
def test_an_upload_that_is_none_is_told_where(staff: Caller, product: Make, body: Any, where: str) -> None:
    product("LAMP")

    assert pointers(assert_refused(staff.post("/products/LAMP/images", body), 400, "invalid")) == [where]
    assert not ProductImage.objects.exists()


def test_only_staff_upload(stranger: Caller, shopper: Caller, staff: Caller, product: Make) -> None:
    product("LAMP")
    begun = begin(staff).json()
    store(begun, a_picture())

    for caller, status, code in ((stranger, 401, "not-authenticated"), (shopper, 403, "forbidden")):
        assert_refused(begin(caller), status, code)
        assert_refused(complete(caller, begun), status, code)
    assert ProductImage.objects.get().state == "awaiting"


@pytest.mark.parametrize("group", GROUPS)
def test_of_those_who_work_here_only_who_may_change_the_catalogue_uploads(
    staff: Caller, product: Make, group: str
) -> None:
    product("LAMP")
    begun = begin(staff).json()
    store(begun, a_picture())
    who = Caller(sign_in(f"{group}-member@example.com", group)["AccessToken"])

    if group in {"catalogue", "staff", "admin"}:
        assert (begin(who).status_code, complete(who, begun).status_code) == (201, 200)
    else:
        assert_refused(begin(who), 403, "forbidden")
        assert_refused(complete(who, begun), 403, "forbidden")
        assert ProductImage.objects.get().state == "awaiting"


def test_what_is_not_there_is_not_found(staff: Caller, product: Make) -> None:
    product("LAMP"), product("MUG")
    begun = begin(staff).json()

    assert_refused(staff.post("/products/NONE/images", {"contentType": "image/png"}), 404, "not-found")
    for address in (f"/products/MUG/images/{begun['imageId']}", "/products/LAMP/images/999999999999999999"):
        assert_refused(staff.post(f"{address}/complete"), 404, "not-found")


# --- what was stored -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("form", "mode"),
    [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "P"), ("WEBP", "RGBA"), ("GIF", "P")],
)
def test_a_picture_is_shown_once_it_was_looked_at(
    stranger: Caller, staff: Caller, product: Make, form: str, mode: str
) -> None:
    lamp = product("LAMP")
    begun = begin(staff, f"image/{form.lower()}", alt="A lamp").json()
    store(begun, a_picture(form, mode=mode))
    tag = stranger.get("/products/LAMP").headers["ETag"]
    assert stranger.get("/products/LAMP").json()["images"] == []

    answer = complete(staff, begun)

    image = ProductImage.objects.get()
    assert answer.status_code == 200, answer.content
    shown = stranger.get("/products/LAMP", If_None_Match=tag).json()
    assert [image | {"url": ""} for image in shown["images"]] == [answer.json() | {"url": ""}]
    assert shown["version"] == lamp.version + 1
    assert answer.json() | {"url": ""} == {
        "id": begun["imageId"], "url": "", "alt": "A lamp", "width": 64, "height": 48,
        "thumbnailUrl": None, "previewUrl": None,
    }  # fmt: skip
    at = httpx.get(answer.json()["url"], **PLAIN)
    assert at.headers["Content-Type"] == f"image/{form.lower()}"
    assert (opened(at.content).format, opened(at.content).size) == (form, (64, 48))
    assert (image.state, image.upload) == ("ready", "")
    assert keys("uploads/") == set()
    fact = OutboxEvent.objects.get(detail_type="Picture Stored")
    assert (fact.subject, fact.detail["sku"], fact.detail["imageId"]) == ("LAMP", "LAMP", image.pk)


def test_a_picture_is_turned_upright_and_loses_what_the_camera_wrote(staff: Caller, product: Make) -> None:
    product("LAMP")
    content = from_a_telephone()
    assert opened(content).getexif()

    answer = upload(staff, content, "image/jpeg").json()

    written = stored(str(ProductImage.objects.get().file.name))
    picture = opened(written)
    assert (answer["width"], answer["height"]) == picture.size == (48, 64)
    assert not picture.getexif()
    assert picture.info["icc_profile"] == b"colours of a telephone"
    assert picture.quantization == opened(content).quantization  # type: ignore[attr-defined]  # of JPEGs: as good as it was
    assert b"Nosy" not in written
    assert b"a secret" not in written
    top = picture.convert("RGB").getpixel((24, 8))
    assert isinstance(top, tuple)
    assert abs(top[1] - 128) < 10, "the teal half is on top now"


def test_what_hangs_on_behind_a_picture_is_not_shown(staff: Caller, product: Make) -> None:
    product("LAMP")

    assert upload(staff, a_picture() + b"PK\x03\x04 an archive").status_code == 200

    assert b"archive" not in stored(str(ProductImage.objects.get().file.name))


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "a page": ("image/png", b"<!DOCTYPE html><script>alert(1)</script>", "no picture that every browser shows"),
    "a drawing with scripts": ("image/png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture"),
    "another format": ("image/png", a_picture("JPEG"), "a JPEG, not a PNG"),
    "a format browsers lack": ("image/png", a_picture("TIFF"), "no picture that every browser shows"),
    "a picture that is a page too": (
        "image/gif",
        a_picture("GIF") + b"<SCRIPT>alert(1)</script>",
        "a script or a page",
    ),
    "cut off": ("image/jpeg", a_picture("JPEG", (640, 480))[:-900], "broken or was cut off"),
    "a beginning": ("image/png", a_picture()[:40], "broken or was cut off"),
    "its first bytes": ("image/gif", b"GIF89a and nothing else", "broken or was cut off"),
    "a bomb": ("image/png", a_bomb(), "million pixels"),
    "a bomb that no plain limit meets": ("image/png", a_bomb(9_000, 9_000), "9,000 × 9,000 pixels"),
    "a tape": ("image/png", a_bomb(10_001, 1), "10,001 × 1 pixels"),
    "a film": ("image/gif", a_moving_one("GIF"), "The picture moves"),
    "another film": ("image/webp", a_moving_one("WEBP"), "The picture moves"),
    "too large": ("image/png", a_picture() + b"\0" * LARGEST_UPLOAD, "at most 10 MB"),
    "empty": ("image/png", b"", "empty"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_that_is_no_picture_is_refused_for_good_and_gone(
    stranger: Caller, staff: Caller, product: Make, what: str
) -> None:
    content_type, content, reason = REFUSED[what]
    lamp = product("LAMP")
    begun = begin(staff, content_type).json()
    store(begun, content)

    for _ in range(2):
        assert reason in assert_refused(complete(staff, begun), 422, "picture-refused")["detail"]

    image = ProductImage.objects.get()
    lamp.refresh_from_db()
    assert (image.state, image.file.name, lamp.version) == ("refused", "", 1)
    assert keys("uploads/") | keys("products/lamp") == set()
    assert stranger.get("/products/LAMP").json()["images"] == []
    assert staff.get("/products/LAMP").json()["images"] == []
    assert not OutboxEvent.objects.filter(detail_type="Picture Stored").exists()


def test_completing_without_a_file_says_so_and_can_be_mended(staff: Caller, product: Make) -> None:
    product("LAMP")
    begun = begin(staff).json()

    assert_refused(complete(staff, begun), 409, "picture-not-uploaded")

    assert ProductImage.objects.get().state == "awaiting"
    store(begun, a_picture())
    assert complete(staff, begun).status_code == 200


def test_completing_twice_answers_the_same_and_tells_once(staff: Caller, product: Make) -> None:
    product("LAMP")
    begun = begin(staff).json()
    store(begun, a_picture())
    first = complete(staff, begun).json()
    store(begun, a_picture("PNG", (8, 8)))  # the form is still good; nobody looks there any more

    again = complete(staff, begun).json()

    assert (again["id"], again["width"]) == (first["id"], 64)
    assert Product.objects.get(sku="LAMP").version == 2
    assert OutboxEvent.objects.filter(detail_type="Picture Stored").count() == 1
    assert not IdempotencyKey.objects.exists()


@pytest.mark.parametrize("first", ["completed", "removed"])
def test_of_two_that_look_at_one_file_at_once_the_later_one_finds_what_became_of_it(
    staff: Caller, product: Make, first: str
) -> None:
    product("LAMP")
    begun = begin(staff).json()
    store(begun, a_picture())
    late = ProductImage.objects.select_related("product").get()  # read before the other one had its way

    if first == "completed":
        done = complete(staff, begun).json()
        assert complete_upload(image=late, actor=Actor.part("tests")).pk == done["id"]
        assert len(keys("products/lamp")) == 1
    else:
        ProductImage.objects.all().delete()
        with pytest.raises(Exception, match="removed the picture"):
            complete_upload(image=late, actor=Actor.part("tests"))
        assert keys("products/lamp") == keys("uploads/") == set()


@pytest.mark.parametrize("when", ["read", "laid"])
def test_of_two_files_posted_to_one_form_the_one_that_is_shown_is_the_one_that_was_described(
    staff: Caller, product: Make, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    lamp = product("LAMP")
    begun = begin(staff).json()
    first, second = a_picture(size=(64, 48)), a_picture(size=(30, 90))
    store(begun, first)
    answers: list[Any] = []

    def another() -> Any:
        """While the first request is at work the browser posts another file, and says that it is there."""
        if not answers:
            answers.append(None)
            store(begun, second)
            answers[0] = complete(staff, begun)

    if when == "read":  # the first one has read its file, and not yet shown it
        examine = pictures.examine
        monkeypatch.setattr(pictures, "examine", lambda **file: another() or examine(**file))
    else:  # it has laid its file under the public name, and not yet written the row
        show = pictures._show
        monkeypatch.setattr(pictures, "_show", lambda *asked: another() or show(*asked))
    answer = complete(staff, begun)

    assert (answer.status_code, answers[0].status_code) == (200, 200)
    [shown] = lamp.pictures
    assert opened(stored(str(shown.file.name))).size == (shown.width, shown.height)
    assert (shown.width, shown.height) == ((30, 90) if when == "read" else (64, 48))
    assert keys("products/lamp") == {str(shown.file.name)}
    assert OutboxEvent.objects.filter(detail_type="Picture Stored").count() == 1


def test_what_a_request_laid_that_died_is_shown_by_the_next_one(
    staff: Caller, product: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    lamp = product("LAMP")
    begun = begin(staff).json()
    store(begun, a_picture(size=(64, 48)))
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "_show", lambda *_: 1 / 0)
        assert complete(staff, begun).status_code == 500
    store(begun, a_picture(size=(30, 90)))

    assert complete(staff, begun).status_code == 200

    [shown] = lamp.pictures
    assert opened(stored(str(shown.file.name))).size == (shown.width, shown.height) == (64, 48)


def test_the_storage_away_is_503_and_changes_nothing(staff: Caller, product: Make, settings: Any) -> None:
    product("LAMP")
    begun = begin(staff).json()
    settings.MEDIA_BUCKET = "nobody-made-this-one"

    assert_refused(complete(staff, begun), 503, "storage-away")
    assert ProductImage.objects.get().state == "awaiting"


def test_s3_is_not_waited_for_inside_a_transaction(
    staff: Caller, product: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    product("LAMP")
    begun = begin(staff).json()
    store(begun, a_picture())
    depth = len(connection.savepoint_ids)  # each test is a transaction of its own
    seen: list[int] = []

    def watched(verb: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            seen.append(len(connection.savepoint_ids))
            return verb(*arguments, **named)

        return call

    for name in ("read", "put_first", "delete"):
        monkeypatch.setattr(bucket, name, watched(getattr(bucket, name)))

    assert complete(staff, begun).status_code == 200
    assert seen == [depth] * 3


def test_unfinished_pictures_cost_a_list_nothing(stranger: Caller, staff: Caller, product: Make) -> None:
    product("LAMP")
    for _ in range(3):
        begin(staff)

    with CaptureQueriesContext(connection) as asked:
        assert stranger.get("/products").json()["results"][0]["images"] == []
    assert len(asked) == 2


# --- what nobody finished --------------------------------------------------------------------------------------------
def test_what_nobody_completes_within_a_day_is_forgotten_with_its_file(staff: Caller, product: Make) -> None:
    lamp = product("LAMP")
    old, fresh, done = (begin(staff).json() for _ in range(3))
    for begun in (old, fresh, done):
        store(begun, a_picture())
    complete(staff, done)
    ProductImage.objects.exclude(pk=fresh["imageId"]).update(created_at=Now() - timedelta(hours=25))

    sweep()
    sweep()

    assert {*ProductImage.objects.values_list("pk", flat=True)} == {fresh["imageId"], done["imageId"]}
    assert keys("uploads/") == {fresh["fields"]["key"]}
    assert len(lamp.pictures) == 1
    assert_refused(complete(staff, old), 404, "not-found")


def test_a_picture_that_never_got_its_copies_is_spoken_of_again(staff: Caller, product: Make) -> None:
    product("LAMP")
    image = ProductImage.objects.get(pk=upload(staff, a_picture()).json()["id"])
    sweep()
    assert OutboxEvent.objects.filter(detail_type="Picture Stored").count() == 1
    ProductImage.objects.filter(pk=image.pk).update(created_at=Now() - timedelta(hours=25))

    sweep()

    facts = OutboxEvent.objects.filter(detail_type="Picture Stored")
    assert [fact.detail["imageId"] for fact in facts] == [image.pk, image.pk]


def test_removing_a_picture_removes_its_files(
    staff: Caller, product: Make, django_capture_on_commit_callbacks: Any
) -> None:
    product("LAMP")
    image = ProductImage.objects.get(pk=upload(staff, a_picture()).json()["id"])
    assert keys("products/lamp")

    with django_capture_on_commit_callbacks(execute=True):
        remove_picture(picture=image)

    assert keys("products/lamp") == set()


# --- the last word ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("values", "rule"), [
    ({"state": "ready", "file": ""}, "image_is_public_once_it_is_ready"),
    ({"state": "ready", "file": "products/a.png", "upload": "uploads/a.png"}, "image_is_public_once_it_is_ready"),
    ({"state": "awaiting", "file": ""}, "image_is_public_once_it_is_ready"),
    ({"state": "lost", "file": "products/a.png"}, "image_is_public_once_it_is_ready"),
    ({"state": "refused", "upload": "uploads/a.png"}, "image_says_why_it_was_refused"),
    ({"state": "awaiting", "upload": "uploads/a.png", "refusal": "no"}, "image_says_why_it_was_refused"),
])  # fmt: skip
def test_the_database_refuses_a_picture_that_makes_no_sense(product: Make, values: dict[str, str], rule: str) -> None:
    image = begin_upload(product=product("LAMP"), content_type="image/png", actor=Actor.part("tests")).image
    ProductImage.objects.filter(pk=image.pk).update(upload="u", file="")

    with pytest.raises(IntegrityError, match=rule), transaction.atomic():
        ProductImage.objects.filter(pk=image.pk).update(**{"upload": "", **values})
