"""The pool on AWS: who may sign in how, and what a token says. What the local pool has too: test_declarations.py."""

import copy
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from infrastructure.config import STAGES
from infrastructure.identity import PRE_TOKEN
from infrastructure.pre_token import STAFF, handler
from tests.infrastructure.declared import Described, Stack, Template
from vibecode import aws
from vibecode.bearer import groups_of, has_second_factor
from vibecode.local.names import CLIENT_ID, POOL_ID
from vibecode.local.ports import free_port
from vibecode.resources import LOCAL_ACCOUNT
from vibecode.rights import GROUPS

PASSWORD = "A-password-of-1-test"


@pytest.fixture
def stack(stage: str, templates: Mapping[str, Template]) -> Stack:
    return Stack.of(templates[f"vibecode-{stage}-identity"])


def only(stack: Stack, kind: str) -> Described:
    [(_, told)] = stack.each(kind)
    return told


def client(stack: Stack, *, secret: bool) -> Described:
    [told] = [told for _, told in stack.each("AWS::Cognito::UserPoolClient") if told["GenerateSecret"] is secret]
    return told


# --- the pool --------------------------------------------------------------------------------------------------------
def test_people_are_kept_whatever_happens_to_the_stack(stack: Stack) -> None:
    pool = stack.template["Resources"]["Pool"]

    assert pool["Type"] == "AWS::Cognito::UserPool"
    assert (pool["DeletionPolicy"], pool["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert pool["Properties"]["DeletionProtection"] == "ACTIVE"


def test_a_second_factor_is_an_app_never_an_sms_and_nobody_can_claim_one(stack: Stack) -> None:
    pool = only(stack, "AWS::Cognito::UserPool")

    assert (pool["MfaConfiguration"], pool["EnabledMfas"]) == ("OPTIONAL", ["SOFTWARE_TOKEN_MFA"])
    assert {attribute["Name"] for attribute in pool["Schema"]} == {"email", "name"}  # no custom:mfa
    assert "custom:mfa" not in str([told for _, told in stack.each("AWS::Cognito::UserPoolClient")])


def test_a_new_address_counts_only_once_it_is_proven(stack: Stack) -> None:
    pool = only(stack, "AWS::Cognito::UserPool")

    assert pool["UserAttributeUpdateSettings"] == {"AttributesRequireVerificationBeforeUpdate": ["email"]}
    assert pool["UsernameConfiguration"] == {"CaseSensitive": False}


def test_front_ends_keep_no_secret_and_come_back_by_code_alone(stack: Stack) -> None:
    api = client(stack, secret=False)

    assert api["AllowedOAuthFlows"] == ["code"]  # a public client's, with PKCE
    assert "aws.cognito.signin.user.admin" in api["AllowedOAuthScopes"]  # GetUser, for the first sight of somebody
    assert api["PreventUserExistenceErrors"] == "ENABLED"
    assert api["TokenValidityUnits"] == dict.fromkeys(("AccessToken", "IdToken", "RefreshToken"), "minutes")
    assert (api["AccessTokenValidity"], api["RefreshTokenValidity"]) == (60, 30 * 24 * 60)


def test_the_desk_signs_in_at_the_hosted_page_and_nowhere_else(stack: Stack) -> None:
    desk = client(stack, secret=True)

    assert desk["ExplicitAuthFlows"] == ["ALLOW_REFRESH_TOKEN_AUTH"]
    assert (desk["AllowedOAuthFlows"], desk["AllowedOAuthScopes"]) == (["code"], ["openid", "email", "profile"])
    [callback], [signed_out] = desk["CallbackURLs"], desk["LogoutURLs"]
    assert callback.endswith("/admin/sign-in/callback")
    assert signed_out == callback.removesuffix("/admin/sign-in/callback") + "/admin/signed-out"
    assert callback.startswith("https://")


def test_both_clients_have_a_page_that_knows_prompt_login(stack: Stack) -> None:
    pages = {told["ClientId"] for _, told in stack.each("AWS::Cognito::ManagedLoginBranding")}

    assert only(stack, "AWS::Cognito::UserPoolDomain")["ManagedLoginVersion"] == 2
    assert pages == {name for name, _ in stack.each("AWS::Cognito::UserPoolClient")}


def test_the_secret_of_the_desk_is_in_no_template(stack: Stack) -> None:
    assert "ClientSecret" not in str(stack.template)


def test_a_customer_reaches_their_own_folder_and_nothing_else(stack: Stack, stage: str) -> None:
    identities = only(stack, "AWS::Cognito::IdentityPool")
    media = f"arn:aws:s3:::vibecode-{stage}-media-{LOCAL_ACCOUNT}"
    [role] = [told for _, told in stack.each("AWS::IAM::Role") if told["RoleName"] == f"vibecode-{stage}-customer"]
    [policy] = [
        told
        for _, told in stack.each("AWS::IAM::ManagedPolicy")
        if told["ManagedPolicyName"] == f"vibecode-{stage}-customer"
    ]

    assert (identities["AllowUnauthenticatedIdentities"], identities["AllowClassicFlow"]) == (False, False)
    folder, encryption = policy["PolicyDocument"]["Statement"]
    assert folder["Resource"] == f"{media}/uploads/people/${{cognito-identity.amazonaws.com:sub}}/*"
    assert sorted(folder["Action"]) == ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
    assert sorted(encryption["Action"]) == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert encryption["Condition"]["StringEquals"]["kms:EncryptionContext:aws:s3:arn"] == media
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"] == {
        "StringEquals": {"cognito-identity.amazonaws.com:aud": "Identities"},
        "ForAnyValue:StringLike": {"cognito-identity.amazonaws.com:amr": "authenticated"},
    }


def test_an_app_finds_the_identities_and_a_page_cannot_use_them(
    stack: Stack, stage: str, templates: Mapping[str, Template]
) -> None:
    outputs = stack.template["Outputs"]
    buckets = [told for _, told in Stack.of(templates[f"vibecode-{stage}-front"]).each("AWS::S3::Bucket")]
    allowed = {
        method
        for bucket in buckets
        for rule in bucket.get("CorsConfiguration", {}).get("CorsRules", [])
        for method in rule["AllowedMethods"]
    }

    assert outputs["IdentityPoolId"]["Value"] == {"Ref": "Identities"}
    assert allowed == {"POST"}, "docs/front-ends.md says that a page has no PUT and no GET"


def test_people_come_back_to_the_stages_front_ends_and_apps_and_nowhere_else(
    everything: Mapping[str, Template],
) -> None:
    api = client(Stack.of(everything["vibecode-production-identity"]), secret=False)
    pages = ("https://shop.example", "https://www.shop.example", "https://staff.shop.example:8443")
    app = "example.shop.app://signed-in"

    assert api["CallbackURLs"] == [*(f"{page}/signed-in" for page in pages), app]
    assert api["LogoutURLs"] == [*(f"{page}/" for page in pages), app]


def test_the_api_lets_in_pages_of_the_stages_front_ends(everything: Mapping[str, Template]) -> None:
    [told] = [told for _, told in Stack.of(everything["vibecode-production-runtime"]).each("AWS::SSM::Parameter")]

    assert '"CORS_ALLOWED_ORIGINS":"https://www.shop.example,https://staff.shop.example:8443"' in str(told["Value"])


@pytest.mark.parametrize(
    "setting",
    [
        {"front_ends": ("http://www.shop.example",)},
        {"front_ends": ("https://www.shop.example/",)},
        {"front_ends": ("https://*.shop.example",)},
        {"apps": ("https://www.shop.example/signed-in",)},
        {"apps": ("shop://signed-in",)},
        {"domain": "shop.example", "hosted_zone": ""},
        {"shared_files": True},
    ],
)
def test_a_stage_that_no_stack_could_be_made_of_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="staging: "):
        replace(STAGES["staging"], **setting)


