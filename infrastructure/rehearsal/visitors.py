"""Who visits the deployed shop in a rehearsal: a customer, staff in their browser, the engineer. Used by its steps.

All of them are strangers to the code: they know addresses, and what comes back.
"""

import io
import json
import re
import ssl
import struct
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from html import unescape
from html.parser import HTMLParser
from typing import Any, Self
from urllib.parse import urljoin

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from infrastructure.rehearsal.account import Account
from vibecode.local.names import CLIENT_ID, POOL_ID

PASSWORD = "Rehearsal-1!"  # noqa: S105 -- of people that live for a minute
PATIENCE = 60.0  # seconds


class WentWrong(Exception):
    """The deployed shop did not do what it should; the text says what it did."""


def expect(fine: object, said: object) -> None:
    """Raise WentWrong with what was said, unless all is fine."""
    if not fine:
        raise WentWrong(str(said)[:1500])


def wait_for(ask: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Ask again and again until the answer is true. Raises WentWrong."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        expect(time.monotonic() < deadline, f"{what}: not within {seconds:g} s")
        time.sleep(0.2)
    return answer


class Web:
    """An address of the shop, as a client sees it: ``base`` is the origin and what stands before every path.

    ``host`` is the name that the client asks for, where it is not the number in the address.
    """

    def __init__(self, base: str, trust: ssl.SSLContext, host: str = "") -> None:
        self.base = base
        self.at = "/".join(base.split("/")[:3])  # where it really is
        self.origin = f"https://{host}" if host else self.at  # what a browser takes it for
        self._trust = trust
        self._headers = {"Host": host} if host else {}
        self.http = httpx.Client(verify=trust, timeout=60, trust_env=False, headers=self._headers)

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request below the base; a path that a page gave begins with the base's own."""
        return self.http.request(method, f"{self.base}{path}", **more)

    def from_elsewhere(self, address: str) -> httpx.Client:
        """A client that asks from another address of this machine."""
        transport = httpx.HTTPTransport(verify=self._trust, local_address=address)
        return httpx.Client(transport=transport, timeout=60, headers=self._headers)

    def follow(self, method: str, address: str, **more: Any) -> httpx.Response:
        """A request to an address as the shop wrote it, and where that leads to."""
        there = urljoin(self.at, address).replace(self.origin, self.at)
        if not there.startswith(self.at):  # somebody else's, such as a signed address of S3
            return httpx.request(method, there, trust_env=False, timeout=60, **more)
        return self.http.request(method, there, follow_redirects=True, **more)

    def says(self, page: httpx.Response) -> dict[str, str]:
        """The headers with which a browser says from which page it sends a form."""
        return {"Referer": str(page.url).replace(self.at, self.origin), "Origin": self.origin}


class Person:
    """Somebody of the pool who signs in: whoever has this e-mail, or a new customer."""

    def __init__(self, account: Account, web: Web, email: str = "") -> None:
        self.web = web
        self.email = email or f"{uuid.uuid4().hex[:12]}@example.com"
        cognito = account.client("cognito-idp")
        if not email:
            attributes = [{"Name": "email", "Value": self.email}, {"Name": "email_verified", "Value": "true"}]
            cognito.admin_create_user(UserPoolId=POOL_ID, Username=self.email, UserAttributes=attributes)
        cognito.admin_set_user_password(UserPoolId=POOL_ID, Username=self.email, Password=PASSWORD, Permanent=True)
        answer = cognito.initiate_auth(
            ClientId=CLIENT_ID,
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": self.email, "PASSWORD": PASSWORD},
        )
        self.token = answer["AuthenticationResult"]["IdToken"]

    @property
    def sub(self) -> str:
        """Who they are in the pool."""
        return str(self.call("GET", "/me")["userId"])

    def call(self, method: str, path: str, body: Any = None, *, status: int = 200, **headers: str) -> Any:
        """What the API says; raises WentWrong at another status."""
        return self.ask(method, path, body, status=status, **headers).json()

    def ask(self, method: str, path: str, body: Any = None, *, status: int = 200, **headers: str) -> httpx.Response:
        """What the API answers; raises WentWrong at another status."""
        sent = {
            "Authorization": f"Bearer {self.token}",
            "Idempotency-Key": uuid.uuid4().hex,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        answer = self.web.ask(method, f"/api/v1{path}", json=body, headers=sent)
        expect(answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}")
        return answer


class Listener:
    """A customer's websocket: everything that was pushed, from now on."""

    def __init__(self, customer: Person) -> None:
        ticket = customer.call("POST", "/me/websocket-tickets", status=201)["ticket"]
        address = customer.call("GET", "/config")["websocketUrl"]
        self.socket: ClientConnection = connect(f"{address}?token={ticket}", open_timeout=60, proxy=None)
        self.heard: list[dict[str, Any]] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def statuses(self, order: str) -> list[str]:
        """The states of an order that were pushed, in their order."""
        return [news["status"] for news in list(self.heard) if news["orderId"] == order]

    def _listen(self) -> None:
        try:
            for message in self.socket:
                self.heard.append(json.loads(message))
        except ConnectionClosed:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


class Page(HTMLParser):
    """What a browser would do next with a page: its files, and its form with what stands in it."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.files: list[str] = []
        self.fields: dict[str, str] = {}
        self.text = answer.text
        self._select = self._area = ""
        self.feed(answer.text)

    def handle_starttag(self, tag: str, given: list[tuple[str, str | None]]) -> None:
        """Files, fields and what is chosen."""
        values = {name: value or "" for name, value in given}
        name = values.get("name", "")
        if tag == "link" and values.get("rel") in {"stylesheet", "icon", "shortcut icon"}:
            self.files.append(values["href"])
        elif tag in {"script", "img"} and values.get("src") and not values["src"].startswith("data:"):
            self.files.append(values["src"])
        elif tag == "input" and name and values.get("type") not in {"file", "submit", "button"}:
            if values.get("type") not in {"checkbox", "radio"} or "checked" in values:
                self.fields.setdefault(name, values.get("value", ""))
        elif tag == "select":
            self._select = name
        elif tag == "option" and "selected" in values:
            self.fields[self._select] = values.get("value", "")
        elif tag == "textarea":
            self._area = name
            self.fields[name] = ""

    def handle_data(self, data: str) -> None:
        """What stands in a text area."""
        if self._area:
            self.fields[self._area] += data.removeprefix("\n")

    def handle_endtag(self, tag: str) -> None:
        """The end of a text area."""
        if tag == "textarea":
            self._area = ""


def _known_to(provider: str, person: Person) -> None:
    """Let the provider say of somebody what the pool would: of staff, who signed in with a second factor."""
    claims = {"email": person.email, "email_verified": True, "cognito:groups": ["admin"], "amr": ["pwd", "mfa"]}
    httpx.put(f"{provider}/users/{person.sub}", json=claims, timeout=20, trust_env=False).raise_for_status()


class Desk:
    """Staff in the admin, through pages and forms alone."""

    def __init__(self, web: Web) -> None:
        self.web = web

    def sign_in(self, person: Person, provider: str) -> httpx.Response:
        """From the admin's address by its redirect to the provider's page, and back to where one wanted to go."""
        _known_to(provider, person)
        sent_away = self.web.ask("GET", "/admin/orders/order/")
        expect(sent_away.status_code == 302, f"the desk lets strangers in: {sent_away.status_code}")
        page = self.web.follow("GET", sent_away.headers["Location"])
        form = re.search(r'<form[^>]*action="([^"]*/admin/sign-in)"', page.text)
        expect(form and 'type="password"' not in page.text, f"the sign-in page has another way in: {page.text}")
        where = urljoin(self.web.at, unescape(form[1] if form else ""))
        asked = self.web.http.post(where, data=Page(page).fields, headers=self.web.says(page))
        address = asked.headers.get("Location", "")
        expect(address.startswith(provider), f"the button leads to {asked.status_code} {address}")
        agreed = httpx.post(address, data={"sub": person.sub}, timeout=20, trust_env=False)
        inside = self.web.follow("GET", agreed.headers.get("Location", ""))
        expect(inside.status_code == 200, f"sign-in answers {inside.status_code}: {inside.text}")
        expect(str(inside.url) == f"{self.web.base}/admin/orders/order/", f"sign-in leads to {inside.url}")
        self._try_forged_forms(inside)
        return inside

    def _try_forged_forms(self, inside: httpx.Response) -> None:
        """Another page's form that would sign them out: without their token, and with it from elsewhere."""
        address, token = f"{self.web.base}/admin/logout/", Page(inside).fields["csrfmiddlewaretoken"]
        for typed, origin in (("forged", self.web.origin), (token, "https://elsewhere.example")):
            headers = self.web.says(inside) | {"Origin": origin}
            answer = self.web.follow("POST", address, data={"csrfmiddlewaretoken": typed}, headers=headers)
            expect(answer.status_code == 403, f"a forged form is taken: {answer.status_code}")

    def open(self, path: str) -> Page:
        """A page of the admin with all its files, each of which must come."""
        answer = self.web.ask("GET", path)
        expect(answer.status_code == 200, f"{path} answers {answer.status_code}")
        page = Page(answer)
        for file in page.files:
            found = self.web.follow("GET", file)
            expect(found.status_code == 200 and found.content, f"{file} of {path}: {found.status_code}")
            if file.partition("?")[0].endswith(".css"):
                expect(found.headers["Content-Type"].startswith("text/css"), f"{file} is no style sheet")
        expect(any(".css" in file for file in page.files), f"{path} has no style")
        return page

    def add_picture(self, sku: str) -> str:
        """Upload a picture by the product's form; the address under which the shop shows it."""
        found = self.web.ask("GET", "/admin/catalog/product/", params={"q": sku})
        path = re.search(r'href="(?:/[a-z]+)?(/admin/catalog/product/\d+/change/)[^"]*"', found.text)
        expect(path, f"{sku} is not in the list of products")
        address = f"{self.web.base}{path and path[1]}"
        shown = self.web.http.get(address)
        form = Page(shown)
        typed = {name: value for name, value in form.fields.items() if "__prefix__" not in name}
        typed |= {"images-TOTAL_FORMS": "1", "images-0-alt": "a teal square", "images-0-position": "0"}
        files = {"images-0-file": ("teal.png", io.BytesIO(picture()), "image/png")}
        saved = self.web.http.post(address, data=typed, files=files, headers=self.web.says(shown))
        expect(saved.status_code == 302, f"the picture was not taken: {saved.status_code} {saved.text}")
        product = self.web.ask("GET", f"/api/v1/products/{sku}").json()
        return str(product["images"][0]["url"])


def picture(side: int = 64) -> bytes:
    """A teal PNG, made without a library."""
    row = b"\0" + b"\0\x80\x80" * side
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(row * side)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunks(parts))


def _chunks(parts: tuple[tuple[bytes, bytes], ...]) -> Iterator[bytes]:
    for name, data in parts:
        yield struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
