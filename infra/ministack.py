#!/usr/bin/env python3
"""Deploys what `sam build` made to MiniStack, an AWS on this machine without Docker, and tries it:
the real packages and the unmodified template, through API, queue and dispatcher to a receiver.

Usage: sam build --parameter-overrides Architecture=x86_64 && python infra/ministack.py
Needs: Linux on x86-64, the packages of .ci/requirements-deploy.txt, and sam and ministack on the PATH.

Three steps follow the deployment, because MiniStack is not AWS:
- it creates no routes for AWS::Serverless::HttpApi, so they are added from SAM's expansion;
- the receiver is on this machine, which deliveries may not reach: the functions get ALLOW_SUBNETS,
  which no parameter of the template can set;
- it keeps numbers from parameters as text, and then cannot read a queue.
It supports neither alarms on expressions nor fixed addresses, so Alarms and StaticAddresses stay off.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import boto3

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILT = ROOT / ".aws-sam/build/template.yaml"
STACK = "posthorn"
# What makes a deployment fail after its tables were created.
BROKEN = """
  Broken:
    Type: AWS::CloudFormation::WaitCondition
    DependsOn: [ConfigTable, MessagesTable, DeliveriesTable, ScheduleTable]
    Properties: { Handle: nowhere, Timeout: "1" }
"""
START_SECONDS = 60
DEPLOY_SECONDS = 300
# Two runs of the scheduler, and a minute.
SCHEDULE_SECONDS = 180
# Options that are off by default are switched on, as far as the emulator supports them. Nothing is
# sent to the messages queue.
PARAMETERS = {
    "Architecture": "x86_64",
    "AllowHttpEndpoints": "true",
    "ApiConcurrency": "100",
    "Dashboard": "true",
    "DeletionProtection": "false",
    "GradualDeployment": "true",
    "MessagesFromQueue": "true",
    "RetrySchedule": "1,5",
    "TraceContext": "true",
}


class Failure(Exception):
    """A step failed."""


def say(what: str) -> None:
    print(f"  ok  {what}", flush=True)


def clean_environment() -> dict[str, str]:
    """The environment without the caller's AWS settings, which would point elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def poll(read, what: str, seconds: float):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := read():
            return found
        time.sleep(0.5)
    raise Failure(f"no {what} within {seconds} s")


