"""What stacks are told that no stack puts out: what Zappa has made, digests, keys; asked for each time."""

import hashlib
import json

import httpx
from botocore.exceptions import ClientError

from infrastructure.deploying.account import Account, code_of
from infrastructure.deploying.functions import Functions
from infrastructure.deploying.stacks import Stacks

JWKS = ".well-known/jwks.json"


def told(stacks: Stacks, functions: Functions, *, switched: bool) -> dict[str, str]:
    """All of it, as far as it is known by now, but for the image of the containers, which a step of its own tells."""
    says, known = stacks.parameter("front", "OriginVersion"), stacks.parameter("runtime", "OriginSecretSha256")
    return (
        functions.api_parameters()
        | origin_parameters(stacks.account, says, known, switched=switched)
        | pool_parameters(stacks.account, stacks.output("identity", "PoolId"))
    )


def origin_parameters(account: Account, deployed: str, known: str, *, switched: bool) -> dict[str, str]:
    """What stacks are told of the secret that CloudFront adds to each request; nothing where there is none yet.

    ``deployed`` is the version that CloudFront says now. A newer one is known to the functions first, beside it; only
    when they are ``switched``, and it is among the ``known`` digests, which they have, does CloudFront say the new one.
    Where the secret was changed twice since, Secrets Manager may have deleted what CloudFront says: its digest is
    among those, too.
    https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html
    """
    name = f"{account.stage.prefix}/origin"
    newest = _version(account, name)
    if newest is None:
        return {}
    digests = [_digest(newest)]
    if deployed not in {"", newest["VersionId"]}:
        said = _version(account, name, VersionId=deployed)
        digests += [_digest(said)] if said else known.split(",")
    return {
        "OriginSecretSha256": ",".join(dict.fromkeys(filter(None, digests))),
        "OriginVersion": newest["VersionId"] if not deployed or (switched and digests[0] in known) else deployed,
    }


def _version(account: Account, name: str, **which: str) -> dict[str, str] | None:
    """A version of a secret, the newest where no other is named; None where it is not there."""
    try:
        found: dict[str, str] = account.client("secretsmanager").get_secret_value(SecretId=name, **which)
    except ClientError as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        return None
    return found


def _digest(version: dict[str, str]) -> str:
    return hashlib.sha256(version["SecretString"].encode()).hexdigest()


def pool_parameters(account: Account, pool: str) -> dict[str, str]:
    """The public keys of the user pool; nothing while there is no pool, or it cannot be asked.

    They save the first token of a new process a fetch, and no more: without them, or with old ones, it asks itself.
    Quotes are escaped: the stack sets it into a string of JSON.
    https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html
    """
    if not pool:
        return {}
    address = f"{account.client('cognito-idp').meta.endpoint_url}/{pool}/{JWKS}"
    try:
        document = httpx.get(address, timeout=10).raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return {}
    return {"PoolKeys": json.dumps(json.dumps(document, sort_keys=True, separators=(",", ":")))[1:-1]}
