"""What can be done to an account. Called by the authentication, the views and the admin."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connection, transaction

from accounts.events import UserRegistered
from accounts.models import Address, User
from vibecode.acting import acting
from vibecode.bearer import groups_of, has_second_factor, verified_email
from vibecode.errors import Denied
from vibecode.outbox import publish
from vibecode.rights import GROUPS, Actor, Right


class AccountClosed(Denied):
    """Somebody was shut out, or erased."""

    code = "account-closed"
    title = "This account is closed"


class NotStaff(Denied):
    """No group of theirs works here."""

    code = "not-staff"
    title = "This account may not work here"


class SecondFactorMissing(Denied):
    """Their groups count for nothing as long as a password alone opens the account."""

    code = "second-factor-missing"
    title = "Your account needs a second factor"


def register_user(*, sub: str, email: str, name: str = "") -> User:
    """The user of a Cognito ``sub``, made at first sight exactly once, however many requests come at the same time.

    ``email`` is empty unless Cognito calls it verified. UserRegistered is published by the one that made the row.
    """
    with transaction.atomic(savepoint=False):
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO accounts_user (cognito_sub, email, name, is_active, is_staff, is_superuser)
                VALUES (%s, %s, %s, true, false, false)
                ON CONFLICT (cognito_sub) DO NOTHING
                RETURNING id
                """,
                [sub, email, name[:150]],
            )
            made = cursor.fetchone() is not None
        if made:
            publish(UserRegistered(user_id=sub))
    return User.objects.get(cognito_sub=sub)


def refresh_email(*, user: User, email: str) -> None:
    """Keep the e-mail that Cognito has verified most recently."""
    if email and email != user.email:
        user.email = email
        user.save(update_fields=["email"])


def rename_user(*, user: User, name: str) -> User:
    """Set the name that the shop calls somebody by."""
    user.name = name
    user.save(update_fields=["name"])
    return user


def take_over_groups(*, user: User, groups: Iterable[str]) -> User:
    """Give the user's session the rights of the token's Cognito groups, and take away all others."""
    names = set(groups) & GROUPS.keys()
    with transaction.atomic():
        user.groups.set(Group.objects.filter(name__in=names))
        user.is_staff = bool(names)
        user.save(update_fields=["is_staff"])
    return user


@acting("sign-in")
def admit_staff(*, claims: Mapping[str, Any]) -> User:
    """The user whom a verified ID token is about, with the rights of the groups in it.

    Raises AccountClosed, NotStaff or SecondFactorMissing: then a stranger gets no row here, and whoever has one loses
    the rights of an earlier sign-in.
    """
    groups = groups_of(claims) & GROUPS.keys()
    known = User.objects.filter(cognito_sub=claims["sub"]).first()
    refusal = _why_not(known, groups, claims)
    if refusal is not None:
        if known is not None:
            take_over_groups(user=known, groups=())
        raise refusal
    with transaction.atomic():
        user = register_user(sub=claims["sub"], email=verified_email(claims), name=str(claims.get("name", "")))
        refresh_email(user=user, email=verified_email(claims))
        return take_over_groups(user=user, groups=groups)


def _why_not(known: User | None, groups: frozenset[str], claims: Mapping[str, Any]) -> Denied | None:
    if known is not None and not known.is_active:
        return AccountClosed("A colleague with the group admin can open it again.")
    if not groups:
        return NotStaff("None of its groups works here. Ask a colleague with the group admin to add it to one.")
    if settings.STAFF_NEED_MFA and not has_second_factor(claims):
        return SecondFactorMissing(
            "Staff sign in with a password and a second factor. Switch on an authenticator app (MFA) in your account, "
            "then sign in again."
        )
    return None


def set_active(*, users: Iterable[User], active: bool, actor: Actor) -> int:
    """Let people in, or refuse every token of theirs from now on. Returns how many changed. Raises Denied."""
    actor.must(Right.PEOPLE)
    ids = [user.pk for user in users]
    return User.objects.filter(pk__in=ids).exclude(is_active=active).update(is_active=active)


def add_address(*, user: User, values: Mapping[str, Any]) -> Address:
    """Keep one more address of somebody."""
    return Address.objects.create(user=user, **values)


def forget_address(*, address: Address) -> None:
    """Forget an address; orders keep their copy."""
    address.delete()


def change_address(*, address: Address, values: Mapping[str, Any]) -> Address:
    """Change the given fields of an address; orders keep the copy they were placed with."""
    for name, value in values.items():
        setattr(address, name, value)
    address.save(update_fields=list(values) or None)
    return address
