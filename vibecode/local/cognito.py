"""Our Cognito pool on moto: made as the real one behaves, its users and tokens lasting. Used by aws.py."""

import functools
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.cognitoidp.exceptions import NotAuthorizedError
from moto.cognitoidp.models import (
    CognitoIdpBackend,
    CognitoIdpUser,
    CognitoIdpUserPool,
    CognitoIdpUserPoolClient,
    UserStatus,
    cognitoidp_backends,
)
from moto.core.models import DEFAULT_ACCOUNT_ID

from vibecode.local.aws_memory import Memory
from vibecode.local.names import CLIENT_ID, DEMO_PASSWORD, DEMO_USERS, POOL_ID, POOL_NAME, REGION
from vibecode.rights import GROUPS

_POOL = {
    "UsernameAttributes": ["email"],
    "AutoVerifiedAttributes": ["email"],
    "Policies": {
        "PasswordPolicy": {
            "MinimumLength": 8,
            "RequireLowercase": True,
            "RequireUppercase": True,
            "RequireNumbers": True,
            "RequireSymbols": True,
        }
    },
}
_CLIENT = {
    "ClientName": "vibecode-local",
    "ExplicitAuthFlows": ["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
    "ReadAttributes": ["email", "email_verified", "name"],
    "WriteAttributes": ["email", "name"],
}


class Cognito:
    """The pool of the local AWS, its users kept in a Memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._touched = threading.local()
        self._backend: CognitoIdpBackend = cognitoidp_backends[DEFAULT_ACCOUNT_ID][REGION]
        correct_moto()
        self.pool = self._make_pool()
        self._restore()
        self._listen()

    def provision(self) -> None:
        """Make the demo users that are not there. One that was changed or disabled stays so; one deleted comes back."""
        for email, groups in DEMO_USERS.items():
            if find_user(self.pool, email) is None:
                attributes = [{"Name": "email", "Value": email}, {"Name": "email_verified", "Value": "true"}]
                self._backend.admin_create_user(POOL_ID, email, "SUPPRESS", DEMO_PASSWORD, attributes)
                self._backend.admin_set_user_password(POOL_ID, email, DEMO_PASSWORD, permanent=True)
                for group in groups:
                    self._backend.admin_add_user_to_group(POOL_ID, group, email)
        self.flush()

    def flush(self) -> None:
        """Write what this thread's request changed; called before its answer leaves."""
        touched: set[CognitoIdpUser] = self._touched.__dict__.pop("users", set())
        for user in touched:
            if self.pool.users.get(user.username) is user:
                self._memory.save_user(user.id, _record(user))
            elif user.user_pool_id == POOL_ID:
                self._memory.forget_user(user.id)

    def _touch(self, user: CognitoIdpUser) -> None:
        self._touched.__dict__.setdefault("users", set()).add(user)

    def _make_pool(self) -> CognitoIdpUserPool:
        pool = self._backend.create_user_pool(POOL_NAME, dict(_POOL))
        pool.id = POOL_ID  # moto's own id would change with every change of the settings above
        pool.arn = pool.arn.rpartition("/")[0] + "/" + POOL_ID
        client = CognitoIdpUserPoolClient(POOL_ID, generate_secret=False, extended_config=dict(_CLIENT))
        client.id = CLIENT_ID
        pool.clients[CLIENT_ID] = client
        self._backend.user_pools.clear()
        self._backend.user_pools[POOL_ID] = pool
        for name in GROUPS:
            self._backend.create_group(POOL_ID, name, f"{name} of the shop", "", 0)
        return pool

    def _restore(self) -> None:
        for sub, record in self._memory.users():
            user = CognitoIdpUser(POOL_ID, sub, record["password"], UserStatus(record["status"]), record["attributes"])
            user.id = sub
            user.update_attributes([{"Name": "sub", "Value": sub}])
            user.enabled = record["enabled"]
            self.pool.users[sub] = user
            for name in record["groups"]:
                if name not in self.pool.groups:
                    self._backend.create_group(POOL_ID, name, "", "", 0)
                self._backend.admin_add_user_to_group(POOL_ID, name, sub)
        self.pool.access_tokens = _Tokens(self._memory, "access")
        self.pool.refresh_tokens = _Tokens(self._memory, "refresh")

    def _listen(self) -> None:
        """From now on every change to a user is noticed, whichever call makes it."""
        touch, pool = self._touch, self.pool

        def note_change(user: CognitoIdpUser, name: str, value: object) -> None:
            object.__setattr__(user, name, value)
            touch(user)

        _replace(CognitoIdpUser, "__setattr__", note_change)

        def note_user(original: Callable[..., Any]) -> Callable[..., Any]:
            """For calls that change a user without setting anything on it: its groups, its end."""

            @functools.wraps(original)
            def call(backend: CognitoIdpBackend, user_pool_id: str, *arguments: str, **named: str) -> Any:
                username = named.get("username") or arguments[-1]
                user = backend.admin_get_user(user_pool_id, username)
                result = original(backend, user_pool_id, *arguments, **named)
                touch(user)
                return result

            return call

        for name in ("admin_add_user_to_group", "admin_remove_user_from_group", "admin_delete_user"):
            _replace(CognitoIdpBackend, name, note_user(getattr(CognitoIdpBackend, name)))

        delete_group = CognitoIdpBackend.delete_group

        def note_group(backend: CognitoIdpBackend, user_pool_id: str, group_name: str) -> None:
            members = list(pool.groups[group_name].users) if group_name in pool.groups else []
            delete_group(backend, user_pool_id, group_name)
            for user in members:
                touch(user)

        _replace(CognitoIdpBackend, "delete_group", note_group)


class _Tokens(dict[str, Any]):
    """moto's dict of issued tokens, written through: GetUser and refresh work over a restart, sign-out lasts."""

    def __init__(self, memory: Memory, kind: str) -> None:
        super().__init__((token, tuple(record) if record else None) for token, record in memory.tokens(kind))
        self._memory = memory
        self._kind = kind

    def __setitem__(self, token: str, record: object) -> None:
        super().__setitem__(token, record)
        self._memory.save_token(self._kind, token, record)

    def pop(self, token: str, *default: Any) -> Any:
        record = super().pop(token, *default)
        self._memory.forget_token(token)
        return record


def _replace(owner: type, name: str, method: Callable[..., Any]) -> None:
    setattr(owner, name, method)


def _record(user: CognitoIdpUser) -> dict[str, Any]:
    return {
        "password": user.password,
        "status": UserStatus(user.status).value,
        "enabled": user.enabled,
        "attributes": user.attributes,
        "groups": sorted(group.group_name for group in user.groups),
    }


def _without(attributes: Iterable[dict[str, str]] | None, *names: str) -> list[dict[str, str]]:
    return [attribute for attribute in attributes or [] if attribute["Name"] not in names]


def _as_changed(attributes: list[dict[str, str]]) -> list[dict[str, str]]:
    """An address that changes is unverified until proven, unless the change says otherwise."""
    names = {attribute["Name"] for attribute in attributes}
    if "email" in names and "email_verified" not in names:
        return [*attributes, {"Name": "email_verified", "Value": "false"}]
    return attributes


def correct_moto() -> None:
    """Make moto do as Cognito does where our sign-in depends on it."""
    _replace(CognitoIdpUserPool, "_get_user", find_user)
    _correct_tokens()
    _correct_email_verified()


def find_user(pool: CognitoIdpUserPool, username: str) -> CognitoIdpUser | None:
    """By sub, or by e-mail in any case; moto compares exactly, and rebuilds every user's attributes to do it."""
    user = pool.users.get(username)
    if user is None and username:
        wanted = username.lower()
        users = list(pool.users.values())
        user = next((u for u in users if u.attribute_lookup.get("email", "").lower() == wanted), None)
    return user


def _correct_tokens() -> None:
    """Tokens follow the person, not the address typed at sign-in; a disabled person gets none."""

    def by_sub(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(pool: CognitoIdpUserPool, client_id: str, username: str, *rest: str, **named: str) -> Any:
            user = find_user(pool, username)
            if user is None or not user.enabled:
                raise NotAuthorizedError("User is disabled.")
            return original(pool, client_id, user.username, *rest, **named)

        return call

    for name in ("create_access_token", "create_id_token", "create_refresh_token"):
        _replace(CognitoIdpUserPool, name, by_sub(getattr(CognitoIdpUserPool, name)))

    sign_out = CognitoIdpUserPool.sign_out

    def sign_out_by_sub(pool: CognitoIdpUserPool, username: str) -> None:
        sign_out(pool, pool._get_user(username).username)  # noqa: SLF001 -- moto offers no other way to one user

    _replace(CognitoIdpUserPool, "sign_out", sign_out_by_sub)

    readable = CognitoIdpUserPool.get_user_extra_data_by_client_id

    def readable_as_typed(pool: CognitoIdpUserPool, client_id: str, username: str) -> dict[str, Any]:
        claims = readable(pool, client_id, username)
        if "email_verified" in claims:
            claims["email_verified"] = claims["email_verified"] == "true"  # a boolean in the real id token
        return claims

    _replace(CognitoIdpUserPool, "get_user_extra_data_by_client_id", readable_as_typed)


def _correct_email_verified() -> None:
    """Only the confirmation code or an administrator verifies an address, never the person who types it."""
    sign_up = CognitoIdpBackend.sign_up
    confirm = CognitoIdpBackend.confirm_sign_up
    update = CognitoIdpBackend.update_user_attributes
    admin_update = CognitoIdpBackend.admin_update_user_attributes

    def sign_up_unverified(
        backend: CognitoIdpBackend,
        client_id: str,
        username: str,
        password: str,
        attributes: list[dict[str, str]],
    ) -> tuple[CognitoIdpUser, Any]:
        unverified = [
            *_without(attributes, "email_verified", "sub"),
            {"Name": "email_verified", "Value": "false"},
        ]
        return sign_up(backend, client_id, username, password, unverified)

    def confirm_and_verify(backend: CognitoIdpBackend, client_id: str, username: str) -> str:
        result = confirm(backend, client_id, username)
        for pool in backend.user_pools.values():
            if client_id in pool.clients:
                pool._get_user(username).update_attributes([{"Name": "email_verified", "Value": "true"}])  # noqa: SLF001 -- moto offers no other way to one user
        return result

    def update_own(backend: CognitoIdpBackend, access_token: str, attributes: list[dict[str, str]]) -> None:
        update(backend, access_token, _as_changed(_without(attributes, "email_verified", "sub")))

    def update_as_admin(
        backend: CognitoIdpBackend, user_pool_id: str, username: str, attributes: list[dict[str, str]]
    ) -> None:
        admin_update(backend, user_pool_id, username, _as_changed(_without(attributes, "sub")))

    _replace(CognitoIdpBackend, "sign_up", sign_up_unverified)
    _replace(CognitoIdpBackend, "confirm_sign_up", confirm_and_verify)
    _replace(CognitoIdpBackend, "update_user_attributes", update_own)
    _replace(CognitoIdpBackend, "admin_update_user_attributes", update_as_admin)
