"""The websocket API: three routes, all of them the worker's, which is known by its name before Zappa makes it.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api.html
"""

import json
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_route53 as route53
from constructs import Construct

from infrastructure.config import Stage
from infrastructure.parts import accept, log_group, managed, zone_of
from vibecode.resources import ROUTES, Resources

# Connects and words a second. Each is an invocation of the worker, and nobody speaks more than once in ten minutes.
RATE, BURST = 100, 200
LOGGING_POLICY = "service-role/AmazonAPIGatewayPushToCloudWatchLogs"
# No query: a ticket stands there.
LOGGED = {
    "requestId": "$context.requestId",
    "time": "$context.requestTime",
    "route": "$context.routeKey",
    "event": "$context.eventType",
    "status": "$context.status",
    "connection": "$context.connectionId",
    "address": "$context.identity.sourceIp",
    "error": "$context.error.message",
    "integration": "$context.integrationErrorMessage",
}


class Live(cdk.Stack):
    """What customers connect to, and what the worker pushes through."""

    def __init__(
        self, scope: Construct, name: str, *, stage: Stage, resources: Resources, key: kms.IKey, **stack: Any
    ) -> None:
        super().__init__(scope, name, **stack)
        self._stage_name = stage.name
        self._api = apigatewayv2.CfnApi(
            self,
            "Api",
            name=f"{stage.prefix}-live",
            protocol_type="WEBSOCKET",
            route_selection_expression="$request.body.action",  # required; whatever is said goes to $default
        )
        routes = self._routes(resources.worker_arn)
        deployed = self._deploy(stage, key, routes)
        self.url = f"wss://{self._address(stage, deployed)}"
        self.connections_url = f"https://{self._host}/{stage.name}"
        cdk.CfnOutput(self, "WebsocketUrl", value=self.url, description="What customers connect to")
        cdk.CfnOutput(self, "ConnectionsUrl", value=self.connections_url, description="Where the worker pushes")

    @property
    def connections_arn(self) -> str:
        """What a role needs execute-api:ManageConnections on: it pushes to connections and closes them."""
        return self._arn("*/@connections/*")

    def route_arn(self, route: str) -> str:
        """A route, as Lambda is told who invokes it."""
        return self._arn(route)

    def _arn(self, below: str) -> str:
        return f"arn:aws:execute-api:{self.region}:{self.account}:{self._api.ref}/{self._stage_name}/{below}"

    @property
    def _host(self) -> str:
        return f"{self._api.ref}.execute-api.{self.region}.amazonaws.com"

    def _routes(self, worker_arn: str) -> list[apigatewayv2.CfnRoute]:
        """Every route is the worker's; who connects is known by a ticket, which the worker asks for."""
        worker = apigatewayv2.CfnIntegration(
            self,
            "Worker",
            api_id=self._api.ref,
            integration_type="AWS_PROXY",
            integration_uri=(
                f"arn:aws:apigateway:{self.region}:lambda:path/2015-03-31/functions/{worker_arn}/invocations"
            ),
        )
        routes = [
            apigatewayv2.CfnRoute(
                self,
                f"{route.removeprefix('$').capitalize()}Route",
                api_id=self._api.ref,
                route_key=route,
                authorization_type="NONE",
                target=f"integrations/{worker.ref}",
            )
            for route in ROUTES
        ]
        for route in routes:
            accept(route, {"APIG4": "The worker asks $connect for a ticket of one use, which a signed-in customer got"})
        return routes

    def _deploy(self, stage: Stage, key: kms.IKey, routes: list[apigatewayv2.CfnRoute]) -> apigatewayv2.CfnStage:
        logs = log_group(self, "Logs", f"/{stage.prefix}/live", days=stage.log_days, key=key)
        may_log = self._may_log()
        deployed = apigatewayv2.CfnStage(
            self,
            "Stage",
            api_id=self._api.ref,
            stage_name=stage.name,
            auto_deploy=True,
            default_route_settings=apigatewayv2.CfnStage.RouteSettingsProperty(
                throttling_rate_limit=RATE,
                throttling_burst_limit=BURST,
                detailed_metrics_enabled=True,
                data_trace_enabled=False,  # it would log tickets
            ),
            access_log_settings=apigatewayv2.CfnStage.AccessLogSettingsProperty(
                destination_arn=logs.log_group_arn, format=json.dumps(LOGGED)
            ),
        )
        for first in (may_log, *routes):
            deployed.add_resource_dependency(first)
        return deployed

    def _may_log(self) -> apigateway.CfnAccount:
        """API Gateway writes the logs of an account's APIs by one role: that of the stage that was deployed last.

        So each stage's may write those of all (GATEWAY_LOGS in deploying_rights.py, by the name that CloudFormation
        makes of stack and role: with one of ours, a role that was kept would be in the way of the next).
        """
        role = iam.Role(
            self,
            "GatewayLogs",
            assumed_by=iam.ServicePrincipal("apigateway.amazonaws.com"),
            managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name(LOGGING_POLICY)],
        )
        accept(
            role, {managed(LOGGING_POLICY): "AWS's own policy for the logs of API Gateway: it asks for exactly this"}
        )
        account = apigateway.CfnAccount(self, "Gateway", cloud_watch_role_arn=role.role_arn)
        for kept in (role, account):  # another stage's logs may go by them
            kept.apply_removal_policy(cdk.RemovalPolicy.RETAIN)
        return account

    def _address(self, stage: Stage, deployed: apigatewayv2.CfnStage) -> str:
        """What follows wss://, at the stage's domain where it has one."""
        if not stage.domain:
            return f"{self._host}/{stage.name}"
        domain = f"live.{stage.domain}"
        zone = zone_of(self, stage)
        certificate = acm.Certificate(
            self, "Certificate", domain_name=domain, validation=acm.CertificateValidation.from_dns(zone)
        )
        cdk.CfnOutput(self, "LiveCertificateArn", value=certificate.certificate_arn, description=f"Of {domain}")
        name = apigatewayv2.CfnDomainName(
            self,
            "Domain",
            domain_name=domain,
            domain_name_configurations=[
                apigatewayv2.CfnDomainName.DomainNameConfigurationProperty(
                    certificate_arn=certificate.certificate_arn, endpoint_type="REGIONAL", security_policy="TLS_1_2"
                )
            ],
        )
        mapping = apigatewayv2.CfnApiMapping(
            self, "Mapping", api_id=self._api.ref, domain_name=name.ref, stage=deployed.ref
        )
        mapping.add_resource_dependency(deployed)
        route53.CfnRecordSet(
            self,
            "Record",
            hosted_zone_id=zone.hosted_zone_id,
            name=domain,
            type="A",
            alias_target=route53.CfnRecordSet.AliasTargetProperty(
                dns_name=name.attr_regional_domain_name, hosted_zone_id=name.attr_regional_hosted_zone_id
            ),
        )
        return domain
