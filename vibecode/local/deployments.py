"""What Zappa meets when it deploys, updates and takes back, where moto does otherwise than AWS.

Used by aws.py. Zappa itself stays as it is.
"""

from typing import Any

import boto3
from botocore.config import Config

from vibecode.local.mend import mend
from vibecode.local.names import REGION
from vibecode.resources import LOCAL_ACCOUNT

CODE_BUCKET = f"awslambda-{REGION}-tasks"  # as AWS calls it


def correct_deployments(endpoint: str) -> None:
    """Keep the code of each version, take partial ARNs for names, know that no function has an address of its own.

    And read a binary media type that stands in the path of a patch; delete an API with its stack.
    https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html
    https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctionUrlConfigs.html
    https://docs.aws.amazon.com/apigateway/latest/api/patch-operations.html
    """
    from moto.apigateway.models import RestAPI, apigateway_backends
    from moto.awslambda import urls
    from moto.awslambda.models import LambdaFunction, LambdaStorage
    from moto.awslambda.responses import LambdaResponse
    from moto.s3.models import s3_backends

    s3 = s3_backends[LOCAL_ACCOUNT]["aws"]
    s3.create_bucket(CODE_BUCKET, REGION)
    signer = boto3.client(
        "s3",
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 -- moto takes every key
        config=Config(s3={"addressing_style": "path"}),
    )
    get_code, find = LambdaFunction.get_code, LambdaStorage.get_function_by_name_with_qualifier

    def with_location(function: Any) -> dict[str, Any]:
        described: dict[str, Any] = get_code(function)
        if function.code_bytes:
            key = function.code_digest.rpartition(":")[2]
            s3.put_object(CODE_BUCKET, key, function.code_bytes)
            where = {"Bucket": CODE_BUCKET, "Key": key}
            described["Code"]["Location"] = signer.generate_presigned_url("get_object", Params=where, ExpiresIn=600)
        return described

    def by_name(storage: Any, name: str, qualifier: str | None = None) -> Any:
        return find(storage, name.removeprefix("function:"), qualifier)

    def list_function_url_configs(_: LambdaResponse) -> str:
        return '{"FunctionUrlConfigs": []}'

    patch = RestAPI.apply_patch_operations

    def with_values(api: Any, operations: list[dict[str, Any]]) -> None:
        for operation in operations:
            if media_type := operation["path"].partition("/binaryMediaTypes/")[2]:
                operation.setdefault("value", media_type.replace("~1", "/").replace("~0", "~"))
        patch(api, operations)

    def delete_api(api: Any, account: str, region: str) -> None:
        apigateway_backends[account][region].delete_rest_api(api.id)

    mend(RestAPI, "apply_patch_operations", with_values)
    mend(RestAPI, "delete", delete_api)
    mend(LambdaFunction, "get_code", with_location)
    mend(LambdaStorage, "get_function_by_name_with_qualifier", by_name)
    mend(LambdaResponse, "list_function_url_configs", list_function_url_configs)
    path = r"{0}/(?P<api_version>[^/]+)/functions/(?P<function_name>[\w_:%-]+)/urls/?$"
    urls.url_paths[path] = LambdaResponse.dispatch
    _correct_change_sets()


def _correct_change_sets() -> None:
    """Know what a stack was told, puts out and takes after a change set too, and take one that changes nothing.

    And make no second stack of a name whose first change set was never executed: that one and its change sets go, where
    AWS keeps both.
    https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateChangeSet.html
    https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ExecuteChangeSet.html
    """
    from moto.cloudformation.models import ChangeSet, CloudFormationBackend, cloudformation_backends
    from moto.cloudformation.responses import CloudFormationResponse

    apply = ChangeSet.apply

    def apply_and_remember(change_set: Any) -> None:
        stack = change_set.stack
        exports = cloudformation_backends[stack.account_id][stack.region_name].exports
        stack.cross_stack_resources = stack.resource_map.cross_stack_resources = exports
        apply(change_set)
        stack.template, stack.parameters = change_set.template, change_set.parameters
        stack._parse_template()  # noqa: SLF001 -- as moto's own update does
        stack.output_map = stack._create_output_map()  # noqa: SLF001 -- moto has no public way
        exports.update({export.name: export for export in stack.exports})

    refuse_same = CloudFormationResponse._validate_different_update  # noqa: SLF001 -- the same

    def refuse_same_update(response: Any, *asked: Any) -> None:
        if response._get_action() != "CreateChangeSet":  # noqa: SLF001 -- the same
            refuse_same(response, *asked)

    create = CloudFormationBackend.create_change_set

    def create_over_an_empty_one(backend: Any, *, stack_name: str, change_set_type: str, **asked: Any) -> Any:
        if change_set_type == "CREATE":
            of_this_name = [each for each in backend.stacks.values() if each.name == stack_name]
            empty = {each.stack_id for each in of_this_name if each.status == "REVIEW_IN_PROGRESS"}
            for kept in (backend.stacks, backend.change_sets):
                for key in [key for key, each in kept.items() if each.stack_id in empty]:
                    del kept[key]
        return create(backend, stack_name=stack_name, change_set_type=change_set_type, **asked)

    mend(CloudFormationBackend, "create_change_set", create_over_an_empty_one)
    mend(ChangeSet, "apply", apply_and_remember)
    mend(CloudFormationResponse, "_validate_different_update", refuse_same_update)
