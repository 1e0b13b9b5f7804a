"""The roles of PostgreSQL, made on AWS: through the RDS Data API, as the cluster's master."""

import time

from botocore.exceptions import ClientError

from infrastructure.database_roles import DATABASE, statements
from infrastructure.deploying.account import Account, Refused, code_of

RESUMES = 60  # seconds within which a cluster that sleeps is back
PAUSE = 2
# https://docs.aws.amazon.com/rdsdataservice/latest/APIReference/API_ExecuteStatement.html
ASLEEP = {"DatabaseResumingException", "DatabaseUnavailableException"}


def make_roles(account: Account) -> str:
    """Run every statement, each by itself: all of them may run again. Raises Refused where there is no cluster."""
    name = f"{account.stage.prefix}-database"
    try:
        (cluster,) = account.client("rds").describe_db_clusters(DBClusterIdentifier=name)["DBClusters"]
        secret = cluster["MasterUserSecret"]["SecretArn"]
    except (ClientError, KeyError) as error:
        raise Refused(f"The cluster {name} or its master's secret is not there: {error}.") from None
    all_of_them = list(statements(proxied=account.stage.proxied))
    for sql in all_of_them:
        _execute(account, resourceArn=cluster["DBClusterArn"], secretArn=secret, database=DATABASE, sql=sql)
    return f"{len(all_of_them)} statements"


def _execute(account: Account, **asked: str) -> None:
    deadline = time.monotonic() + RESUMES
    while True:
        try:
            account.client("rds-data").execute_statement(**asked)
        except ClientError as error:
            if code_of(error) not in ASLEEP or time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)
        else:
            return
