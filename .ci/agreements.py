"""What template.yaml, samconfig.toml and docs/deploy.md say of each other: parameters that there are, with values that
they take; throttles of routes; functions that an account may run at once; the questions that SAM asks."""

import pathlib
import re
import tomllib

from samtranslator.yaml_helper import yaml_parse

ROOT = pathlib.Path(__file__).resolve().parent.parent


def agreements(text: str) -> list[str]:
    template = yaml_parse(text)
    findings = []
    for check in [settings, throttles, concurrency, prompts]:
        findings += check(template)
    return findings


def environments() -> dict[str, list[str]]:
    """The parameters that each environment of samconfig.toml gives."""
    settings = tomllib.loads((ROOT / "samconfig.toml").read_text())
    del settings["version"]
    return {name: it["deploy"]["parameters"].get("parameter_overrides", []) for name, it in settings.items()}


def settings(template: dict) -> list[str]:
    """samconfig.toml's parameters are the template's, with values that it takes."""
    parameters = template["Parameters"]
    findings = []
    for environment, overrides in environments().items():
        for given in overrides:
            name, value = given.split("=", 1)
            if name not in parameters or not takes(parameters[name], value):
                findings.append(f"samconfig.toml, {environment}: the template does not take {given}")
    return findings


def takes(parameter: dict, value: str) -> bool:
    """What infra/local/src/template/parameters.rs checks for `cargo run`."""
    if parameter["Type"] == "Number":
        least, most = parameter.get("MinValue", 0), parameter.get("MaxValue", float("inf"))
        if not value.isdecimal() or not least <= int(value) <= most:
            return False
    if not re.fullmatch(parameter.get("AllowedPattern", ".*"), value) or len(value) > parameter.get("MaxLength", 4096):
        return False
    return value in map(str, parameter.get("AllowedValues", [value]))


def throttles(template: dict) -> list[str]:
    """Each route of the api function has a throttle of its own, as slow requests would take every function;
    and API Gateway refuses settings of a route that there is not."""
    resources = template["Resources"]
    events = {name: resource["Properties"].get("Events", {}).values() for name, resource in functions(resources)}
    routes = {
        name: {"{Method} {Path}".format(**event["Properties"]) for event in own if event["Type"] == "HttpApi"}
        for name, own in events.items()
    }
    throttled = resources["Api"]["Properties"]["RouteSettings"]
    settings = set(throttled)
    missing = routes["ApiFunction"] - settings
    unknown = settings - set().union(*routes.values())
    return [
        f"Api, RouteSettings: {sorted(wrong)}: {why}"
        for wrong, why in [
            (missing, "missing"),
            (unknown, "no such route"),
            (left_behind(throttled), "a slash at the end leaves its throttle behind"),
        ]
        if wrong
    ]


def left_behind(throttled: dict) -> set[str]:
    """Routes without one for a slash at the end, which the function trims, of the same throttle. The greedy route
    takes the slash otherwise: so may those that have its throttle."""
    greedy = throttled["ANY /api/v1/{proxy+}"]
    return {
        route
        for route, throttle in throttled.items()
        if not route.endswith("{proxy+}") and throttle not in (greedy, throttled.get(f"{route}/{{proxy+}}"))
    }


def functions(resources: dict) -> list[tuple[str, dict]]:
    return [item for item in resources.items() if item[1]["Type"] == "AWS::Serverless::Function"]


# What an account may run at once: a new one, and by default. Below the second, AWS keeps 100 for functions
# that reserve none.
NEW_ACCOUNT, ACCOUNT, UNRESERVED = 10, 1000, 100


def concurrency(template: dict) -> list[str]:
    """Each environment of samconfig.toml leaves functions for those that nothing bounds. `dev` fits a new account."""
    findings = []
    for environment, overrides in environments().items():
        values = {name: parameter["Default"] for name, parameter in template["Parameters"].items()}
        values |= dict(one.split("=", 1) for one in overrides)
        sources, reserved = most_at_once(template, values)
        quota = NEW_ACCOUNT if environment == "dev" else ACCOUNT
        # One for the scheduler, and as many for ingest and for api as a new account can spare.
        if sources + reserved + 1 + 2 > quota or (reserved and reserved + UNRESERVED > quota):
            findings.append(
                f"samconfig.toml, {environment}: {sources} + {reserved} reserved do not fit into {quota} functions"
            )
        print(
            f"{environment}: queues start at most {sources} functions, {reserved} are reserved; the account has {quota}"
        )
    return findings


def most_at_once(template: dict, values: dict) -> tuple[int, int]:
    """Functions that event sources start at the same time, and functions that are reserved."""

    def number(value) -> int:
        if isinstance(value, dict) and "Fn::If" in value:
            value = value["Fn::If"][1]
        return int(values[value["Ref"]] if isinstance(value, dict) else value)

    sources = reserved = 0
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Lambda::EventSourceMapping" and values["MessagesFromQueue"] == "true":
            sources += number(properties["ScalingConfig"]["MaximumConcurrency"])
        if resource["Type"] == "AWS::Serverless::Function":
            queues = [event for event in properties.get("Events", {}).values() if event["Type"] == "SQS"]
            sources += sum(number(queue["Properties"]["ScalingConfig"]["MaximumConcurrency"]) for queue in queues)
            reserved += number(properties.get("ReservedConcurrentExecutions", 0))
    return sources, reserved


def prompts(template: dict) -> list[str]:
    """`sam deploy --guided` asks for each route of a function whether it may be without authentication."""
    events = [
        event for _, it in functions(template["Resources"]) for event in it["Properties"].get("Events", {}).values()
    ]
    count = sum(event["Type"] == "HttpApi" for event in events)
    said = f"asks {count} times whether a function"
    return [] if said in (ROOT / "docs/deploy.md").read_text() else [f"docs/deploy.md: does not say that SAM {said}"]
