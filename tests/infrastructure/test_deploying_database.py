"""How the Data API is told to make roles, by stubbed_aws.py. What they may then: test_database_roles.py."""

import pytest

from infrastructure.config import REGION
from infrastructure.database_roles import statements
from infrastructure.deploying.database import make_roles
from tests.infrastructure.stubbed_aws import NUMBER, Aws


def test_the_roles_are_made_by_the_masters_secret_statement_by_statement_also_of_a_cluster_that_sleeps(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infrastructure.deploying.database.PAUSE", 0)
    cluster, secret = (
        f"arn:aws:rds:{REGION}:{NUMBER}:cluster:vibecode-dev-database",
        f"arn:aws:secretsmanager:{REGION}:1:x",
    )
    found = {"DBClusterArn": cluster, "MasterUserSecret": {"SecretArn": secret}}
    asked = {"DBClusterIdentifier": "vibecode-dev-database"}
    aws("rds").add_response("describe_db_clusters", {"DBClusters": [found]}, asked)
    said = [{"resourceArn": cluster, "secretArn": secret, "database": "vibecode", "sql": sql} for sql in statements()]
    data = aws("rds-data")
    data.add_client_error("execute_statement", "DatabaseResumingException", expected_params=said[0])
    for expected in said:
        data.add_response("execute_statement", {"numberOfRecordsUpdated": 0}, expected)

    assert make_roles(aws.account) == f"{len(said)} statements"
