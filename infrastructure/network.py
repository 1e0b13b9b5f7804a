"""The network of a stage: subnets over three zones, the way out, and who may speak to whom."""

from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_wafv2 as waf
from constructs import Construct

from infrastructure.config import ZONES, Stage
from infrastructure.parts import accept, log_group

PRIVATE, DATA = "private", "data"
HTTPS, NFS, POSTGRES, VALKEY = 443, 2049, 5432, 6379


def peers_of(stage: Stage) -> Mapping[tuple[str, str], int]:
    """Whom each group may speak to, and on which port: what a stage does without has no group."""
    ours = ("web", "worker", *(["batch"] if stage.batch else []))
    found = {("worker", "database"): POSTGRES}  # migrations go past the proxy
    if stage.proxied:
        found |= {("proxy", "database"): POSTGRES} | {(group, "proxy"): POSTGRES for group in ours}
    else:
        found |= {(group, "database"): POSTGRES for group in ours}
    if stage.cached:
        found |= {(group, "cache"): VALKEY for group in ours}
    if stage.shared_files:
        found |= {("batch", "files"): NFS}
    if stage.interface_endpoints:
        found |= {(group, "endpoints"): HTTPS for group in ours}
    return found


class Network(cdk.Stack):
    """The VPC and its security groups. All rules between the groups stand here: no stack edits another's."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        stage: Stage,
        key: kms.IKey,
        **stack: Any,
    ) -> None:
        super().__init__(scope, name, **stack)
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            vpc_name=self.stack_name,
            ip_addresses=ec2.IpAddresses.cidr(stage.cidr),
            availability_zones=list(ZONES),
            nat_gateways=stage.nat_gateways,
            restrict_default_security_group=False,  # it would need a function of CDK's own; nothing is in that group
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="egress", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=24, map_public_ip_on_launch=False
                ),
                ec2.SubnetConfiguration(name=PRIVATE, subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS, cidr_mask=20),
                ec2.SubnetConfiguration(name=DATA, subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=24),
            ],
        )
        accept(
            self.vpc,
            {
                "VPCDefaultSecurityGroupClosed": "Nothing is in that group; closing it takes a function of CDK's own",
                "VPCNoUnrestrictedRouteToIGW": "The public subnets hold the NAT gateways, and nothing else",
                "IAMNoInlinePolicy": "The policy of the one role that writes flow logs, made and deleted with it",
            },
        )
        for service in ("S3", "DYNAMODB"):
            self.vpc.add_gateway_endpoint(service, service=getattr(ec2.GatewayVpcEndpointAwsService, service))
        peers = peers_of(stage)
        self._groups = {group: self._group(group) for group in dict.fromkeys(sum(peers, ()))}
        for (speaker, listener), port in peers.items():
            mine, theirs = self._groups[speaker], self._groups[listener]
            mine.add_egress_rule(theirs, ec2.Port.tcp(port), f"to {listener}")
            theirs.add_ingress_rule(mine, ec2.Port.tcp(port), f"from {speaker}")
        for group in sorted(self._groups.keys() & {"web", "worker", "batch"}):
            # HTTPS only: AWS, Stripe, Cognito, webhooks, by NAT and the endpoints.
            self._groups[group].add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(HTTPS), "to AWS and to partners")
        for service in stage.interface_endpoints:
            self._endpoint(service)
        self._log_flows(stage.log_days, key)
        self.own_addresses = self._own_addresses() if stage.sign_in_guarded else ""

    def group(self, scope: Construct, name: str) -> ec2.ISecurityGroup:
        """A group for use in another stack, which cannot change it."""
        mine = self._groups[name].security_group_id
        return ec2.SecurityGroup.from_security_group_id(scope, f"{name.capitalize()}Group", mine, mutable=False)

    def _group(self, name: str) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(
            self,
            name.capitalize(),
            vpc=self.vpc,
            security_group_name=f"{self.stack_name}-{name}",
            description=f"What {name} may speak to and be asked by",
            allow_all_outbound=False,
        )

    def _endpoint(self, service: str) -> None:
        """An address of an AWS service inside of the private subnets."""
        self.vpc.add_interface_endpoint(
            service.replace(".", "-"),
            service=ec2.InterfaceVpcEndpointAwsService(service),
            private_dns_enabled=True,
            open=False,  # to nobody but the groups that are its peers
            security_groups=[self._groups["endpoints"]],
            subnets=ec2.SubnetSelection(subnet_group_name=PRIVATE),
        )

    def _own_addresses(self) -> str:
        """By which the functions leave: a set for a firewall of the region, by its ARN."""
        addresses = [each for each in self.vpc.node.find_all() if isinstance(each, ec2.CfnEIP)]
        found = waf.CfnIPSet(
            self,
            "OwnAddresses",
            name=f"{self.stack_name}-own",
            description="The NAT gateways",
            scope="REGIONAL",
            ip_address_version="IPV4",
            addresses=[cdk.Fn.join("", [each.ref, "/32"]) for each in addresses],
        )
        return str(found.attr_arn)

    def _log_flows(self, days: int, key: kms.IKey) -> None:
        group = log_group(self, "FlowLogs", f"/{self.stack_name}/flows", days=days, key=key)
        self.vpc.add_flow_log("Flows", destination=ec2.FlowLogDestination.to_cloud_watch_logs(group))