def test_who_guesses_is_refused_at_the_pools_own_addresses_where_the_stage_pays_for_it(
    stack: Stack, stage: str
) -> None:
    guards = dict(stack.each("AWS::WAFv2::WebACL"))
    guarded = [told for _, told in stack.each("AWS::WAFv2::WebACLAssociation")]

    assert bool(guards) is STAGES[stage].sign_in_guarded is (stage != "dev")
    for name, guard in guards.items():
        rules = {rule["Name"]: rule for rule in guard["Rules"]}
        assert guard["Scope"] == "REGIONAL", "CloudFront's own is never asked"
        assert [(each["ResourceArn"], each["WebACLArn"]) for each in guarded] == [("Pool", name)]
        assert rules["rate"]["Statement"]["RateBasedStatement"]["AggregateKeyType"] == "IP"
        assert rules["rate"]["Action"]["Block"]["CustomResponse"]["ResponseCode"] == 429
        assert rules["AWSManagedRulesAmazonIpReputationList"]["OverrideAction"] == {"None": {}}


def test_our_own_functions_are_never_refused_at_the_pool(
    templates: Mapping[str, Template], stack: Stack, stage: str
) -> None:
    """All that they ask Cognito comes from the few addresses of the NAT gateways."""
    network = Stack.of(templates[f"vibecode-{stage}-network"])
    gateways = {told["AllocationId"]["Fn::GetAtt"][0] for _, told in network.each("AWS::EC2::NatGateway")}
    sets = {name: told["Addresses"] for name, told in network.each("AWS::WAFv2::IPSet")}

    assert bool(sets) is STAGES[stage].sign_in_guarded
    for addresses in sets.values():
        assert sorted(addresses) == sorted(f"{gateway}/32" for gateway in gateways)
    for _, guard in stack.each("AWS::WAFv2::WebACL"):
        first = min(guard["Rules"], key=lambda rule: int(rule["Priority"]))
        [name] = sets
        assert first["Action"] == {"Allow": {}}
        assert name in str(first["Statement"]["IPSetReferenceStatement"]["Arn"])


