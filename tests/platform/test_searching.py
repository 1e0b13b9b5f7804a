"""What the search looks for anywhere in a text, in which script, by the database's locale."""

import os
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from accounts.models import Address, User
from accounts.services import register_user
from tests.over_http import looking_into
from vibecode.searching import has_trigram, knows_every_script

A_LANGUAGE = """
SELECT collctype FROM pg_collation
WHERE collprovider = 'c' AND collencoding = pg_char_to_encoding('UTF8') AND collctype NOT IN ('C', 'POSIX')
ORDER BY collctype LIMIT 1
"""


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    """Which letters the database knows."""
    knows_every_script.cache_clear()
    yield
    knows_every_script.cache_clear()


@pytest.fixture
def of_a_language(django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The application over a database that knows letters, as Aurora's does; its name."""
    name, server = f"letters_{uuid.uuid4().hex[:8]}", os.environ["DATABASE_URL"]
    with psycopg.connect(server, autocommit=True) as admin:
        found = admin.execute(A_LANGUAGE).fetchone()
        assert found is not None, "this machine has no locale of UTF-8, which Aurora's database has"
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER libc LOCALE '{found[0]}'")
        try:
            with psycopg.connect(server.rpartition("/")[0] + f"/{name}", autocommit=True) as session:
                session.execute("CREATE EXTENSION pg_trgm")
            with looking_into(name, django_db_blocker):
                yield name
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


WORDS = {"Иванов": True, "王小明": True, "Ив": False, "Ива_": True, "И-в-а": False, "ada": True, "a_b": False}


def test_three_letters_of_any_script_are_looked_for_where_the_database_knows_them(of_a_language: str) -> None:
    assert connection.settings_dict["NAME"] == of_a_language
    assert {words: has_trigram(words) for words in WORDS} == WORDS


def test_in_the_locale_c_only_those_of_ascii_are(db: None) -> None:
    assert {words: has_trigram(words) for words in WORDS} == {words: words == "ada" for words in WORDS}


def test_somebody_is_found_by_a_part_of_a_name_in_another_script(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    user = register_user(sub="dmitry", email="d@example.com")
    User.objects.update(name="Дмитрий Иванов")
    place = Address.objects.create(
        user=register_user(sub="other", email=""),
        name="x",
        line1="x",
        city="Старый Оскол",
        postal_code="1",
        country="RU",
    )
    found = (User.objects.matching("Иванов").first(), Address.objects.matching("Оскол").first())
    monkeypatch.setattr("vibecode.searching.knows_every_script", lambda: True)

    assert found == (None, None), "in the locale C they are looked for at the beginning"
    assert User.objects.matching("Иванов").get() == user
    assert Address.objects.matching("Оскол").get() == place
