"""The pictures, in Mermaid and as a table: lines of text from the templates of a stage. Called by the command."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infrastructure.diagrams.reading import Resource, Stacks, Thing

FUNCTIONS = {"": "web", "worker": "worker"}  # Zappa's: no template has them
# Actions by which something moves on, each as the picture calls it.
MOVES = {
    "sqs:SendMessage": "sends",
    "events:PutEvents": "puts facts",
    "states:StartExecution": "starts",
    "sns:Publish": "announces",
    "ses:SendRawEmail": "sends e-mails",
    "execute-api:ManageConnections": "pushes",
    "dynamodb:PutItem": "keeps tickets and connections",
}
SHAPES = {"sqs": ("[/", "/]"), "lambda": ("(", ")"), "s3": ("[(", ")]"), "dynamodb": ("[(", ")]"), "rds": ("[(", ")]")}
TITLES = {
    "sqs": "queue", "lambda": "function", "s3": "bucket", "dynamodb": "table", "states": "workflow", "sns": "topic",
    "events": "bus", "ses": "SES", "execute-api": "websocket API", "rds": "database", "cloudfront": "CloudFront",
}  # fmt: skip
NODE = re.compile(r"""([\w-]+)([\[(]+/?"[^"]*"/?[\])]+|\(\(\w+\)\)|\(role [^)]*\)|\[[\w-]+\])""")
MOST_KINDS = 4  # of facts that a picture names: vibecode/resources.py names all
# Actions on these are the same for every function, and would hide the others: what each needs to run at all.
EVERYBODY = {"logs", "ec2", "xray"}


# --- the network -----------------------------------------------------------------------------------------------------
def network(stacks: Stacks) -> Iterator[str]:
    """Subnets, the way out, and which group may open a connection to which."""
    yield "flowchart LR"
    yield "    internet((internet))"
    for vpc in stacks.of_type("AWS::EC2::VPC"):
        yield f'    subgraph vpc["VPC {vpc.properties["CidrBlock"]}"]'
    for kind, subnets in _subnets(stacks).items():
        text = "<br>".join([f"subnets: {kind}", *subnets])
        yield f'        {kind}["{text}"]'
    gateways = sum(1 for _ in stacks.of_type("AWS::EC2::NatGateway"))
    yield f'        nat["{gateways} NAT gateway{"s" if gateways > 1 else ""}<br>in egress"]'
    for endpoint in stacks.of_type("AWS::EC2::VPCEndpoint"):
        service = stacks.text(endpoint.properties["ServiceName"], endpoint.stack).rpartition(".")[2]
        yield f'        endpoint-{service}["{endpoint.properties["VpcEndpointType"]} endpoint: {service}"]'
    for group in stacks.of_type("AWS::EC2::SecurityGroup"):
        yield f"        {_id('group', _group(stacks, group))}({_group(stacks, group)})"
    yield "    end"
    if gateways:
        yield "    private --> nat --> internet"
    yield from sorted(set(_connections(stacks)))


def _subnets(stacks: Stacks) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for subnet in stacks.of_type("AWS::EC2::Subnet"):
        tags = {tag["Key"]: tag["Value"] for tag in subnet.properties["Tags"]}
        zone = stacks.text(subnet.properties["AvailabilityZone"], subnet.stack)
        found.setdefault(tags["aws-cdk:subnet-name"], []).append(f"{zone} {subnet.properties['CidrBlock']}")
    return found


def _connections(stacks: Stacks) -> Iterator[str]:
    """Who may begin a connection to whom, as the groups let out: what lets in has the same ports."""
    for rule in stacks.of_type("AWS::EC2::SecurityGroupEgress"):
        mine, theirs = (
            stacks.thing(rule.properties[side], rule.stack).name for side in ("GroupId", "DestinationSecurityGroupId")
        )
        yield _arrow(_id("group", _last(mine)), str(rule.properties["FromPort"]), _id("group", _last(theirs)))
    for group in stacks.of_type("AWS::EC2::SecurityGroup"):
        for rule in group.properties.get("SecurityGroupEgress", ()):
            if rule.get("CidrIp") == "0.0.0.0/0":
                yield _arrow(_id("group", _group(stacks, group)), str(rule["FromPort"]), "internet")


def _group(stacks: Stacks, group: Resource) -> str:
    return _last(stacks.name(group))


def _last(name: str) -> str:
    return name.removeprefix("network-")


# --- what becomes of an order ----------------------------------------------------------------------------------------
def flow(stacks: Stacks) -> Iterator[str]:
    """From a browser to the end of an order: origins, rules, queues, mappings, the workflow, what roles may send."""
    lines = [*_edge(stacks), *_facts(stacks), *_mapped(stacks), *_workflow(stacks), *_live(stacks), *_moves(stacks)]
    yield "flowchart LR"
    yield from _once(lines)


def _edge(stacks: Stacks) -> Iterator[str]:
    guarded = any(True for _ in stacks.of_type("AWS::WAFv2::WebACL"))
    for distribution in stacks.of_type("AWS::CloudFront::Distribution"):
        config = distribution.properties["DistributionConfig"]
        yield f"    browser((browser)) -->|{'HTTPS, by the firewall' if guarded else 'HTTPS'}| cloudfront[CloudFront]"
        origins = {origin["Id"]: stacks.thing(origin["DomainName"], distribution.stack) for origin in config["Origins"]}
        for behavior in [*config.get("CacheBehaviors", ()), {**config["DefaultCacheBehavior"], "PathPattern": "else"}]:
            name = behavior["TargetOriginId"]
            target = Thing("lambda", "") if name == "api" else Thing("s3", origins[name].name)
            yield f'    cloudfront -->|"{behavior["PathPattern"]}"| {_box(target)}'


def _facts(stacks: Stacks) -> Iterator[str]:
    for rule in stacks.of_type("AWS::Events::Rule"):
        pattern = rule.properties.get("EventPattern", {})
        bus = stacks.thing(rule.properties["EventBusName"], rule.stack) if "EventBusName" in rule.properties else None
        kinds = pattern.get("detail-type", pattern.get("source", ()))
        told = "<br>".join(kinds) if len(kinds) <= MOST_KINDS else f"{len(kinds)} kinds of facts"
        for target in rule.properties.get("Targets", ()) if pattern else ():
            source = _box(Thing("events", bus.name if bus else "default"))
            yield f'    {source} -->|"{told}"| {_box(stacks.thing(target["Arn"], rule.stack))}'


def _mapped(stacks: Stacks) -> Iterator[str]:
    for mapping in stacks.of_type("AWS::Lambda::EventSourceMapping"):
        queue = stacks.thing(mapping.properties["EventSourceArn"], mapping.stack)
        function = Thing("lambda", stacks.thing(mapping.properties["FunctionName"], mapping.stack).name)
        size = mapping.properties.get("BatchSize", 10)
        most = mapping.properties.get("ScalingConfig", {}).get("MaximumConcurrency")
        side = f", {most} side by side" if most else ""
        yield f'    {_box(queue)} -->|"{size} at a time{side}"| {_box(function)}'
    for made in stacks.of_type("AWS::SQS::Queue"):
        if redrive := made.properties.get("RedrivePolicy"):
            dead = stacks.thing(redrive["deadLetterTargetArn"], made.stack)
            mine = Thing("sqs", stacks.name(made))
            yield f'    {_box(mine)} -.->|"after {redrive["maxReceiveCount"]} tries"| {_box(dead)}'


def _workflow(stacks: Stacks) -> Iterator[str]:
    for machine in stacks.of_type("AWS::StepFunctions::StateMachine"):
        definition = stacks.text(machine.properties["DefinitionString"], machine.stack)
        steps = sorted(set(re.findall(r'"command": "[\w.]+\.(\w+)"', definition)))
        name = Thing("states", stacks.name(machine))
        yield f'    {_box(name)} -->|"{len(steps)} steps"| {_box(Thing("lambda", "worker"))}'


def _live(stacks: Stacks) -> Iterator[str]:
    for api in stacks.of_type("AWS::ApiGatewayV2::Api"):
        routes = [route.properties["RouteKey"] for route in stacks.of_type("AWS::ApiGatewayV2::Route")]
        here = _box(Thing("execute-api", stacks.name(api)))
        yield f"    browser((browser)) <-->|WSS| {here}"
        yield f'    {here} -->|"{", ".join(sorted(routes))}"| {_box(Thing("lambda", "worker"))}'


def _moves(stacks: Stacks) -> Iterator[str]:
    """What the functions may send on, by their roles; without the doors for dead letters that are sent again."""
    for role, actions in rights(stacks).items():
        if role not in {"web", "worker"}:
            continue
        for action, things in actions.items():
            if action not in MOVES:
                continue
            kept = [thing for thing in things if not (action.startswith("sqs:") and _is_fed(stacks, thing))]
            for thing in dict.fromkeys(_at_service(action, thing, stacks) for thing in kept):
                here = Thing("lambda", "" if role == "web" else role)
                yield f'    {_box(here)} -->|"{MOVES[action]}"| {_box(thing)}'
        for action, things in actions.items():
            if action == "rds-db:connect" and things:
                here = Thing("lambda", "" if role == "web" else role)
                yield f"    {_box(here)} -->|SQL| {_box(Thing('rds', ''))}"


def _is_fed(stacks: Stacks, queue: Thing) -> bool:
    """Whether a rule feeds a queue: then a function sends to it only what was dead."""
    return queue.name in {stacks.name(rule) for rule in stacks.of_type("AWS::Events::Rule")}


def _at_service(action: str, thing: Thing, stacks: Stacks) -> Thing:
    """The thing, as the other lines of the picture call it."""
    service = action.partition(":")[0]
    if service == "execute-api":
        return next((Thing(service, stacks.name(api)) for api in stacks.of_type("AWS::ApiGatewayV2::Api")), thing)
    return Thing(service, "" if service == "ses" else thing.name)


# --- who may call whom -----------------------------------------------------------------------------------------------
def rights(stacks: Stacks) -> Mapping[str, Mapping[str, Sequence[Thing]]]:
    """What each role is allowed: by its name, then by action, on what."""
    found: dict[str, dict[str, list[Thing]]] = {}
    for holder in stacks.of_type("AWS::IAM::ManagedPolicy", "AWS::IAM::Policy", "AWS::IAM::Role"):
        names, documents = _granted(stacks, holder)
        for statement in (each for document in documents for each in _listed(document["Statement"])):
            if statement["Effect"] != "Allow":
                continue
            things = [stacks.thing(each, holder.stack) for each in _listed(statement["Resource"])]
            for name in names:
                for action in _listed(statement.get("Action", ())):
                    known = found.setdefault(name, {}).setdefault(action, [])
                    known += [thing for thing in things if thing not in known]
    return {name: dict(sorted(found[name].items())) for name in sorted(found)}


def _granted(stacks: Stacks, holder: Resource) -> tuple[Sequence[str], Sequence[Mapping[str, Any]]]:
    """The roles that a resource gives rights to, and the policies."""
    if holder.type == "AWS::IAM::Role":
        return [stacks.name(holder)], [each["PolicyDocument"] for each in holder.properties.get("Policies", ())]
    roles = [stacks.thing(role, holder.stack).name for role in holder.properties.get("Roles", ())]
    return roles, [holder.properties["PolicyDocument"]]


def callers(stacks: Stacks) -> Iterator[str]:
    """Who may be which role, who may invoke a function, and what roles may call, by service."""
    lines: list[str] = []
    for role in stacks.of_type("AWS::IAM::Role"):
        for statement in role.properties["AssumeRolePolicyDocument"]["Statement"]:
            principal = statement["Principal"]
            for who in _listed(principal.get("Service", principal.get("Federated", ()))):
                told = stacks.text(who, role.stack).removesuffix(".amazonaws.com")
                lines.append(_arrow(_plain(told), "is", _id("role", stacks.name(role)), f"(role {stacks.name(role)})"))
    for permission in stacks.of_type("AWS::Lambda::Permission"):
        who = stacks.text(permission.properties["Principal"], permission.stack).removesuffix(".amazonaws.com")
        function = stacks.thing(permission.properties["FunctionName"], permission.stack).name
        lines.append(f"    {_plain(who)} -->|invokes| {_box(Thing('lambda', function))}")
    for holder, actions in rights(stacks).items():
        services = {action.partition(":")[0] for action in actions} - EVERYBODY
        lines += [_arrow(_id("role", holder), "", _id("service", name), f"[{name}]") for name in sorted(services)]
    yield "flowchart LR"
    yield from _once(lines)


def table(stacks: Stacks) -> Iterator[str]:
    """Every right that a policy of ours gives: a row for a role and a service."""
    yield "| role | service | may | on |"
    yield "|---|---|---|---|"
    for role, actions in rights(stacks).items():
        by_things: dict[tuple[str, str], list[str]] = {}
        for action, things in actions.items():
            service, _, verb = action.partition(":")
            names = ", ".join(sorted({f"`{_on(service, thing)}`" for thing in things}))
            by_things.setdefault((service, names), []).append(verb)
        for (service, names), verbs in sorted(by_things.items()):
            yield f"| {role} | {service} | {', '.join(verbs)} | {names.replace('`*`', 'all')} |"


def _on(service: str, thing: Thing) -> str:
    """What a right is on. Zappa's functions, and the bus, are called as all of the stage begins: that says nothing."""
    if service == "logs" and thing.name in FUNCTIONS:
        return f"log of {FUNCTIONS[thing.name]}"
    return thing.name or TITLES.get(service, service)


# --- Mermaid ---------------------------------------------------------------------------------------------------------
def _box(thing: Thing) -> str:
    """A node with its shape; nodes of one thing are one."""
    left, right = SHAPES.get(thing.service, ("[", "]"))
    name = FUNCTIONS.get(thing.name, thing.name) if thing.service == "lambda" else thing.name
    title = TITLES.get(thing.service, thing.service)
    return f'{_id(thing.service, name)}{left}"{f"{title} {name}".strip()}"{right}'


def _once(lines: Sequence[str]) -> Iterator[str]:
    """Each line once, and the shape of a node where it comes first."""
    seen: set[str] = set()

    def shape(box: re.Match[str]) -> str:
        first = box[1] not in seen
        seen.add(box[1])
        return box[0] if first else box[1]

    for line in dict.fromkeys(lines):
        yield NODE.sub(shape, line)


def _arrow(one: str, label: str, other: str, shape: str = "") -> str:
    return f"    {one} -->{f'|{label}|' if label else ''} {other}{shape}"


def _id(kind: str, name: str) -> str:
    return re.sub(r"[^\w-]", "_", f"{kind}-{name}".strip("-"))


def _plain(name: str) -> str:
    """A service of AWS, or who else may be somebody, as a node."""
    return f'{_id("aws", name)}["{name}"]'


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]