# --- before a token --------------------------------------------------------------------------------------------------
def test_the_pool_asks_the_function_that_these_tests_try(stack: Stack) -> None:
    [(name, function)] = stack.each("AWS::Lambda::Function")
    config = only(stack, "AWS::Cognito::UserPool")["LambdaConfig"]["PreTokenGenerationConfig"]

    assert config == {"LambdaArn": name, "LambdaVersion": "V2_0"}  # the version that speaks of access tokens
    assert function["Code"] == {"ZipFile": PRE_TOKEN.read_text()}
    assert len(PRE_TOKEN.read_bytes()) <= 4096
    assert function["Handler"] == "index.handler"
    assert function["Timeout"] <= 5  # Cognito waits no longer


def test_the_function_knows_the_groups_of_staff() -> None:
    assert GROUPS.keys() == STAFF


def event_of(name: str, *groups: str) -> dict[str, Any]:
    """What Cognito sends, as its documentation has it.

    https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-pre-token-generation.html
    """
    return {
        "version": "2",
        "triggerSource": "TokenGeneration_HostedAuth",
        "region": "us-east-1",
        "userPoolId": POOL_ID,
        "userName": name,
        "callerContext": {"awsSdkVersion": "aws-sdk-unknown-unknown", "clientId": CLIENT_ID},
        "request": {
            "userAttributes": {
                "sub": name,
                "cognito:user_status": "CONFIRMED",
                "email_verified": "true",
                "email": "ada@example.com",
            },
            "groupConfiguration": {
                "groupsToOverride": list(groups),
                "iamRolesToOverride": [],
                "preferredRole": None,
            },
            "scopes": ["openid", "email", "profile"],
        },
        "response": {"claimsAndScopeOverrideDetails": None},
    }


