"""The engine vibecode.db: waits for a database that sleeps, signs in anew, knows who answers, shares what is scarce."""

import importlib
import json
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from django.conf import settings as django_settings
from django.contrib.auth.models import Permission
from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import ConnectionHandler
from pytest_django import DjangoDbBlocker

from tests.in_process import FULL
from tests.over_http import together
from tests.platform.fronts import Front
from tests.platform.logs import read_log
from vibecode import aws
from vibecode.db import credentials
from vibecode.db.snapshots import keep_out_of_snapshots
from vibecode.local.certificates import Authority
from vibecode.local.postgres import Postgres

type Engine = BaseDatabaseWrapper
ROOTS = Path(credentials.__file__).with_name("aurora-ca.pem")


class Server:
    """A PostgreSQL of this module's own, with few connections, whose role changes its password."""

    def __init__(self, folder: Path) -> None:
        self.postgres = Postgres(folder, durable=False, connections=50)
        address = urlsplit(self.postgres.start())
        self.port, self.password = int(address.port or 0), str(address.password)
        self.engines: list[Engine] = []

    def entry(self, port: int = 0, **more: Any) -> dict[str, Any]:
        """An entry of DATABASES that leads there."""
        return {
            **django_settings.DATABASES["default"],
            "NAME": "vibecode",
            "USER": "vibecode",
            "PASSWORD": self.password,
            "HOST": "127.0.0.1",
            "PORT": str(port or self.port),
            "OPTIONS": {},
            "SIGN_IN": "",
            "RESUME_SECONDS": 4,
            **more,
        }

    def engine(self, port: int = 0, **more: Any) -> Engine:
        """A sandbox's connection, not opened yet."""
        made: Engine = ConnectionHandler({"default": self.entry(port, **more)})["default"]
        made.inc_thread_sharing()  # closed by this thread, whoever uses it
        self.engines.append(made)
        return made

    def close(self) -> None:
        """End every sandbox's connection."""
        while self.engines:
            self.engines.pop().close()

    def change_password(self) -> None:
        """What rotation does."""
        new = uuid.uuid4().hex
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="vibecode", password=self.password, dbname="vibecode"
        ) as connection:
            connection.execute(f"ALTER ROLE CURRENT_USER PASSWORD '{new}'")
        self.password = new


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server."""
    made = Server(tmp_path_factory.mktemp("engine") / "postgres")
    yield made
    made.postgres.stop()


@pytest.fixture(autouse=True)
def _allowed(server: Server, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The connections of this module are its own, and so is their database."""
    with django_db_blocker.unblock():
        yield
        server.close()


@pytest.fixture
def front(server: Server) -> Iterator[Front]:
    """A front before it."""
    with Front(server.port) as listening:
        yield listening


def ask(engine: Engine) -> int:
    """A request's work: one statement, then what Django does at its end."""
    with engine.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid(), pg_sleep(0.01)")
        pid = int(cursor.fetchone()[0])
    engine.close_if_unusable_or_obsolete()
    return pid


# --- asleep ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("silent", [True, False], ids=["nobody answers", "sent away"])
def test_a_database_that_resumes_in_time_is_waited_for(server: Server, front: Front, silent: bool) -> None:
    asleep, patience = (12.0, 25) if FULL else (1.2, 6)
    engine = server.engine(front.port, RESUME_SECONDS=patience)
    front.sleep(asleep, silent=silent)

    with read_log() as lines:
        assert ask(engine)

    (waited,) = (line["DatabaseWait"] for line in lines if "DatabaseWait" in line)
    assert waited >= asleep - 1


def test_after_a_wait_in_vain_the_next_is_refused_at_once_for_a_second(server: Server, front: Front) -> None:
    engine = server.engine(front.port, RESUME_SECONDS=3)
    front.sleep(60, silent=False)

    with read_log() as lines, pytest.raises(OperationalError):
        ask(engine)
    met = front.met
    assert met > 1, "it was tried more than once"
    assert sum(line.get("DatabaseAway", 0) for line in lines) == 1
    with pytest.raises(OperationalError, match="a moment ago"):
        ask(engine)
    assert front.met == met, "nobody was asked"

    front.sleep(0, silent=False)
    time.sleep(1.1)
    assert ask(engine)


# --- signing in ------------------------------------------------------------------------------------------------------
def test_a_wrong_password_is_not_tried_again(server: Server, front: Front) -> None:
    with pytest.raises(OperationalError, match="password authentication failed"):
        ask(server.engine(front.port, PASSWORD="wrong"))

    assert front.met == 1


