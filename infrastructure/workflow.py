"""The order workflow: Step Functions runs infrastructure/order_workflow.asl.json, and may call the worker alone."""

from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infrastructure.parts import accept, log_group
from vibecode.resources import Resources

DEFINITION = Path(__file__).with_name("order_workflow.asl.json")
# Neither has resources. https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html#cloudwatch-iam-policy
LOGGING = (
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
)
# https://docs.aws.amazon.com/step-functions/latest/dg/concepts-xray-tracing.html#xray-iam
TRACING = (
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
)


class Workflow(cdk.Stack):
    """The state machine, its role and its log."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        resources: Resources,
        log_days: int,
        key: kms.IKey,
        **stack: Any,
    ) -> None:
        super().__init__(scope, name, **stack)
        role = iam.Role(
            self,
            "Role",
            role_name=f"{resources.prefix}-workflow",
            assumed_by=iam.ServicePrincipal(
                "states.amazonaws.com",
                conditions={
                    "StringEquals": {"aws:SourceAccount": self.account},
                    "ArnEquals": {"aws:SourceArn": resources.state_machine_arn},
                },
            ),
        )
        policy = self._policy(role, resources, key)
        # Services write to a group of this prefix without a resource policy that grows with each of them.
        log = log_group(self, "Log", f"/aws/vendedlogs/states/{resources.state_machine}", days=log_days, key=key)
        machine = sfn.CfnStateMachine(
            self,
            "Orders",
            state_machine_name=resources.state_machine,
            state_machine_type="STANDARD",
            role_arn=role.role_arn,
            definition_string=DEFINITION.read_text(),
            definition_substitutions={"WorkerArn": resources.worker_arn},
            encryption_configuration=sfn.CfnStateMachine.EncryptionConfigurationProperty(
                type="CUSTOMER_MANAGED_KMS_KEY", kms_key_id=key.key_arn, kms_data_key_reuse_period_seconds=300
            ),
            logging_configuration=sfn.CfnStateMachine.LoggingConfigurationProperty(
                destinations=[
                    sfn.CfnStateMachine.LogDestinationProperty(
                        cloud_watch_logs_log_group=sfn.CfnStateMachine.CloudWatchLogsLogGroupProperty(
                            log_group_arn=log.log_group_arn
                        )
                    )
                ],
                include_execution_data=False,  # answers of the steps may speak of people
                level="ALL",
            ),
            tracing_configuration=sfn.CfnStateMachine.TracingConfigurationProperty(enabled=True),
        )
        machine.node.add_dependency(policy)  # Step Functions tries the log before it makes the machine

    def _policy(self, role: iam.Role, resources: Resources, key: kms.IKey) -> iam.ManagedPolicy:
        policy = iam.ManagedPolicy(
            self,
            "Policy",
            managed_policy_name=f"{resources.prefix}-workflow",
            roles=[role],
            statements=[
                iam.PolicyStatement(
                    sid="StepsOfTheWorkflow", actions=["lambda:InvokeFunction"], resources=[resources.worker_arn]
                ),
                self._key_statement(
                    "ExecutionsOfThisMachine", key, "aws:states:stateMachineArn", resources.state_machine_arn
                ),
                self._key_statement("Logs", key, "SourceArn", f"arn:aws:logs:{self.region}:{self.account}:*"),
                iam.PolicyStatement(sid="DeliverLogs", actions=list(LOGGING), resources=["*"]),
                iam.PolicyStatement(sid="Trace", actions=list(TRACING), resources=["*"]),
            ],
        )
        accept(policy, {"IAM5[Resource::*]": "Delivering logs and traces has no resources: the sources stand above"})
        return policy

    def _key_statement(self, sid: str, key: kms.IKey, context: str, arn: str) -> iam.PolicyStatement:
        """What Step Functions does with the key, for one thing.

        https://docs.aws.amazon.com/step-functions/latest/dg/encryption-at-rest.html
        """
        return iam.PolicyStatement(
            sid=sid,
            actions=["kms:Decrypt", "kms:GenerateDataKey"],
            resources=[key.key_arn],
            conditions={"StringEquals": {f"kms:EncryptionContext:{context}": arn}},
        )
