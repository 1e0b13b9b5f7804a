"""An import's way from the desk to the shelves, its worker killed on the way: every process of `make run`."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.whole_shop import WholeShop, until
from vibecode.local.names import DEMO_PASSWORD

ROWS = 1500


class DeskOverHttp:
    """Somebody of the staff at a browser without a window."""

    def __init__(self, shop: WholeShop) -> None:
        self.http = httpx.Client(base_url=f"{shop.url}/admin", follow_redirects=True, timeout=30, trust_env=False)

    def sign_in(self) -> None:
        """Through the page."""
        self.http.get("/login/")
        self.send("/login/", username="staff@example.com", password=DEMO_PASSWORD, next="/admin/")

    def send(self, path: str, **form: Any) -> httpx.Response:
        """POST a form."""
        answer = self.http.post(path, data={"csrfmiddlewaretoken": self.http.cookies["csrftoken"], **form})
        assert answer.status_code == 200, answer.text[:2000]
        return answer


@pytest.fixture
def desk(whole_shop: WholeShop) -> Iterator[DeskOverHttp]:
    """Signed in."""
    desk = DeskOverHttp(whole_shop)
    with desk.http:
        desk.sign_in()
        yield desk


def test_an_import_whose_worker_is_killed_goes_on_and_moves_each_unit_once(
    whole_shop: WholeShop, desk: DeskOverHttp
) -> None:
    sku = whole_shop.product(on_hand=1)
    file = b"sku,delta,reason\n" + f"{sku},1,delivery\n".encode() * ROWS
    begun = desk.send("/vibecode/job/upload/", kind="import-stock", name="delivery.csv", size=len(file)).json()
    stored = httpx.post(begun["url"], data=begun["fields"], files={"file": ("file", file)}, trust_env=False)
    assert stored.status_code == 204
    page = desk.send(begun["stored"].removeprefix("/admin")).json()["page"].removeprefix("/admin")
    pk = int(page.split("/")[-3])

    def job() -> dict[str, Any]:
        return whole_shop.rows("SELECT state, rows, done, bad FROM vibecode_job WHERE id = %s", pk)[0]

    until(lambda: job()["state"] == "ready", 30, "the file is read")
    assert job() == {"state": "ready", "rows": ROWS, "done": 0, "bad": 0}

    desk.send(page.replace("change/", "begin/"))
    until(lambda: job()["done"], 60, "the first chunk is done")
    whole_shop.kill("lambda")
    assert job()["done"] < ROWS

    until(lambda: job()["state"] == "done", 120, "the import goes on")
    assert job() == {"state": "done", "rows": ROWS, "done": ROWS, "bad": 0}
    [shelf] = whole_shop.rows(
        "SELECT on_hand FROM catalog_stock JOIN catalog_product p ON p.id = product_id WHERE sku = %s", sku
    )
    assert shelf["on_hand"] == 1 + ROWS
    references = whole_shop.rows(
        "SELECT count(*) AS all, count(DISTINCT reference) AS different FROM catalog_stockmovement "
        "WHERE reference LIKE %s",
        f"job {pk} %",
    )
    assert references == [{"all": ROWS, "different": ROWS}]
