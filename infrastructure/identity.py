"""Who somebody is: the Cognito pool with its two clients and six groups, and what an app may do in S3 as itself.

One stack, and so one long file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_cognito as cognito
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as functions
from aws_cdk import aws_wafv2 as waf
from constructs import Construct

from infrastructure import firewall
from infrastructure.config import Stage
from infrastructure.parts import accept, log_group
from vibecode.resources import TRIGGERS, UPLOADS, Resources
from vibecode.rights import GROUPS

PRE_TOKEN = Path(__file__).with_name("pre_token.py")
# Where whoever has AWS credentials of their own may write: unread by CloudFront, and forgotten as all uploads are.
OWN_FOLDER = f"{UPLOADS}people/${{cognito-identity.amazonaws.com:sub}}"
READ = ["email", "email_verified", "name"]
WRITTEN = ["email", "name"]
# Requests of one address to the pool in five minutes: an office or a school signs in, somebody who guesses does not.
RATE = 500


class Identity(cdk.Stack):
    """The pool outlives its stack: with it every customer's password would go."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        stage: Stage,
        resources: Resources,
        public_url: str,
        key: kms.IKey,
        own_addresses: str,
        **stack: Any,
    ) -> None:
        super().__init__(scope, name, **stack)
        self.pool = self._pool(stage, resources)
        self._ask_before_tokens(resources, stage.log_days, key)
        if stage.sign_in_guarded:
            self._guard(stage, key, own_addresses)
        # Cognito waits five seconds; where that is too short the first request makes the user.
        if not stage.database_sleeps:
            self._tell_the_worker(resources)
        for group in GROUPS:
            cognito.CfnUserPoolGroup(
                self,
                f"Group-{group}",
                user_pool_id=self.pool.user_pool_id,
                group_name=group,
                description=f"{group} of the shop",
            )
        # Its name has to be nobody else's in the region.
        sign_in = self.pool.add_domain(
            "SignIn",
            cognito_domain=cognito.CognitoDomainOptions(domain_prefix=f"{resources.prefix}-{self.account}"),
            managed_login_version=cognito.ManagedLoginVersion.NEWER_MANAGED_LOGIN,
        )
        self.client = self._client(stage, resources, public_url)
        self.desk = self._desk(resources, public_url)
        self.sign_in_origin = sign_in.base_url()
        cdk.CfnOutput(self, "PoolId", value=self.pool.user_pool_id, description="Of whose keys the deployment tells")
        self._own_folders(resources, key)

    # --- the pool ----------------------------------------------------------------------------------------------------
    def _pool(self, stage: Stage, resources: Resources) -> cognito.UserPool:
        """No attribute is called custom:mfa: what the trigger says of a second factor nobody can write."""
        pool = cognito.UserPool(
            self,
            "Pool",
            user_pool_name=resources.prefix,
            feature_plan=cognito.FeaturePlan.ESSENTIALS,  # the least that lets a trigger change access tokens
            self_sign_up_enabled=True,
            sign_in_aliases=cognito.SignInAliases(email=True),
            sign_in_case_sensitive=False,
            auto_verify=cognito.AutoVerifiedAttrs(email=True),
            keep_original=cognito.KeepOriginalAttrs(email=True),  # the address that is proven, until the new one is
            standard_attributes=cognito.StandardAttributes(
                email=cognito.StandardAttribute(required=True, mutable=True),
                fullname=cognito.StandardAttribute(required=False, mutable=True),
            ),
            password_policy=cognito.PasswordPolicy(
                min_length=8,
                require_lowercase=True,
                require_uppercase=True,
                require_digits=True,
                require_symbols=True,
                temp_password_validity=cdk.Duration.days(3),
            ),
            mfa=cognito.Mfa.OPTIONAL,
            mfa_second_factor=cognito.MfaSecondFactor(otp=True, sms=False),
            account_recovery=cognito.AccountRecovery.EMAIL_ONLY,
            email=self._mail(stage.domain),
            deletion_protection=True,
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        pool.node.default_child.override_logical_id("Pool")
        threats = "Threat protection is of the Plus plan, by the person and month; Cognito locks out who guesses"
        if stage.sign_in_guarded:
            threats += ", and the pool's own web ACL refuses their address"
        accept(
            pool,
            {
                "COG2": "Customers choose; who works here loses their groups without a second factor (pre_token.py)",
                "COG8": threats,
            },
        )
        return pool

    def _mail(self, domain: str) -> cognito.UserPoolEmail:
        """Codes and invitations: fifty a day from Cognito's own address, or as many as SES lets us from our domain."""
        if not domain:
            return cognito.UserPoolEmail.with_cognito()
        return cognito.UserPoolEmail.with_ses(
            from_email=f"no-reply@{domain}", ses_verified_domain=domain, ses_region=self.region
        )

    # --- its triggers ------------------------------------------------------------------------------------------------
    def _ask_before_tokens(self, resources: Resources, log_days: int, key: kms.IKey) -> None:
        name = f"{resources.prefix}-pre-token"
        log = log_group(self, "PreTokenLog", f"/aws/lambda/{name}", days=log_days, key=key)
        role = iam.Role(self, "PreTokenRole", role_name=name, assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        function = functions.Function(
            self,
            "PreToken",
            function_name=name,
            description="Takes the groups out of tokens of staff who have no second factor",
            runtime=functions.Runtime.PYTHON_3_14,
            architecture=functions.Architecture.ARM_64,
            handler="index.handler",  # what CloudFormation calls inlined code
            code=functions.Code.from_inline(PRE_TOKEN.read_text()),
            role=role,
            memory_size=512,  # for its processor: Cognito waits five seconds
            timeout=cdk.Duration.seconds(5),
            log_group=log,
        )
        iam.ManagedPolicy(
            self,
            "PreTokenPolicy",
            managed_policy_name=name,
            roles=[role],
            statements=[
                iam.PolicyStatement(actions=["cognito-idp:AdminGetUser"], resources=[self.pool.user_pool_arn]),
                iam.PolicyStatement(
                    actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[log.log_group_arn]
                ),
            ],
        )
        self.pool.add_trigger(
            cognito.UserPoolOperation.PRE_TOKEN_GENERATION_CONFIG, function, cognito.LambdaVersion.V2_0
        )
        accept(
            function,
            {
                "LambdaConcurrency": "A reserve would be taken from the shop's own functions",
                "LambdaDLQ": "Cognito waits for its answer: nothing is asked of it that could be asked later",
                "LambdaInsideVPC": "It asks Cognito alone, which is not in the VPC",
            },
        )

    def _tell_the_worker(self, resources: Resources) -> None:
        """By its name to be: Zappa makes it later, and the stack after Zappa lets the pool call it."""
        for trigger in dict.fromkeys(source.partition("_")[0] for source in TRIGGERS):
            self.pool.node.default_child.add_property_override(f"LambdaConfig.{trigger}", resources.worker_arn)

    # --- its firewall ------------------------------------------------------------------------------------------------
    def _guard(self, stage: Stage, key: kms.IKey, own_addresses: str) -> None:
        """Before the pool's hosted pages and its API, which have Cognito's own addresses: CloudFront is not asked.

        Our own functions are let in: all of them ask by the NAT gateways' few addresses, once for each customer who is
        new to us and for each sign-in at the desk.
        https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-waf.html
        """
        name = f"{stage.prefix}-sign-in"
        guard = firewall.web_acl(
            self,
            "Guard",
            name=name,
            where="REGIONAL",
            rules=[
                firewall.let_in(own_addresses),
                firewall.rate(RATE, priority=1),
                firewall.group_of_aws(2, firewall.REPUTATION),
            ],
        )
        # AWS asks for this beginning of the name.
        group = log_group(self, "GuardLogs", f"aws-waf-logs-{name}", days=stage.log_days, key=key)
        firewall.log_refusals(self, "GuardLogging", guard, group)
        waf.CfnWebACLAssociation(
            self, "GuardsThePool", resource_arn=self.pool.user_pool_arn, web_acl_arn=guard.attr_arn
        )

    # --- its clients -------------------------------------------------------------------------------------------------
    def _client(self, stage: Stage, resources: Resources, public_url: str) -> cognito.CfnUserPoolClient:
        """The API's: for front ends, which keep no secret: by PKCE at the hosted page, or by password at its API.

        A page comes back to /signed-in of its origin, an app to the address that the stage names for it.
        """
        origins = (public_url, *stage.front_ends)
        client = cognito.CfnUserPoolClient(
            self,
            "Client",
            user_pool_id=self.pool.user_pool_id,
            client_name=f"{resources.prefix}-api",
            generate_secret=False,
            explicit_auth_flows=["ALLOW_USER_PASSWORD_AUTH", "ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
            # The last one lets us, and them, read by an access token who they are: GetUser.
            **self._code_grant("openid", "email", "profile", "aws.cognito.signin.user.admin"),
            callback_ur_ls=[*_each(origins, "/signed-in"), *stage.apps],
            logout_ur_ls=[*_each(origins, "/"), *stage.apps],
            read_attributes=READ,
            write_attributes=WRITTEN,
            **self._lives(access=60, identity=60, refresh=30 * 24 * 60),
        )
        self._page_of("Client", client)
        return client

    def _desk(self, resources: Resources, public_url: str) -> cognito.CfnUserPoolClient:
        """The desk's: with a secret, at the hosted page only. Its session is Django's, so its tokens end at once.

        The deployment takes the secret from Cognito to the stage's own secret; no template and no output says it.
        """
        desk = cognito.CfnUserPoolClient(
            self,
            "Desk",
            user_pool_id=self.pool.user_pool_id,
            client_name=f"{resources.prefix}-desk",
            generate_secret=True,
            explicit_auth_flows=["ALLOW_REFRESH_TOKEN_AUTH"],  # without any, Cognito would allow passwords
            **self._code_grant("openid", "email", "profile"),
            callback_ur_ls=[f"{public_url}/admin/sign-in/callback"],
            logout_ur_ls=[f"{public_url}/admin/signed-out"],
            read_attributes=READ,
            write_attributes=WRITTEN,
            **self._lives(access=5, identity=5, refresh=60),
        )
        self._page_of("Desk", desk)
        return desk

    def _code_grant(self, *scopes: str) -> dict[str, Any]:
        return {
            "allowed_o_auth_flows": ["code"],
            "allowed_o_auth_flows_user_pool_client": True,
            "allowed_o_auth_scopes": list(scopes),
            "supported_identity_providers": ["COGNITO"],
            "prevent_user_existence_errors": "ENABLED",
            "enable_token_revocation": True,
        }

    def _lives(self, *, access: int, identity: int, refresh: int) -> dict[str, Any]:
        """How long tokens live, in minutes."""
        return {
            "access_token_validity": access,
            "id_token_validity": identity,
            "refresh_token_validity": refresh,
            "token_validity_units": cognito.CfnUserPoolClient.TokenValidityUnitsProperty(
                **dict.fromkeys(("access_token", "id_token", "refresh_token"), "minutes")
            ),
        }

    def _page_of(self, name: str, client: cognito.CfnUserPoolClient) -> None:
        """How a client's hosted page looks: as Cognito has it. Without this there is no page."""
        cognito.CfnManagedLoginBranding(
            self,
            f"{name}Page",
            user_pool_id=self.pool.user_pool_id,
            client_id=client.ref,
            use_cognito_provided_values=True,
        )

    # --- credentials of AWS for an app -------------------------------------------------------------------------------
    def _own_folders(self, resources: Resources, key: kms.IKey) -> None:
        """Who has signed in may have a role of AWS's, which reaches their own folder of the media bucket alone.

        Apps alone can use it: the bucket's CORS lets pages post the forms that the API has signed (`bucket_cors`), and
        neither PUT nor GET. Nothing of the shop asks for it.
        """
        identities = cognito.CfnIdentityPool(
            self,
            "Identities",
            identity_pool_name=resources.prefix,
            allow_unauthenticated_identities=False,
            allow_classic_flow=False,
            cognito_identity_providers=[
                cognito.CfnIdentityPool.CognitoIdentityProviderProperty(
                    client_id=self.client.ref,
                    provider_name=self.pool.user_pool_provider_name,
                    server_side_token_check=True,  # none for whoever has signed out
                )
            ],
        )
        identities.override_logical_id("Identities")
        cdk.CfnOutput(
            self, "IdentityPoolId", value=identities.ref, description="Where an app gets its credentials of AWS"
        )
        role = iam.Role(
            self,
            "Customer",
            role_name=f"{resources.prefix}-customer",
            assumed_by=iam.FederatedPrincipal(
                "cognito-identity.amazonaws.com",
                {
                    "StringEquals": {"cognito-identity.amazonaws.com:aud": identities.ref},
                    "ForAnyValue:StringLike": {"cognito-identity.amazonaws.com:amr": "authenticated"},
                },
                "sts:AssumeRoleWithWebIdentity",
            ),
        )
        media = f"arn:aws:s3:::{resources.prefix}-media-{self.account}"
        own = f"{media}/{OWN_FOLDER}/*"
        policy = iam.ManagedPolicy(
            self,
            "CustomerPolicy",
            managed_policy_name=f"{resources.prefix}-customer",
            roles=[role],
            statements=[
                iam.PolicyStatement(
                    sid="OwnFolder",
                    actions=["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
                    resources=[own],
                ),
                iam.PolicyStatement(
                    sid="TheBucketsEncryption",
                    actions=["kms:Decrypt", "kms:GenerateDataKey"],
                    resources=[key.key_arn],
                    conditions={
                        "StringEquals": {
                            "kms:ViaService": f"s3.{self.region}.amazonaws.com",
                            "kms:EncryptionContext:aws:s3:arn": media,
                        }
                    },
                ),
            ],
        )
        named = own.replace(self.account, "<AWS::AccountId>").replace("${", "<").replace("}", ">")
        accept(policy, {f"IAM5[Resource::{named}]": "Their own folder, whatever they call what lies in it"})
        cognito.CfnIdentityPoolRoleAttachment(
            self, "Roles", identity_pool_id=identities.ref, roles={"authenticated": role.role_arn}
        )


def _each(origins: Sequence[str], path: str) -> list[str]:
    return [f"{origin}{path}" for origin in origins]