@pytest.mark.parametrize("more", [{"NAME": "nowhere"}, {"USER": "nobody"}, {"OPTIONS": {"sslmode": "require"}}])
def test_what_waiting_does_not_mend_is_refused_at_once(server: Server, front: Front, more: dict[str, Any]) -> None:
    with pytest.raises(OperationalError):
        ask(server.engine(front.port, **more))

    assert front.met == 1


@pytest.fixture
def secret(server: Server) -> Iterator[Callable[[], str]]:
    """Write the server's password into a secret of AWS; its ARN."""
    manager = aws.client("secretsmanager")
    arn = manager.create_secret(Name=f"vibecode-test/{uuid.uuid4().hex}", SecretString="{}")["ARN"]

    def keep() -> str:
        login = {"username": "vibecode", "password": server.password}
        manager.put_secret_value(SecretId=arn, SecretString=json.dumps(login))
        return arn

    aws.secret.cache_clear()
    yield keep
    aws.secret.cache_clear()


def test_a_password_that_was_rotated_between_two_requests_is_fetched_anew(
    server: Server, front: Front, secret: Callable[[], str]
) -> None:
    engine = server.engine(front.port, SIGN_IN=secret(), PASSWORD="")
    assert ask(engine)
    engine.close()
    server.change_password()
    secret()

    assert ask(engine)

    assert front.met == 3, "the old password once, then the new one"


def test_a_secret_that_is_wrong_itself_is_read_anew_once(
    server: Server, front: Front, secret: Callable[[], str]
) -> None:
    arn = secret()
    server.change_password()

    with pytest.raises(OperationalError, match="password authentication failed"):
        ask(server.engine(front.port, SIGN_IN=arn, PASSWORD=""))

    assert front.met == 2


def test_a_token_of_iam_is_the_one_that_boto3_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    import botocore.auth
    from botocore.session import Session

    moment = datetime(2026, 11, 24, 10, 11, 12, tzinfo=UTC)
    keys: Any = {
        "aws_access_key_id": "AKIDEXAMPLE",
        "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    }
    session = "FwoGZXIvYXdzE+/=="
    for name, value in {**keys, "aws_session_token": session, "aws_region": "eu-north-1"}.items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: moment.replace(tzinfo=None))
    rds: Any = Session().create_client("rds", region_name="eu-north-1", aws_session_token=session, **keys)
    theirs = rds.generate_db_auth_token(
        DBHostname="shop.cluster-x.eu-north-1.rds.amazonaws.com", Port=5432, DBUsername="vibecode_app"
    )

    ours = credentials.iam_token("shop.cluster-x.eu-north-1.rds.amazonaws.com", 5432, "vibecode_app", moment=moment)

    host, _, query = theirs.partition("/?")
    assert ours.partition("/?")[0] == host
    assert sorted(ours.partition("/?")[2].split("&")) == sorted(query.split("&"))


def test_with_iam_every_connection_has_a_token_of_its_own(
    server: Server, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "iam_token", lambda *_, **__: server.password)  # the server knows no IAM
    engine = server.engine(front.port, SIGN_IN="iam", PASSWORD="")
    assert ask(engine)
    engine.close()
    server.change_password()

    assert ask(engine)

    assert front.met == 2


# --- who answers -----------------------------------------------------------------------------------------------------
@pytest.fixture
def authorities(tmp_path: Path) -> tuple[Authority, Authority, Path]:
    """One for the cluster, one for the proxy, and the bundle of both."""
    cluster, proxy = Authority(tmp_path, "cluster"), Authority(tmp_path, "proxy")
    bundle = tmp_path / "roots.pem"
    bundle.write_bytes(cluster.pem + proxy.pem)
    return cluster, proxy, bundle


def over_tls(bundle: Path, mode: str = "verify-full") -> dict[str, Any]:
    """The options of a real stage."""
    return {"OPTIONS": {"sslmode": mode, "sslrootcert": str(bundle)}}


@pytest.mark.parametrize("which", [0, 1], ids=["cluster", "proxy"])
def test_a_server_that_proves_itself_is_spoken_to(
    server: Server, authorities: tuple[Authority, Authority, Path], which: int
) -> None:
    *both, bundle = authorities
    with Front(server.port, tls=both[which].server("127.0.0.1")) as secured:
        engine = server.engine(secured.port, **over_tls(bundle))
        assert ask(engine)