def tokens_after(event: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Cognito makes of the answer: the claims of the ID token and of the access token.

    Details without groupOverrideDetails take all groups out; none at all change nothing.
    """
    before = event["request"]["groupConfiguration"]["groupsToOverride"]
    said = event["response"]["claimsAndScopeOverrideDetails"]
    groups = before if said is None else (said.get("groupOverrideDetails") or {}).get("groupsToOverride") or []
    shared: dict[str, Any] = {"cognito:groups": groups} if groups else {}
    more = {} if said is None else said.get("idTokenGeneration", {}).get("claimsToAddOrOverride", {})
    return {"token_use": "id", **shared, **more}, {"token_use": "access", **shared}


@pytest.fixture
def somebody() -> Any:
    """Somebody of the pool, by their sub; a second factor is one that Cognito has verified and asks for."""
    cognito = aws.client("cognito-idp")
    made: list[str] = []

    def make(*, second_factor: bool) -> str:
        email = f"{uuid.uuid4().hex}@example.com"
        user = cognito.admin_create_user(UserPoolId=POOL_ID, Username=email, MessageAction="SUPPRESS")["User"]
        name = str(user["Username"])
        made.append(name)
        cognito.admin_set_user_password(UserPoolId=POOL_ID, Username=name, Password=PASSWORD, Permanent=True)
        if second_factor:
            token = cognito.initiate_auth(
                ClientId=CLIENT_ID,
                AuthFlow="USER_PASSWORD_AUTH",
                AuthParameters={"USERNAME": name, "PASSWORD": PASSWORD},
            )["AuthenticationResult"]["AccessToken"]
            cognito.associate_software_token(AccessToken=token)
            cognito.verify_software_token(AccessToken=token, UserCode="123456")
            cognito.set_user_mfa_preference(
                AccessToken=token, SoftwareTokenMfaSettings={"Enabled": True, "PreferredMfa": True}
            )
        return name

    yield make
    for name in made:
        cognito.admin_delete_user(UserPoolId=POOL_ID, Username=name)


def test_staff_without_a_second_factor_get_tokens_without_their_groups(somebody: Any) -> None:
    event = event_of(somebody(second_factor=False), "staff", "partners", "finance")

    identity, access = tokens_after(handler(event, None))

    assert groups_of(access) == groups_of(identity) == frozenset({"partners"})
    assert not has_second_factor(identity)


@pytest.mark.parametrize("group", sorted(STAFF))
def test_each_group_of_staff_goes_even_where_it_is_the_only_one(somebody: Any, group: str) -> None:
    event = event_of(somebody(second_factor=False), group)

    identity, access = tokens_after(handler(event, None))

    assert "cognito:groups" not in {*identity, *access}


def test_staff_with_a_second_factor_keep_their_groups_and_the_id_token_says_why(somebody: Any) -> None:
    event = event_of(somebody(second_factor=True), "staff", "partners")

    identity, access = tokens_after(handler(event, None))

    assert groups_of(access) == groups_of(identity) == frozenset({"staff", "partners"})
    assert has_second_factor(identity)
    assert "custom:mfa" not in access


def cognito_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize("groups", [(), ("partners",)])
def test_a_customers_token_is_as_it_was_and_waits_for_nobody(
    monkeypatch: pytest.MonkeyPatch, groups: tuple[str, ...]
) -> None:
    cognito_goes_away(monkeypatch)
    event = event_of(str(uuid.uuid4()), *groups)

    assert handler(copy.deepcopy(event), None) == event


def test_a_customer_without_any_configuration_of_groups_gets_a_token() -> None:
    event = event_of(str(uuid.uuid4()))
    event["request"]["groupConfiguration"] = {}

    assert handler(copy.deepcopy(event), None) == event


def test_while_cognito_cannot_be_asked_nobody_of_staff_gets_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    cognito_goes_away(monkeypatch)
    event = event_of(str(uuid.uuid4()), "admin")

    with pytest.raises(aws.service_errors()):
        handler(event, None)
