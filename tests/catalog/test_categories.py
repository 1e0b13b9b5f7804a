"""GET /categories: the tree."""

import pytest
from django.db import IntegrityError, transaction

from catalog.models import Category
from catalog.services import CategoryCircle, place_category
from tests.in_process import Caller


def test_the_tree_is_read_whole_in_order(db: None, stranger: Caller) -> None:
    home = Category.objects.create(name="Home", slug="home", position=2)
    lamps = Category.objects.create(name="Lamps", slug="lamps", parent=home)
    Category.objects.create(name="Desk", slug="desk", parent=lamps)
    Category.objects.create(name="Art", slug="art", parent=home)
    Category.objects.create(name="Zoo", slug="zoo", position=1)

    answer = stranger.get("/categories")

    def leaf(slug: str, name: str) -> dict[str, object]:
        return {"slug": slug, "name": name, "children": []}

    assert answer.json() == {
        "results": [
            leaf("zoo", "Zoo"),
            {
                "slug": "home",
                "name": "Home",
                "children": [
                    leaf("art", "Art"),
                    {"slug": "lamps", "name": "Lamps", "children": [leaf("desk", "Desk")]},
                ],
            },
        ]
    }


def test_a_shop_without_categories_has_an_empty_tree(db: None, stranger: Caller) -> None:
    assert stranger.get("/categories").json() == {"results": []}


def test_the_tag_is_good_until_a_category_changes(db: None, stranger: Caller) -> None:
    home = Category.objects.create(name="Home", slug="home")
    tag = stranger.get("/categories").headers["ETag"]

    assert stranger.get("/categories", If_None_Match=tag).status_code == 304
    Category.objects.filter(pk=home.pk).update(name="House")
    assert stranger.get("/categories", If_None_Match=tag).status_code == 200


def test_no_category_stands_below_itself(db: None) -> None:
    home = Category.objects.create(name="Home", slug="home")
    lamps = Category.objects.create(name="Lamps", slug="lamps", parent=home)

    for parent in (home, lamps):
        with pytest.raises(CategoryCircle):
            place_category(category=home, parent=parent)
    with pytest.raises(IntegrityError, match="category_is_not_its_own_parent"), transaction.atomic():
        Category.objects.filter(pk=home.pk).update(parent=home)
