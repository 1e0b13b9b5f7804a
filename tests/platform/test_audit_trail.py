"""The audit trail: every change of what it follows is in it with who, before and after, whatever made it, for good."""

import os
import secrets
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Model
from psycopg.errors import CheckViolation, InsufficientPrivilege

from accounts.services import admit_staff, register_user, take_over_groups
from catalog.models import Category, Product
from catalog.services import set_reorder_point
from orders.models import Order, OrderLine, Refund
from tests.admin.conftest import desk_of
from tests.books import Books
from tests.in_process import Caller, make_product, order_body, sign_in
from tests.jobs.clerks import Clerk
from tests.roles import two_roles
from vibecode import history
from vibecode.acting import acting
from vibecode.lambda_entry import handler
from vibecode.local.checks import PRODUCTION
from vibecode.local.folder import REPOSITORY
from vibecode.local.lambda_runtime import Context
from vibecode.models import Change
from vibecode.rights import Actor

PEOPLE = ("accounts_user", "audit_update")
SOMEBODY = Actor.part("somebody")
type Story = list[tuple[str, str, str, dict[str, Any], dict[str, Any]]]


def story(row: Model, *kinds: str) -> Story:
    """What the trail says on a row's page, first to last: who, the deed, of what kind, before, after."""
    label = row._meta.label_lower
    changes = Change.objects.filter(page_kind=label, page_id=row.pk, kind__in=kinds or [label]).order_by("id")
    return [(change.actor, change.deed, change.kind, change.before, change.after) for change in changes]


def at_the_end(row: Model, *kinds: str) -> tuple[str, str, str, dict[str, Any], dict[str, Any]]:
    """The last of them."""
    return story(row, *kinds)[-1]


# --- who, by the door ------------------------------------------------------------------------------------------------
def test_a_change_by_the_api_is_its_callers_with_before_and_after(staff: Caller) -> None:
    product = make_product(price="2.50")

    staff.patch(f"/products/{product.sku}", {"price": "3.10", "name": "Brighter"})

    change = at_the_end(product)
    assert change == (
        staff.sub, "update", "catalog.product",
        {"price": Decimal("2.50"), "name": product.name}, {"price": Decimal("3.10"), "name": "Brighter"},
    )  # fmt: skip


def test_what_is_made_and_archived_by_the_api_is_in_it(staff: Caller) -> None:
    staff.post("/products", {"sku": "NEW-1", "name": "New", "price": "1.00"}, Idempotency_Key="k")
    staff.delete("/products/NEW-1")

    made, archived = story(Product.objects.get(sku="NEW-1"))
    assert (made[0], made[1], made[3], made[4]["sku"], made[4]["status"]) == (staff.sub, "insert", {}, "NEW-1", "draft")
    assert archived == (staff.sub, "update", "catalog.product", {"status": "draft"}, {"status": "archived"})


def test_dialogs_and_bulk_actions_are_whose_session_it_is(db: None) -> None:
    desk, one, two = desk_of("staff"), make_product(price="2.50"), make_product(status="draft")
    sub = desk.user.cognito_sub

    desk.dialog("catalog_product_reprice", one.pk, price="3.10", seen_version="1")
    desk.send("catalog_product_changelist", action="publish_all", _selected_action=[two.pk])
    desk.send("catalog_stock_change", one.pk, reorder_point="5")

    assert at_the_end(one)[:1] + at_the_end(one)[3:] == (sub, {"price": Decimal("2.50")}, {"price": Decimal("3.10")})
    assert at_the_end(two) == (sub, "update", "catalog.product", {"status": "draft"}, {"status": "published"})
    assert story(one, "catalog.stock") == [
        (sub, "update", "catalog.stock", {"reorder_point": 0}, {"reorder_point": 5}),
    ]


