"""The release as a container, where a stage has what runs long (`batch`): its image, and which one the containers run.

Whoever builds releases builds the image and pushes it (docs/container.md); the deployment looks for it, and tells it to
the stack `runtime` when the schema is there.
"""

import time
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from infrastructure.deploying.account import Account, Refused, code_of
from infrastructure.deploying.cloudformation import POLLED, StackFailed

PARAMETER = "ImageTag"  # of the stack


def missing(account: Account, tag: str) -> Iterator[str]:
    """What is said before a deploy where the repository is there and the image is not; of a new stage nothing yet."""
    if account.stage.batch and _is_there(account, tag) is False:
        yield _push(account, tag)


def look_for(account: Account, tag: str) -> str:
    """Raises Refused, with the commands, where the image is not in the repository."""
    if not _is_there(account, tag):
        raise Refused(_push(account, tag))
    return tag


def run_image(account: Account, tag: str) -> str:
    """Let the containers run the image of a release; as they are, where it was never pushed. Raises StackFailed."""
    if not _is_there(account, tag):
        return f"as they are: there is no image {tag}"
    cloud, name = account.client("cloudformation"), f"{account.stage.prefix}-runtime"
    told = {each["ParameterKey"]: each["ParameterValue"] for each in _settled(cloud, name)["Parameters"]}
    if told[PARAMETER] == tag:
        return "as they were"
    made = cloud.create_change_set(  # in the name of the role that the stack was made by
        StackName=name,
        ChangeSetName=f"image-{time.time_ns()}",
        UsePreviousTemplate=True,
        Parameters=[
            {"ParameterKey": each, **({"ParameterValue": tag} if each == PARAMETER else {"UsePreviousValue": True})}
            for each in told
        ],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )["Id"]
    asked = {"StackName": name, "ChangeSetName": made}
    while (about := cloud.describe_change_set(**asked))["Status"].endswith(("_IN_PROGRESS", "_PENDING")):
        time.sleep(POLLED / 5)
    if about["Status"] == "FAILED":
        cloud.delete_change_set(**asked)
        raise StackFailed(f"{name} cannot be told the image {tag}: {about.get('StatusReason', '')}")
    cloud.execute_change_set(**asked)
    if (status := _settled(cloud, name)["StackStatus"]) != "UPDATE_COMPLETE":
        raise StackFailed(f"{name} is {status}: the containers do not run the image {tag}.")
    return tag


def _is_there(account: Account, tag: str) -> bool | None:
    """None where there is no repository."""
    try:
        account.client("ecr").describe_images(repositoryName=account.stage.prefix, imageIds=[{"imageTag": tag}])
    except ClientError as error:
        if code_of(error) == "RepositoryNotFoundException":
            return None
        if code_of(error) != "ImageNotFoundException":
            raise
        return False
    return True


def _push(account: Account, tag: str) -> str:
    repository = account.stage.prefix
    image = f"{account.number}.dkr.ecr.{account.client('ecr').meta.region_name}.amazonaws.com/{repository}:{tag}"
    return (
        f"the repository {repository} has no image {tag}, which what runs long is to run: docker build --platform "
        f"linux/arm64 --build-arg RELEASE={tag} --tag {image} . && docker push {image} (docs/container.md), and again"
    )


def _settled(cloud: Any, name: str) -> dict[str, Any]:
    while (found := cloud.describe_stacks(StackName=name)["Stacks"][0])["StackStatus"].endswith("_IN_PROGRESS"):
        time.sleep(POLLED)
    stack: dict[str, Any] = found
    return stack
