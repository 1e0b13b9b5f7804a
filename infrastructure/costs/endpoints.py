"""Where an interface endpoint costs less than NAT: config.py's `interface_endpoints` are read off this.

NAT stays in any case: the payment provider, webhooks, Cognito and the websocket API are outside of every endpoint. So
an endpoint saves only what NAT takes for each GB, and costs its hours in every zone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from infrastructure.config import ZONES
from infrastructure.costs.bill import GATEWAYS, GB
from infrastructure.costs.prices import HOURS, prices
from infrastructure.costs.usage import Traced, Usage, traced

# Websocket APIs are asked over the internet alone; the endpoint is for private REST APIs:
# https://docs.aws.amazon.com/whitepapers/latest/best-practices-api-gateway-private-apis-integration/websocket-api.html
OUTSIDE = {"execute-api"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The endpoint of a service: its traffic a month, and how much it must be to pay."""

    service: str
    gb: Decimal
    even_gb: Decimal
    even_orders: Decimal | None  # orders a month that make so much; None where an order makes none

    @property
    def pays(self) -> bool:
        """Whether it costs less than NAT."""
        return self.gb > self.even_gb


def break_even(zones: int = len(ZONES)) -> Decimal:
    """GB a month from which on an endpoint in so many zones costs less than NAT."""
    table = prices().of
    return zones * HOURS * table["endpoint-hour"].usd / (table["nat-gb"].usd - table["endpoint-gb"].usd)


def endpoints(usage: Usage, order: Traced | None = None) -> Sequence[Endpoint]:
    """Every service that an order speaks to by NAT and could by an endpoint, the one with the most traffic first."""
    order = order or traced()
    even = break_even()
    found = [
        Endpoint(
            service,
            usage.orders * calls.bytes / GB,
            even,
            (even * GB / calls.bytes).quantize(Decimal(1)) if calls.bytes else None,
        )
        for service, calls in order.calls.items()
        if service not in GATEWAYS | OUTSIDE
    ]
    return sorted(found, key=lambda each: (-each.gb, each.service))