def test_a_category_is_followed_to_its_end(db: None) -> None:
    desk = desk_of("staff")
    desk.send("catalog_category_add", name="Lamps", slug="lamps", position="1")
    category = Category.objects.get(slug="lamps")
    desk.send("catalog_category_change", category.pk, name="Lights", slug="lamps", position="1")
    desk.send("catalog_category_delete", category.pk, post="yes")

    changes = Change.objects.filter(kind="catalog.category").order_by("id")
    assert [(change.deed, change.name) for change in changes] == [
        ("insert", "Lamps"), ("update", "Lights"), ("delete", "Lights"),
    ]  # fmt: skip
    assert changes[2].before["name"] == "Lights"
    assert {change.actor for change in changes} == {desk.user.cognito_sub}


def test_a_job_acts_for_who_began_it(clerk: Clerk) -> None:
    product = make_product("P-1", price="1.00")

    job = clerk.runs(clerk.uploads("import-prices", "sku,price\nP-1,9.00\n"))

    sub = clerk.user.cognito_sub
    assert at_the_end(product)[:1] + at_the_end(product)[3:] == (
        sub, {"price": Decimal("1.00")}, {"price": Decimal("9.00")},
    )  # fmt: skip
    assert [(change[0], change[4]["state"]) for change in story(job)][-1] == (sub, "done")


