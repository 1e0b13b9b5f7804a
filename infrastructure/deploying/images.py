"""The release as a container, where a stage has what runs long (`batch`): its image, and which one the containers run.

Whoever builds releases builds the image and pushes it (docs/container.md); the deployment looks for it, and tells it to
the stack `runtime` when the schema is there.
"""

from collections.abc import Iterator

from botocore.exceptions import ClientError

from infrastructure.deploying.account import Account, Refused, code_of
from infrastructure.deploying.cloudformation import Stack
from infrastructure.deploying.stacks import Stacks

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


def run_image(stacks: Stacks, tag: str) -> str:
    """Let the containers run the image of a release; as they are, where it was never pushed. Raises StackFailed."""
    account = stacks.account
    if not _is_there(account, tag):
        return f"as they are: there is no image {tag}"
    # In the name of the role that the stack was changed by last.
    runtime = Stack(account, f"{account.stage.prefix}-runtime", report=stacks.report, turn=stacks.turn)
    return tag if runtime.update_parameter(PARAMETER, tag) else "as they were"


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
