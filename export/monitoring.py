"""`python -m export.monitoring --project P`: dashboard and alert policies for Google's Cloud Monitoring."""

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from himari_jax.cli import invocation
from himari_jax.command import parse, require, run_command
from himari_jax.errors import InputError
from himari_jax.google_api import Service, call, open_session
from himari_jax.pasting import command_line

PROG = invocation("export.monitoring")
FILES = Path(__file__).resolve().parent / "deploy" / "monitoring" / "google"
HOST = "https://monitoring.googleapis.com"
PAGES = 100  # of a list, at most
SERVICE = Service(
    role="roles/monitoring.editor",
    no_answer="the same command goes on",
    try_again="try again, the same command goes on",
    temporary=(429,),  # too many requests
)


@dataclass(frozen=True)
class MonitoringConfig:
    """Show the dashboard and the alert policies that Cloud Monitoring would get; create or renew them with --apply."""

    project: str | None = None
    """Project of Google Cloud."""
    apply: bool = False
    """Create them, and renew those that are there, by the credentials of this machine."""
    channel: tuple[str, ...] = ()
    """Channel for the alerts, projects/P/notificationChannels/ID; several are allowed."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        if self.project is None:
            raise InputError(f"missing: --project, of Google Cloud; see {PROG} --help")
        good = self.project.replace("-", "").replace(":", "").replace(".", "").isalnum()
        require(good, "--project", self.project, "letters, digits and hyphens")
        for channel in self.channel:
            parts = channel.split("/")
            good = len(parts) == 4 and parts[::2] == ["projects", "notificationChannels"] and all(parts)
            require(good, "--channel", channel, "projects/P/notificationChannels/ID")


class Kind(NamedTuple):
    """A kind of resource in Cloud Monitoring."""

    name: str
    address: str  # of the list
    field: str  # of an answer that lists


class Item(NamedTuple):
    """A resource to create."""

    kind: Kind
    content: dict[str, Any]

    @property
    def title(self) -> str:
        """Name by which an existing resource is found again."""
        return str(self.content["displayName"])


def main(args: Sequence[str]) -> int:
    """Prints what would be created, or creates it."""
    config = parse(MonitoringConfig, args, PROG)
    items = list(read_items(config))
    if config.apply:
        apply(open_session(), items)
        print(f"see https://console.cloud.google.com/monitoring?project={config.project}")
        return 0
    for item in items:
        print(f"{item.kind.name:10} {item.title:32} {described(item)}".rstrip())
    for line in by_hand(config, items):
        print(line)
    channels = [word for channel in config.channel for word in ("--channel", channel)]
    print(f"next: {command_line('export.monitoring', '--project', str(config.project), *channels, '--apply')}")
    return 0


def read_items(config: MonitoringConfig) -> Iterator[Item]:
    """Reads dashboard and policies out of the files, with the channels."""
    project = f"projects/{config.project}"
    dashboards = Kind("dashboard", f"{HOST}/v1/{project}/dashboards", "dashboards")
    policies = Kind("policy", f"{HOST}/v3/{project}/alertPolicies", "alertPolicies")
    yield Item(dashboards, json.loads((FILES / "dashboard.json").read_text()))
    for path in sorted((FILES / "policies").glob("*.json")):
        channels = {"notificationChannels": list(config.channel)} if config.channel else {}
        yield Item(policies, json.loads(path.read_text()) | channels)


def described(item: Item) -> str:
    """Describes an item: severity of a policy, number of charts."""
    if item.kind.name == "policy":
        return str(item.content["severity"])
    return f"{len(item.content['mosaicLayout']['tiles'])} charts"


def by_hand(config: MonitoringConfig, items: Sequence[Item]) -> Iterator[str]:
    """Yields the commands and addresses that do the same by hand."""
    project, folder = shlex.quote(str(config.project)), shlex.quote(str(FILES))
    channels = f" --notification-channels {','.join(map(shlex.quote, config.channel))}" if config.channel else ""
    yield "nothing was created (no --apply). By gcloud, once:"
    yield f"  gcloud monitoring dashboards create --project {project} --config-from-file {folder}/dashboard.json"
    yield f"  for file in {folder}/policies/*.json; do"
    yield f'    gcloud monitoring policies create --project {project}{channels} --policy-from-file "$file"'
    yield "  done"
    yield "by REST, a file each:"
    for address in dict.fromkeys(item.kind.address for item in items):
        yield f"  POST {address}"


def apply(session: Any, items: Sequence[Item]) -> None:
    """Creates each item, or renews the one of its title; prints a line for each.

    Args:
        session: of `open_session`.
        items: to create.

    Raises:
        InputError: a message was refused.
        StorageError: the service could not be reached, or the account may not.
    """
    known = {kind: list_all(session, kind) for kind in dict.fromkeys(item.kind for item in items)}
    for item in items:
        there = known[item.kind].get(item.title)
        if there is None:
            call(session, SERVICE, "POST", item.kind.address, item.content)
        else:
            names = {key: there[key] for key in ("name", "etag") if key in there}
            version = item.kind.address.removeprefix(HOST).split("/")[1]
            call(session, SERVICE, "PATCH", f"{HOST}/{version}/{there['name']}", item.content | names)
        print(f"{'created' if there is None else 'renewed'}: {item.kind.name} {item.title}", flush=True)


def list_all(session: Any, kind: Kind) -> dict[str, dict[str, Any]]:
    """Lists the existing resources of a kind, by title."""
    found: dict[str, dict[str, Any]] = {}
    page = ""
    for _ in range(PAGES):
        answer = call(session, SERVICE, "GET", kind.address + (f"?pageToken={page}" if page else ""))
        found |= {one.get("displayName", ""): one for one in answer.get(kind.field, ())}
        page = answer.get("nextPageToken", "")
        if not page:
            break
    return found


if __name__ == "__main__":
    sys.exit(run_command(main))