def test_the_workflow_and_the_consumers_are_named_as_parts_of_the_shop(
    placed: Callable[..., Order], books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vibecode.lambda_entry.close_old_connections", lambda: None)
    order = placed()

    for step in ("process_payment", "deduct_stock", "complete_order"):
        handler({"command": f"orders.workflow.{step}", "orderId": order.number}, Context("worker"))

    told = story(order, "orders.order", "orders.payment")
    assert {change[0] for change in told} == {"workflow"}
    assert [change[4].get("status") or change[4].get("state") for change in told] == [
        "intended", "captured", "paid", None, "completed",
    ]  # fmt: skip
    assert told[3][3:] == ({"fulfilment_status": "reserved"}, {"fulfilment_status": "deducted"})


def test_an_order_that_is_placed_is_its_timelines_and_costs_the_trail_nothing(shopper: Caller) -> None:
    product = make_product()

    number = shopper.post("/orders", order_body((product.sku, 2))).json()["orderId"]

    assert story(Order.objects.get(number=number)) == []
    assert story(product, "catalog.stock") == []
    shopper.post(f"/orders/{number}/cancel", {"reason": "I moved to 12 St James Square"})
    cancelled = at_the_end(Order.objects.get(number=number))
    assert (cancelled[0], cancelled[3]["status"], cancelled[4]["status"]) == (shopper.sub, "pending", "cancelled")


def test_a_refund_tells_who_asked_and_who_approved(
    completed: Callable[..., Order], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vibecode.lambda_entry.close_old_connections", lambda: None)
    settings.REFUND_LIMIT = 1
    order = completed(("LAMP", 2))
    one, two = (Caller(sign_in(f"{name}@example.com", "finance")["AccessToken"]) for name in ("asks", "approves"))
    asked = one.post(
        f"/orders/{order.number}/refunds", {"amount": "3.00", "reason": "late"}, Idempotency_Key=uuid.uuid4().hex
    )
    assert asked.status_code == 201, asked.content
    reference = Refund.objects.get().reference

    two.post(f"/orders/{order.number}/refunds/{reference}/approve", {}, Idempotency_Key=uuid.uuid4().hex)

    made, approved = story(order, "orders.refund")
    assert (made[0], made[4]["state"], made[4]["amount"], made[4]["actor"]) == (
        one.sub, "proposed", Decimal("3.00"), one.sub,
    )  # fmt: skip
    assert approved[0] == two.sub
    assert approved[3:] == ({"state": "proposed", "approved_by": ""}, {"state": "pending", "approved_by": two.sub})
    payment = at_the_end(order, "orders.payment")
    assert payment[3:] == (
        {"refunded": Decimal("0.00"), "proposed": Decimal("3.00")},
        {"refunded": Decimal("3.00"), "proposed": Decimal("0.00")},
    )


def test_who_may_come_in_and_with_which_groups_is_in_it(db: None) -> None:
    boss, customer = desk_of("admin"), register_user(sub="c-1", email="c@example.org")
    boss.dialog("accounts_user_shut_out", customer.pk)
    assert at_the_end(customer)[:1] + at_the_end(customer)[3:] == (
        boss.user.cognito_sub, {"is_active": True}, {"is_active": False},
    )  # fmt: skip

    admit_staff(claims={"sub": "w-1", "cognito:groups": ["warehouse"], "custom:mfa": "true"})
    member = register_user(sub="w-1", email="")
    warehouse = Group.objects.get(name="warehouse")
    groups = "accounts.user_groups"
    assert story(member, groups) == [("sign-in", "insert", groups, {}, {"group_id": warehouse.pk})]
    assert at_the_end(member) == ("sign-in", "update", "accounts.user", {"is_staff": False}, {"is_staff": True})
    take_over_groups(user=member, groups=[])
    assert at_the_end(member, groups)[1:] == ("delete", groups, {"group_id": warehouse.pk}, {})


def test_what_a_group_may_is_in_it(db: None) -> None:
    group = Group.objects.get(name="support")
    taken = group.permissions.first()
    assert taken is not None

    with acting("command shell"):
        group.permissions.remove(taken)

    kind = "auth.group_permissions"
    assert at_the_end(group, kind) == ("command shell", "delete", kind, {"permission_id": taken.pk}, {})


def test_a_command_is_named(db: None) -> None:
    product = make_product()

    with acting("command load_demo_shop"):
        set_reorder_point(stock=product.stock, units=3, actor=SOMEBODY)

    assert at_the_end(product, "catalog.stock")[0] == "command load_demo_shop"


# --- whatever statement ----------------------------------------------------------------------------------------------
def test_no_statement_goes_around_it(db: None) -> None:
    one, two = make_product(price="1.00"), make_product(price="2.00")

    with acting("tester's \"name\" */ ' 100 % of it"):
        Product.objects.filter(pk__in=[one.pk, two.pk]).update(price=F("price") + 1)
        one.refresh_from_db()
        one.name = "Saved"
        one.save()
        Product.objects.bulk_update([two], ["slug"])  # the same as before: no change
        with connection.cursor() as cursor:
            cursor.execute(
                "WITH changed AS (UPDATE catalog_product SET name = %s WHERE id = %s RETURNING id) "
                "SELECT count(*) FROM changed",
                ["/*by 00*/ 100 %", two.pk],
            )
            assert cursor.fetchone() == (1,)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE catalog_product SET price = 9 WHERE id = %s", [two.pk])

    said = "tester's \"name\" */ ' 100 % of it"
    assert [change[0] for change in story(one)[1:]] == [said, said]
    changes = story(two)[1:]
    assert [change[0] for change in changes] == [said, said, f"role {connection.settings_dict['USER']}"]
    assert changes[1][4] == {"name": "/*by 00*/ 100 %"}
    assert changes[2][3:] == ({"price": Decimal("3.00")}, {"price": Decimal("9.00")})


def test_a_price_in_an_order_that_somebody_changes_by_hand_is_in_it(completed: Callable[..., Order]) -> None:
    order = completed(("LAMP", 2))
    before = len(story(order, "orders.orderline"))

    OrderLine.objects.filter(order=order).update(shipped=1)
    OrderLine.objects.filter(order=order).update(shipped=0, unit_price="0.01")

    assert before == 0
    assert [change[3:] for change in story(order, "orders.orderline")] == [
        ({"unit_price": Decimal("2.50")}, {"unit_price": Decimal("0.01")}),
    ]


def test_what_was_rolled_back_left_no_trail(db: None) -> None:
    product = make_product()
    before = Change.objects.count()

    with transaction.atomic():
        Product.objects.filter(pk=product.pk).update(price="9.00")
        during = Change.objects.count()
        transaction.set_rollback(True)

    assert during == before + 1
    assert Change.objects.count() == before


def test_a_forged_request_leaves_no_trail(db: None, stranger: Caller, shopper: Caller) -> None:
    product, support = make_product(), desk_of("support")
    before = Change.objects.count()

    assert shopper.patch(f"/products/{product.sku}", {"price": "0.01"}).status_code == 403
    assert stranger.patch(f"/products/{product.sku}", {"price": "0.01"}).status_code == 401
    assert Caller("no.such.token").patch(f"/products/{product.sku}", {"price": "0.01"}).status_code == 401
    assert support.dialog("catalog_product_reprice", product.pk, price="0.01", seen_version="1").status_code == 403

    assert Change.objects.count() == before


def test_nobody_acts_as_whoever_came_before(staff: Caller, shopper: Caller) -> None:
    product = make_product()
    staff.patch(f"/products/{product.sku}", {"price": "3.10"})

    Product.objects.filter(pk=product.pk).update(price="4.00")  # in the same thread, by nobody's request

    assert at_the_end(product)[0].startswith("role ")


def test_who_acts_costs_no_statement_and_reading_says_nothing(db: None) -> None:
    product = make_product()
    heard = []

    def hear(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        heard.append(sql)
        return execute(sql, params, many, context)

    with acting("somebody"), connection.execute_wrapper(hear):
        Product.objects.get(pk=product.pk)
        Product.objects.filter(pk=product.pk).update(price="4.00")

    assert [sql.partition(" ")[0] for sql in heard] == ["SELECT", "/*by"]


# --- nothing of a person ---------------------------------------------------------------------------------------------
def test_nothing_that_a_person_is_or_types_gets_into_it(db: None, books: Books) -> None:
    customer = Caller(sign_in("secret-person@example.org")["IdToken"])
    customer.patch("/me", {"name": "Secretname"})
    product = make_product(on_hand=9)
    address = {
        "name": "Secretname", "line1": "Secretstreet 1", "city": "Secretcity", "postalCode": "SEC 1", "country": "GB",
    }  # fmt: skip
    placed = customer.post("/orders", order_body((product.sku, 2), shippingAddress=address, note="Secretnote"))
    assert placed.status_code == 201, placed.content
    order = Order.objects.get(number=placed.json()["orderId"])
    boss = desk_of("admin")
    boss.dialog("orders_order_note", order.pk, version=order.version, text="Secretnote")
    boss.dialog("orders_order_cancel", order.pk, version=order.version, reason="Secretreason")
    user = customer.user
    boss.dialog("accounts_user_shut_out", user.pk)
    user.email, user.name = "", ""
    user.save()  # as an erasure does it
    Order.objects.filter(pk=order.pk).update(shipping_address=None, note="", cancel_reason="")

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), coalesce(string_agg(change::text, ' '), '') FROM vibecode_change AS change")
        count, everything = cursor.fetchone()
        cursor.execute("SELECT count(*) FROM django_admin_log")
        assert cursor.fetchone() == (0,), "its lines would have people's e-mails in them"
    assert count > 3
    assert user.cognito_sub in everything
    assert "secret" not in everything.lower().replace(user.cognito_sub, "")


def test_the_trail_follows_what_it_says_and_no_column_of_a_person(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgrelid::regclass::text, tgname, encode(tgargs, 'escape') FROM pg_trigger "
            "WHERE tgfoid = 'vibecode_write_change'::regproc"
        )
        rows = cursor.fetchall()
    kinds = {arguments.split("\\000")[0] for _, _, arguments in rows}
    columns = {column for _, _, arguments in rows for column in arguments.split("\\000")[1].split(" ")}

    assert kinds == set(history.TRACKED)
    assert columns.isdisjoint(
        {"email", "shipping_address", "note", "cancel_reason", "reason", "last_error", "client_secret", "task_token"}
    )
    assert "name" not in {
        column
        for table, _, arguments in rows
        if table.startswith("accounts_")
        for column in arguments.split("\\000")[1].split(" ")
    }


# --- append-only -----------------------------------------------------------------------------------------------------
ALTERING = ("UPDATE vibecode_change SET actor = 'x'", "DELETE FROM vibecode_change", "TRUNCATE vibecode_change")
MIGRATE = "import django; django.setup(); from vibecode.operations import migrate; migrate()"


@dataclass
class Stage:
    """A database as a stage has it: one role owns it and migrates, the application has another."""

    environment: dict[str, str]

    def session(self, role: str) -> psycopg.Connection[Any]:
        """A session of one of its roles; each statement by itself."""
        address = self.environment["DATABASE_OWNER_URL"].replace("owner:", f"{role}:")
        return psycopg.connect(address, autocommit=True)

    def migrate(self, **more: str) -> subprocess.CompletedProcess[str]:
        """What a deploy asks for."""
        command = [sys.executable, "-c", MIGRATE]
        environment = {**os.environ, **self.environment, "DJANGO_SETTINGS_MODULE": "vibecode.settings", **more}
        return subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """The schema is there, and something was changed."""
    with two_roles() as environment:
        made = Stage(environment)
        done = made.migrate()
        assert done.returncode == 0, done.stderr
        with made.session("app") as app:
            app.execute("INSERT INTO catalog_category (name, slug, position) VALUES ('Lamps', 'lamps', 1)")
        yield made


def test_the_applications_role_adds_to_the_trail_and_reads_it(stage: Stage) -> None:
    with stage.session("app") as app:
        app.execute("/*by 616461*/ UPDATE catalog_category SET position = 2")
        told = app.execute("SELECT actor, before, after FROM vibecode_change WHERE deed = 'update'").fetchall()

    assert told == [("ada", {"position": 1}, {"position": 2})]


@pytest.mark.parametrize("statement", ALTERING)
def test_the_applications_role_cannot_change_it(stage: Stage, statement: str) -> None:
    with stage.session("app") as app, pytest.raises(InsufficientPrivilege):
        app.execute(statement)


@pytest.mark.parametrize("statement", ALTERING[:2])
def test_not_even_its_owner_changes_it(stage: Stage, statement: str) -> None:
    with stage.session("owner") as owner, pytest.raises(CheckViolation, match="only grows"):
        owner.execute(statement)


@pytest.mark.parametrize(
    ("given", "taken", "said"),
    [
        (
            "GRANT DELETE ON vibecode_change TO PUBLIC",
            "REVOKE DELETE ON vibecode_change FROM PUBLIC",
            "app may still DELETE",
        ),
        (
            "GRANT UPDATE (actor) ON vibecode_change TO PUBLIC",
            "REVOKE UPDATE (actor) ON vibecode_change FROM PUBLIC",
            "app may still UPDATE",
        ),
        (
            "CREATE ROLE keeper; GRANT keeper TO owner, app; ALTER TABLE vibecode_change OWNER TO keeper",
            "ALTER TABLE vibecode_change OWNER TO owner; DROP OWNED BY keeper; DROP ROLE keeper",
            "app is a member of keeper",
        ),
    ],
    ids=["to everybody", "of one column", "by becoming its owner"],
)
def test_a_right_that_came_from_elsewhere_stops_the_deploy(stage: Stage, given: str, taken: str, said: str) -> None:
    with stage.session("master") as master:
        master.execute(given)
        try:
            done = stage.migrate()
        finally:
            master.execute(taken)

    assert done.returncode != 0
    assert said in done.stderr


def test_a_real_stage_with_one_role_is_not_migrated(stage: Stage) -> None:
    owners = stage.environment["DATABASE_OWNER_URL"]

    for more in ({"DATABASE_URL": owners}, {"DATABASE_URL": owners, "DATABASE_OWNER_URL": ""}):
        done = stage.migrate(**PRODUCTION, SECRET_KEY=secrets.token_urlsafe(50), **more)
        assert done.returncode != 0
        assert "TrailOpen: owner owns the audit trail" in done.stderr
        assert stage.migrate(**more).returncode == 0, "a developer's machine has one role"


def test_it_only_grows_here_too(db: None) -> None:
    make_product()

    for alter in (lambda: Change.objects.update(actor="x"), Change.objects.all().delete):
        with pytest.raises(IntegrityError, match="only grows"), transaction.atomic():
            alter()


# --- what else the deploy sets for the application's role ------------------------------------------------------------
@pytest.mark.parametrize(("proxied", "idle"), [("yes", "0"), ("no", "4min")])
def test_idle_sessions_end_unless_the_proxy_keeps_them(stage: Stage, proxied: str, idle: str) -> None:
    done = stage.migrate(DATABASE_PROXIED=proxied)

    assert done.returncode == 0, done.stderr
    with stage.session("app") as app:
        assert app.execute("SHOW idle_session_timeout").fetchone() == (idle,)
