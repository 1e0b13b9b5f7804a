"""Deploys the shop to the local AWS with Zappa's own command, runs the deployed zip in AWS's runtime, and drives it.

`make rehearse`, or `python -m infrastructure.rehearsal [--small]`. Ends with a table: step, seconds, verdict. Nothing
is left of it, also when it is interrupted.
"""

import argparse
import contextlib
import os
import platform
import signal
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infrastructure import package as packages
from infrastructure.rehearsal.account import Account
from infrastructure.rehearsal.deployed import Deployed, Engines
from infrastructure.rehearsal.journey import journey
from infrastructure.rehearsal.visitors import Web
from infrastructure.rehearsal.zappa import Zappa
from vibecode.local import ports
from vibecode.local.certificates import Authority
from vibecode.local.fleet import Fleet, serve
from vibecode.local.folder import CannotStart, LocalFolder
from vibecode.local.names import REGION
from vibecode.local.parts import Parts
from vibecode.local.postgres import Postgres
from vibecode.local.public_origin import Origins, PublicOrigin
from vibecode.local.rest_gateway import Api, RestGateway
from vibecode.local.sandboxes import install_runtime
from vibecode.local.shop import (
    CARRIED,
    OTHER_ACCOUNT,
    Process,
    local_aws,
    payments,
    postgres,
    starting_environment,
    websocket,
)
from vibecode.local.web_server import serving
from vibecode.resources import LOCAL_ACCOUNT

STAGE = "dev"


class Report:
    """The steps as they are taken, and their table."""

    def __init__(self) -> None:
        self.console = Console()
        self._rows: list[tuple[str, float, str]] = []

    def step[T](self, name: str, take: Callable[[], T]) -> T:
        """Take one; its line appears when it is done. What it says (a string) stands beside it."""
        began = time.monotonic()
        self.console.print(f"[dim]…[/] {name}", end="\r")
        try:
            result = take()
        except BaseException:
            self._rows.append((name, time.monotonic() - began, "FAILED"))
            raise
        said = result if isinstance(result, str) else ""
        self._rows.append((name, time.monotonic() - began, f"ok{': ' if said else ''}{said}"))
        self.console.print(f"[green]✓[/] {name} [dim]{self._rows[-1][1]:.1f} s[/]")
        return result

    def table(self) -> Table:
        """All of them."""
        table = Table(title="The rehearsal")
        table.add_column("step")
        table.add_column("seconds", justify="right")
        table.add_column("verdict", overflow="fold")
        for name, seconds, verdict in self._rows:
            table.add_row(name, f"{seconds:.1f}", escape(verdict), style="red" if verdict == "FAILED" else None)
        return table


def rehearse(report: Report, folder: Path, *, small: bool, package: Path | None) -> None:
    """All of it, in a folder that is empty, with a package that is there or a new one. Raises what goes wrong first."""
    with contextlib.ExitStack() as stack:
        runtime_port, public_port = ports.free_port(), ports.free_port()
        parts = report.step("the local cloud starts", lambda: stack.enter_context(engines(folder, runtime_port)))
        account = Account(STAGE, parts.environment["AWS_ENDPOINT_URL"])
        zappa = Zappa(STAGE, folder, machine(), parts.environment)
        public = f"https://{ports.HOST}:{public_port}"
        database = account.make_database(parts.environment["DATABASE_URL"])
        told = {
            name: parts.environment[name]
            for name in ("WEBSOCKET_URL", "WEBSOCKET_API_URL", "DEMO_PAYMENTS_URL", "OIDC_ISSUER")
        }
        document = report.step(
            "the infrastructure hands over", lambda: account.hand_over(public_url=public, database=database, **told)
        )
        zappa.take(document)
        first = report.step("zappa package", lambda: package or build(folder / "first", "first"))
        for name in zappa.functions:
            report.step(f"zappa deploy {name}", partial(zappa.deploy, name, first))
        fleet = Fleet(account.endpoint, folder / "fleet")
        stack.enter_context(serve(fleet, runtime_port))
        report.step("static files", lambda: f"{account.publish_static(first)} files")
        report.step("the stack after Zappa", lambda: f"{account.integrate()} queues")
        api = Api.found_in(account.client("apigateway"), f"vibecode-{STAGE}", region=REGION, account=LOCAL_ACCOUNT)
        trust, gateway_port = stack.enter_context(doors(folder, api, fleet, account, public_port))
        shop = Deployed(
            account=account,
            fleet=fleet,
            api=api,
            document=document,
            zappa=zappa,
            engines=Engines(parts),
            public=Web(public, trust),
            bare=Web(f"https://{ports.HOST}:{gateway_port}/{STAGE}", trust, api.host),
            first=first,
            second=lambda: (
                packages.rename(first, folder / "second.zip", "second")
                if package
                else build(folder / "second", "second")
            ),
        )
        for name, take in journey(shop, small=small):
            report.step(name, take)