@contextlib.contextmanager
def ministack():
    """MiniStack on a free port; yields its URL and its log."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ministack-"))
    environment = clean_environment() | {
        "GATEWAY_PORT": str(port),
        "AWS_ENDPOINT_URL": url,
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
    }
    log = folder / "ministack.log"
    process = None
    try:
        with log.open("wb") as output:
            # A separate session, so that the functions that it starts end with it.
            process = subprocess.Popen(
                ["ministack"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

        def ready() -> bool:
            if process.poll() is not None:
                raise Failure(f"MiniStack ended with {process.returncode}")
            return answers(f"{url}/_ministack/health")

        poll(ready, "MiniStack", START_SECONDS)
        yield url
    except BaseException:
        if log.exists():
            print("\n".join(log.read_text(errors="replace").splitlines()[-40:]))
        raise
    finally:
        if process is not None:
            end(process)
        shutil.rmtree(folder, ignore_errors=True)


def end(process: subprocess.Popen) -> None:
    for number in [signal.SIGTERM, signal.SIGKILL]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except (OSError, urllib.error.URLError):
        return False


class Cloud:
    """The deployed stack."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.environment = {
            **clean_environment(),
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "SAM_CLI_TELEMETRY": "0",
        }

    def client(self, service: str):
        names = ["aws_access_key_id", "aws_secret_access_key"]
        keys = dict.fromkeys(names, "test")
        return boto3.client(service, endpoint_url=self.url, region_name="us-east-1", **keys)

    def deploy(self, **changed: str) -> None:
        started = time.monotonic()
        done = self.sam_deploy(BUILT, STACK, PARAMETERS | changed)
        if done.returncode:
            raise Failure(f"sam deploy ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        resources = self.resources()
        say(f"sam deploy: {len(resources)} resources in {time.monotonic() - started:.0f} s")

    def sam_deploy(self, template: pathlib.Path, stack: str, parameters: dict[str, str]) -> subprocess.CompletedProcess:
        command = ["sam", "deploy", "--template-file", str(template), "--stack-name", stack]
        command += ["--resolve-s3", "--no-confirm-changeset", "--no-progressbar"]
        command += ["--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
        command += ["--config-env", "none", "--parameter-overrides"]
        command += [f"{name}={value}" for name, value in parameters.items()]
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEPLOY_SECONDS,
            check=False,
        )

    def fail_at_first(self) -> None:
        """A first deployment that fails is rolled back although its tables refuse deletion, and can be cleaned up
        as docs/operate.md says."""
        template, stack = BUILT.with_name("broken.yaml"), f"{STACK}-broken"
        template.write_text(BUILT.read_text().replace("\nOutputs:\n", f"{BROKEN}\nOutputs:\n"))
        done = self.sam_deploy(template, stack, PARAMETERS | {"DeletionProtection": "true"})
        template.unlink()
        formation, database = self.client("cloudformation"), self.client("dynamodb")
        events = formation.describe_stack_events(StackName=stack)["StackEvents"]
        ends = {event["LogicalResourceId"]: event["ResourceStatus"] for event in reversed(events)}
        if done.returncode == 0 or ends.get("Broken") != "CREATE_FAILED" or ends[stack] != "ROLLBACK_COMPLETE":
            raise Failure(f"a first deployment that fails: {ends}")
        formation.delete_stack(StackName=stack)
        tables = [name for name in database.list_tables()["TableNames"] if name.startswith(f"{stack}-")]
        for table in tables:
            database.update_table(TableName=table, DeletionProtectionEnabled=False)
            database.delete_table(TableName=table)
        if len(tables) != 4 or database.list_tables()["TableNames"]:
            raise Failure(f"tables of a first deployment that failed: {tables}")
        say("a first deployment that fails ends in ROLLBACK_COMPLETE; its four empty tables can be deleted")

    def resources(self) -> dict[str, str]:
        pages = self.client("cloudformation").get_paginator("list_stack_resources")
        found = {}
        for page in pages.paginate(StackName=STACK):
            for resource in page["StackResourceSummaries"]:
                if not resource["ResourceStatus"].endswith("COMPLETE"):
                    raise Failure(f"{resource['LogicalResourceId']}: {resource['ResourceStatus']}")
                found[resource["LogicalResourceId"]] = resource["PhysicalResourceId"]
        return found

    def finish(self) -> None:
        """Adds what MiniStack leaves out; see above."""
        resources = self.resources()
        functions = self.client("lambda")
        routes = self.add_routes(resources)
        for name in ["ApiFunction", "DispatcherFunction", "SlowDispatcherFunction"]:
            function = resources[name]
            configuration = functions.get_function_configuration(FunctionName=function)
            variables = {**configuration["Environment"]["Variables"], "ALLOW_SUBNETS": "127.0.0.0/8"}
            functions.update_function_configuration(FunctionName=function, Environment={"Variables": variables})
            version = functions.publish_version(FunctionName=function)["Version"]
            functions.update_alias(FunctionName=function, Name="live", FunctionVersion=version)
            # MiniStack treats numbers from parameters as text.
            sources = functions.list_event_source_mappings(FunctionName=f"{function}:live")
            for source in sources["EventSourceMappings"]:
                concurrency = int(source["ScalingConfig"]["MaximumConcurrency"])
                functions.update_event_source_mapping(
                    UUID=source["UUID"],
                    BatchSize=int(source["BatchSize"]),
                    ScalingConfig={"MaximumConcurrency": concurrency},
                )
        say(f"{routes} routes added; deliveries may reach this machine")

    def add_routes(self, resources: dict[str, str]) -> int:
        from samtranslator.yaml_helper import yaml_parse

        gateway, functions = self.client("apigatewayv2"), self.client("lambda")
        api = resources["Api"]
        added = 0
        for name, resource in yaml_parse(BUILT.read_text())["Resources"].items():
            for event in resource.get("Properties", {}).get("Events", {}).values():
                if event["Type"] != "HttpApi":
                    continue
                alias = functions.get_alias(FunctionName=resources[name], Name="live")["AliasArn"]
                integration = gateway.create_integration(
                    ApiId=api,
                    IntegrationType="AWS_PROXY",
                    IntegrationUri=alias,
                    PayloadFormatVersion="2.0",
                )["IntegrationId"]
                route = event["Properties"]
                gateway.create_route(
                    ApiId=api,
                    RouteKey=f"{route['Method']} {route['Path']}",
                    Target=f"integrations/{integration}",
                )
                added += 1
        return added

    def mint(self) -> str:
        """A token of a new organization."""
        payload = json.dumps({"mint": {}}).encode()
        function = self.resources()["ApiFunction"]
        answer = self.client("lambda").invoke(FunctionName=function, Payload=payload)
        return json.load(answer["Payload"])["token"]

    def api(self) -> str:
        return f"{self.url}/_aws/execute-api/{self.resources()['Api']}/$default"

    def smoke(self) -> None:
        token = self.mint()
        say("token created by invoking the api function")
        environment = {**self.environment, "POSTHORN_URL": self.api(), "POSTHORN_TOKEN": token}
        script = [sys.executable, str(ROOT / "tests/clients/smoke.py")]
        subprocess.run(script, env=environment, timeout=120, check=True)
        subprocess.run([*script, "--endpoint", "self"], env=environment, timeout=120, check=True)

    def migrate(self) -> None:
        """tests/clients/migrate.py, from one organization to another, twice."""
        from svix.api import ApplicationIn, EndpointIn, EventTypeIn, Svix, SvixOptions

        base, tokens = self.api(), (self.mint(), self.mint())
        old, new = (Svix(token, SvixOptions(server_url=base)) for token in tokens)
        old.event_type.create(EventTypeIn(name="invoice.paid", description="Paid"))
        for uid in ["acme", None]:
            application = old.application.create(ApplicationIn(name="Acme", uid=uid))
            endpoint = EndpointIn(
                url=f"http://127.0.0.1/{uid}", uid="hooks", event_types=["invoice.paid"], headers={"x-a": "1"}
            )
            old.endpoint.create(application.id, endpoint)
        command = [sys.executable, str(ROOT / "tests/clients/migrate.py"), "--from-url", base, "--to-url", base]
        command += ["--from-token", tokens[0], "--to-token", tokens[1]]
        for _ in range(2):
            subprocess.run(command, env=self.environment, timeout=120, check=True, stdout=subprocess.DEVNULL)
        copied = 0
        for application in old.application.list().data:
            uid = application.uid or f"svix.{application.id}"
            (before,), (after,) = (side.endpoint.list(name).data for side, name in [(old, application.id), (new, uid)])
            same = [before.url, before.uid, before.event_types] == [after.url, after.uid, after.event_types]
            secrets = {
                side.endpoint.get_secret(name, "hooks").key for side, name in [(old, application.id), (new, uid)]
            }
            headers = new.endpoint.get_headers(uid, "hooks").headers
            if not same or len(secrets) != 1 or headers != {"x-a": "1"}:
                raise Failure(f"{uid}: the copy differs: {after} {headers}")
            copied += 1
        if copied != 2 or len(new.application.list().data) != 2:
            raise Failure("not every application was copied once")
        say("migrate.py: applications, endpoints, secrets and headers are the same in another organization")

    def scheduler_fires(self) -> None:
        """The cursor moves without help: EventBridge Scheduler invokes the function every minute."""
        table = self.resources()["ScheduleTable"]
        key = {"pk": {"S": "cursor"}, "sk": {"S": "cursor"}}

        def minute() -> int:
            item = self.client("dynamodb").get_item(TableName=table, Key=key).get("Item")
            return int(item["minute"]["N"]) if item else 0

        # A run works up to the end of the coming minute, so only another run gets further.
        caught_up = poll(
            lambda: (found := minute()) >= time.time() // 60 and found,
            "run of the scheduler",
            SCHEDULE_SECONDS,
        )
        poll(lambda: minute() > caught_up, "second run of the scheduler", SCHEDULE_SECONDS)
        say(f"the scheduler ran twice by itself; its cursor is at minute {minute()}")

    def update(self) -> None:
        """A new value of a parameter reaches the alias, which everything invokes."""
        self.deploy(LogLevel="warn")
        functions = self.client("lambda")
        aliased = [name for key, name in self.resources().items() if f"{key}Aliaslive" in self.resources()]
        for name in aliased:
            live = functions.get_function_configuration(FunctionName=name, Qualifier="live")
            if live["Environment"]["Variables"]["LOG_LEVEL"] != "warn":
                raise Failure(f"{name}: the alias has the previous settings")
        if len(aliased) != 5:
            raise Failure(f"{len(aliased)} aliases instead of 5")
        say("an update of a parameter publishes a version of each function, and the alias follows")

    def delete(self) -> None:
        # Not `sam delete`, which cannot parse the emulator's addresses of nested templates.
        formation = self.client("cloudformation")
        formation.delete_stack(StackName=STACK)
        formation.get_waiter("stack_delete_complete").wait(
            StackName=STACK, WaiterConfig={"Delay": 2, "MaxAttempts": 60}
        )
        tables = self.client("dynamodb").list_tables()["TableNames"]
        kept = sum(name.startswith(f"{STACK}-") for name in tables)
        if kept != 4:
            raise Failure(f"{kept} tables are left instead of 4: {tables}")
        say("the stack is deleted, its four tables are kept")


def main() -> int:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    # Everything is on this machine.
    os.environ |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    if not BUILT.exists():
        print(f"{BUILT} is missing: sam build --parameter-overrides Architecture=x86_64")
        return 1
    try:
        with ministack() as url:
            cloud = Cloud(url)
            cloud.fail_at_first()
            cloud.deploy()
            cloud.finish()
            cloud.smoke()
            cloud.migrate()
            cloud.scheduler_fires()
            cloud.update()
            cloud.delete()
    except (Failure, OSError, subprocess.SubprocessError) as error:
        print(f"  FAILED  {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
