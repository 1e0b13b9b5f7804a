"""Tokens with any claims: moto signs every pool with one key that it ships, so a test can sign as our pool does."""

import base64
import functools
import gzip
import hashlib
import hmac
import json
import time
from importlib import resources
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings

KID = "dummy"  # moto's


@functools.cache
def pool_jwk() -> dict[str, str]:
    """The private key of the local pool as a JWK."""
    packed = resources.files("moto").joinpath("cognitoidp/resources/jwks-private.json.gz").read_bytes()
    jwk: dict[str, str] = json.loads(gzip.decompress(packed))
    return jwk


def pool_key() -> rsa.RSAPrivateKey:
    """The private key of the local pool."""
    key = jwt.algorithms.RSAAlgorithm.from_jwk(json.dumps(pool_jwk()))
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def public_pem(key: rsa.RSAPrivateKey | None = None) -> bytes:
    """A public key, the pool's unless another is given, as anybody can make it of the JWKS."""
    return (key or pool_key()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@functools.cache
def foreign_key() -> rsa.RSAPrivateKey:
    """Somebody else's key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def claims(person: str, token_use: Any = "id", **changes: Any) -> dict[str, Any]:  # noqa: S107 -- no secret
    """Claims as our pool makes them; a change to None leaves the claim out."""
    now = int(time.time())
    ours: dict[str, Any] = {
        "sub": person,
        "iss": settings.COGNITO_ISSUER,
        "aud" if token_use == "id" else "client_id": settings.COGNITO_CLIENT_ID,
        "token_use": token_use,
        "iat": now,
        "auth_time": now,
        "exp": now + 3600,
    }
    return {name: value for name, value in (ours | changes).items() if value is not None}


def sign(body: dict[str, Any], key: Any = None, *, kid: str | None = KID, **header: Any) -> str:
    """A token signed with RS256, by the pool unless another key is given."""
    return jwt.encode(body, key or pool_key(), algorithm="RS256", headers={"kid": kid, **header} if kid else header)


def parts(header: Any, body: Any, signature: bytes = b"") -> str:
    """A token put together by hand; ``header`` and ``body`` as JSON, or as they are when bytes."""
    texts = [piece if isinstance(piece, bytes) else json.dumps(piece).encode() for piece in (header, body)]
    return ".".join(base64.urlsafe_b64encode(piece).decode().rstrip("=") for piece in (*texts, signature))


def hs256(header: dict[str, Any], body: dict[str, Any], secret: bytes) -> str:
    """A token signed with HMAC, whatever the secret looks like (PyJWT would not take a public key for one)."""
    head = parts(header, body).rpartition(".")[0]
    return (
        head + "." + base64.urlsafe_b64encode(hmac.digest(secret, head.encode(), hashlib.sha256)).decode().rstrip("=")
    )
