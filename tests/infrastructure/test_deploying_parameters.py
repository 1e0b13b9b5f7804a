"""What stacks are told of the secret of the origin. Exact calls, by stubbed_aws.py."""

import hashlib

import pytest

from infrastructure.deploying.parameters import origin_parameters
from tests.infrastructure.stubbed_aws import Aws


@pytest.mark.parametrize(("switched", "said"), [(False, "old"), (True, "new")])
def test_a_new_origin_secret_is_known_to_the_functions_before_cloudfront_says_it(
    aws: Aws, switched: bool, said: str
) -> None:
    manager, name = aws("secretsmanager"), "vibecode-dev/origin"
    manager.add_response("get_secret_value", {"VersionId": "new" * 11, "SecretString": "2"}, {"SecretId": name})
    old = {"SecretId": name, "VersionId": "old" * 11}
    manager.add_response("get_secret_value", {"VersionId": "old" * 11, "SecretString": "1"}, old)

    digests = [hashlib.sha256(value.encode()).hexdigest() for value in ("2", "1")]

    told = origin_parameters(aws.account, "old" * 11, ",".join(digests) if switched else digests[1], switched=switched)

    assert told == {"OriginSecretSha256": ",".join(digests), "OriginVersion": said * 11}


def test_an_origin_secret_that_changes_after_the_functions_were_told_waits_for_the_next_deploy(aws: Aws) -> None:
    manager, name = aws("secretsmanager"), "vibecode-dev/origin"
    manager.add_response("get_secret_value", {"VersionId": "new" * 11, "SecretString": "2"}, {"SecretId": name})
    old = {"SecretId": name, "VersionId": "old" * 11}
    manager.add_response("get_secret_value", {"VersionId": "old" * 11, "SecretString": "1"}, old)

    told = origin_parameters(aws.account, "old" * 11, hashlib.sha256(b"1").hexdigest(), switched=True)

    assert told["OriginVersion"] == "old" * 11


@pytest.mark.parametrize(("switched", "said"), [(False, "old"), (True, "new")])
def test_an_origin_secret_that_is_gone_is_known_to_the_functions_still(aws: Aws, switched: bool, said: str) -> None:
    manager, name = aws("secretsmanager"), "vibecode-dev/origin"
    manager.add_response("get_secret_value", {"VersionId": "new" * 11, "SecretString": "3"}, {"SecretId": name})
    gone = {"SecretId": name, "VersionId": "old" * 11}
    manager.add_client_error("get_secret_value", "ResourceNotFoundException", expected_params=gone)
    third, second, first = (hashlib.sha256(value.encode()).hexdigest() for value in ("3", "2", "1"))
    known = f"{third},{second},{first}" if switched else f"{second},{first}"

    told = origin_parameters(aws.account, "old" * 11, known, switched=switched)

    assert told == {"OriginSecretSha256": f"{third},{second},{first}", "OriginVersion": said * 11}


def test_where_there_is_no_origin_secret_yet_nothing_is_told_of_it(aws: Aws) -> None:
    aws("secretsmanager").add_client_error("get_secret_value", "ResourceNotFoundException")

    assert origin_parameters(aws.account, "", "", switched=False) == {}