@pytest.mark.parametrize(
    ("host", "known"), [("127.0.0.1", False), ("other.example", True)], ids=["unknown authority", "another's name"]
)
def test_a_server_that_does_not_prove_itself_learns_nothing_and_is_not_asked_again(
    server: Server, authorities: tuple[Authority, Authority, Path], tmp_path: Path, host: str, known: bool
) -> None:
    cluster, _, bundle = authorities
    authority = cluster if known else Authority(tmp_path, "stranger")
    with Front(server.port, tls=authority.server(host)) as secured:
        with pytest.raises(OperationalError, match="certificate"):
            ask(server.engine(secured.port, **over_tls(bundle)))

        assert secured.met == 1
        assert secured.heard == b""


def test_a_server_without_tls_is_refused(server: Server, front: Front, tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_bytes(Authority(tmp_path, "any").pem)

    with pytest.raises(OperationalError, match="does not support SSL"):
        ask(server.engine(front.port, **over_tls(roots)))

    assert server.password.encode() not in front.heard


def test_the_bundle_holds_the_roots_of_clusters_and_of_proxies_and_nothing_else() -> None:
    with warnings.catch_warnings():
        # Starfield's has the serial number 0, to which OpenSSL does not object.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        roots = x509.load_pem_x509_certificates(ROOTS.read_bytes())
    names = {str(root.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value) for root in roots}

    for root in roots:
        root.verify_directly_issued_by(root)
        assert root.not_valid_after_utc > datetime(2035, 1, 1, tzinfo=UTC)
    kinds = ("RSA2048", "RSA4096", "ECC384")
    for region in ("eu-north-1", "eu-west-1", "eu-central-1", "us-east-1"):
        assert {f"Amazon RDS {region} Root CA {kind} G1" for kind in kinds} <= names
    others = {name for name in names if not name.startswith("Amazon RDS ")}
    assert others == {f"Amazon Root CA {n}" for n in range(1, 5)} | {
        "Starfield Services Root Certificate Authority - G2"
    }


# --- few connections -------------------------------------------------------------------------------------------------
def test_a_hundred_sandboxes_share_fifty_connections_and_no_request_is_lost(server: Server) -> None:
    requests = 20 if FULL else 4

    def sandbox() -> list[int]:
        engine = server.engine(RESUME_SECONDS=20)
        return [ask(engine) for _ in range(requests)]

    with read_log() as lines:
        answers = together([sandbox] * 100)

    assert [len(pids) for pids in answers] == [requests] * 100
    kept = [pids for pids in answers if len(set(pids)) == 1]
    assert 0 < len(kept) <= 50, "who came first keeps theirs"
    assert sum(line.get("DatabaseCrowded", 0) for line in lines) >= 50


def test_while_there_is_room_a_connection_is_kept_and_asked_whether_it_lives(server: Server) -> None:
    engine = server.engine()
    first = ask(engine)
    assert ask(engine) == first
    with psycopg.connect(
        host="127.0.0.1", port=server.port, user="vibecode", password=server.password, dbname="vibecode"
    ) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [first])
    engine.close_if_unusable_or_obsolete()

    assert ask(engine) != first


# --- what would pin a proxy's connection -----------------------------------------------------------------------------
def test_nothing_is_said_that_pins_a_connection_of_the_proxy(
    db: None, server: Server, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is that of https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/rds-proxy-pinning.html."""
    engine = server.engine(front.port, PROXIED=True)
    for _ in range(8):  # psycopg would prepare what it has seen five times
        with engine.cursor() as cursor:
            cursor.execute("SELECT name FROM pg_timezone_names WHERE name = %s", ["Europe/London"])
    said = bytes(front.heard).upper()

    for word in (b"SET ", b"SET_CONFIG", b"PREPARE", b"_PG3_", b"DECLARE", b"LISTEN", b"ADVISORY", b"OPTIONS\x00"):
        assert word not in said, word
    monkeypatch.setattr(connection, "chunked_cursor", None)  # a cursor of the server's
    assert list(Permission.objects.iterator(chunk_size=2))
    assert b"PG_STAT_DATABASE" not in said, "a proxy's connections are not ours to count"


# --- snapshots -------------------------------------------------------------------------------------------------------
def test_no_connection_is_in_a_snapshot_and_a_restored_sandbox_has_its_own(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot_restore_py = importlib.import_module("snapshot_restore_py")  # as Lambda's runtime has it; untyped
    before: list[Any] = []
    after: list[Any] = []
    monkeypatch.setattr(snapshot_restore_py, "_before_snapshot_registry", before)
    monkeypatch.setattr(snapshot_restore_py, "_after_restore_registry", after)
    keep_out_of_snapshots()
    connection.ensure_connection()

    for hook, arguments, named in before:
        hook(*arguments, **named)
    assert connection.connection is None

    for hook, arguments, named in after:
        hook(*arguments, **named)
    assert connection.is_usable()
