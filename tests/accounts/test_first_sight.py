"""The first sight of a person, over HTTP: ten requests at one moment make one user."""

import functools
import uuid

import httpx

from accounts.models import User
from tests.in_process import sign_in
from tests.over_http import Shop, together
from vibecode.models import OutboxEvent


def test_ten_first_requests_together_make_one_user_and_one_fact(shop: Shop) -> None:
    tokens = sign_in(f"first-{uuid.uuid4().hex[:8]}@example.com")
    kinds = [tokens["AccessToken"], tokens["IdToken"]] * 5
    ask = functools.partial(httpx.get, f"{shop.server.url}/api/v1/me", timeout=30, trust_env=False)

    answers = together([functools.partial(ask, headers={"Authorization": f"Bearer {token}"}) for token in kinds])

    assert [answer.status_code for answer in answers] == [200] * 10
    [sub] = {answer.json()["userId"] for answer in answers}
    assert User.objects.filter(cognito_sub=sub).count() == 1
    assert OutboxEvent.objects.filter(detail_type="User Registered", subject=sub).count() == 1