@contextlib.contextmanager
def engines(folder: Path, runtime_port: int) -> Iterator[Parts]:
    """PostgreSQL, the local AWS of the stage, the payment provider, the websocket API, and who signs staff in."""
    local = LocalFolder(folder / "local")
    local.make()
    given = {name: value for name, value in os.environ.items() if name not in CARRIED}
    given |= {
        "STAGE": STAGE,
        "LAMBDA_RUNTIME_URL": f"http://{ports.HOST}:{runtime_port}",
        "MAIL_FROM": "Shop <orders@shop.example>",
    }
    environment = starting_environment(local, given)
    Postgres(local.postgres, master=True).prepare()
    rows = [postgres(local.postgres), local_aws(local.aws, STAGE), payments(local.payments), websocket(local)]
    rows.append(sign_in_pages())
    with Parts(rows, local, environment) as parts:
        parts.start("postgres", "aws", "payments", "websocket", "sign-in")
        yield parts


def sign_in_pages() -> Process:
    """An OpenID provider in the place of Cognito's hosted pages, which the local AWS has none of."""
    return Process(
        name="sign-in",
        doing="Starting the OpenID provider",
        command=lambda port: [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)],
        is_ready=lambda _, port: ports.answers(port, "/.well-known/openid-configuration"),
        gives=lambda port: {"OIDC_ISSUER": f"http://{ports.HOST}:{port}"},
    )


@contextlib.contextmanager
def doors(
    folder: Path, api: Api, fleet: Fleet, account: Account, public_port: int
) -> Iterator[tuple[ssl.SSLContext, int]]:
    """API Gateway, and the public origin before it; what clients trust, and the gateway's port."""
    authority = Authority(folder, "rehearsal")
    gateway = RestGateway(ports.free_port(), api, fleet.invoke, authority.server(ports.HOST))
    gateway_port = gateway.server_address[1]
    origins = Origins(
        gateway_port=gateway_port,
        stage=api.stage,
        host=api.host,
        trust=authority.trust(),
        s3=account.client("s3"),
        buckets={"static": account.static_bucket, "media": account.media_bucket},
        secret=account.origin_secret,
    )
    public = PublicOrigin(public_port, origins, authority.server(ports.HOST))
    with serving(gateway), serving(public):
        yield authority.trust(), gateway_port


def build(folder: Path, release: str) -> Path:
    """The package of the stage for this machine, made by `zappa package`, as a release of this name."""
    return packages.build(STAGE, machine(), folder, lambda _: None, release=release)


def machine() -> str:
    """This machine's processor, as Lambda calls it."""
    return {"aarch64": "arm64"}.get(platform.machine(), "x86_64")


def main() -> int:
    """Rehearse and print the table; 1 where a step failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="leave out what takes its time: sleep and cold starts")
    parser.add_argument(
        "--package", type=Path, help="a package of this stage and machine; under another name also the second release"
    )
    arguments = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("The rehearsal runs Lambda's own runtime, which is made for Linux.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for name in OTHER_ACCOUNT:  # boto3 here speaks with the local AWS alone, and through no proxy
        os.environ.pop(name, None)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ports.HOST
    report, failure = Report(), ""
    with tempfile.TemporaryDirectory(prefix="vibecode-rehearsal-") as folder:
        try:
            install_runtime()
            Path(folder).chmod(0o711)  # PostgreSQL runs as somebody else where we are root
            rehearse(report, Path(folder), small=arguments.small, package=arguments.package)
        except CannotStart as error:
            failure = f"Cannot start: {error}"
        except KeyboardInterrupt:
            failure = "Interrupted."
        except Exception as error:  # noqa: BLE001 -- the table is shown whatever went wrong
            failure = f"{type(error).__name__}: {error}"
            for log in sorted(Path(folder).glob("fleet/*.log")):
                last = log.read_text(errors="replace")[-4000:]
                report.console.print(f"The last lines of {log.name}:\n{last}", markup=False)
    report.console.print(report.table())
    if failure:
        report.console.print(failure, style="red", markup=False, highlight=False)
    return int(bool(failure))


if __name__ == "__main__":
    sys.exit(main())
