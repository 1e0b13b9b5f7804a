"""What can be done to an account. Called by the authentication, the views and the admin."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth.models import Group
from django.db import connection, transaction

from accounts.events import UserRegistered
from accounts.models import Address, User
from vibecode.outbox import publish
from vibecode.rights import GROUPS


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


def set_active(*, users: Iterable[User], active: bool) -> int:
    """Let people in, or refuse every token of theirs from now on. Returns how many changed."""
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
