"""A stage that asks for everything, and says whose it is: all that a stage of ours may have. Read by conftest.py."""

import dataclasses

from infrastructure.config import STAGES

ALL = dataclasses.replace(
    STAGES["production"],
    account="210987654321",
    alarms_to="night@shop.example",
    domain="shop.example",
    hosted_zone="Z0123456789ABCDEFGHIJ",
    mail_from="Shop <hello@shop.example>",
    front_ends=("https://www.shop.example", "https://staff.shop.example:8443"),
    apps=("example.shop.app://signed-in",),
    interface_endpoints=("sqs", "secretsmanager"),
    batch=True,
    shared_files=True,
    tracing_layer="arn:aws:lambda:eu-north-1:123456789012:layer:tracing:1",
)
