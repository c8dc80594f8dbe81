"""Runs the pods of rendered manifests on this machine, with the volumes, probes and signals of Kubernetes."""

import base64
import copy
import http.client
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.helm.chart import Manifest, container
from tests.helm.confinement import IS_ROOT, Identity, Volume, confined
from tests.helm.image import Image
from tests.support.waiting import wait_until

CHOSEN_USER = 1_000_660_000
"""The user, and the group of volumes, that OpenShift chooses for pods which say nothing; their own group is 0."""

_START_TIMEOUT = 60.0


class Node:
    """A machine of a cluster, and what the cluster keeps for it.

    Args:
        image: what every container is made of, whatever the manifests call it.
        directory: where volumes and logs are.
        manifests: the release; ConfigMaps and Secrets of it can be mounted.
        secrets: Secrets that are there already, by name.
        hosts: names that lead to this machine.
    """

    def __init__(
        self,
        image: Image,
        directory: Path,
        manifests: list[Manifest],
        secrets: Mapping[str, Mapping[str, str]] | None = None,
        hosts: tuple[str, ...] = (),
    ) -> None:
        self.image = image
        self.directory = directory
        self._pods: list[Pod] = []
        self._files = {("Secret", name): dict(content) for name, content in (secrets or {}).items()}
        for document in manifests:
            if document["kind"] in ("Secret", "ConfigMap"):
                data = dict(document.get("data", {}))
                if document["kind"] == "Secret":
                    data = {key: base64.b64decode(value).decode() for key, value in data.items()}
                self._files[document["kind"], document["metadata"]["name"]] = data | document.get("stringData", {})
        self._hosts = directory / "hosts"
        self._hosts.write_text("".join(f"127.0.0.1 {name}\n" for name in ("localhost", *hosts)))

    def claim(self, name: str) -> Path:
        """The directory of a PersistentVolumeClaim, which outlives pods."""
        return self.directory / "claims" / name

    def run(self, spec: Manifest) -> "Pod":
        """Start the container of a pod; it runs until it is stopped or killed."""
        directory = self.directory / f"pod-{len(self._pods)}"
        directory.mkdir(mode=0o755)
        only = container(spec)
        sources = {volume["name"]: volume for volume in spec.get("volumes", [])}
        rights = spec["securityContext"]
        group = rights.get("fsGroup", CHOSEN_USER)
        identity = Identity(rights.get("runAsUser", CHOSEN_USER), rights.get("runAsGroup", 0), (group,))
        volumes = {"/etc/hosts": Volume(self._hosts, True)}
        for mount in only.get("volumeMounts", []):
            source = self._volume(sources[mount["name"]], directory / mount["name"], group)
            volumes[mount["mountPath"]] = Volume(source, mount.get("readOnly", False))
        environment = self.image.environment | {
            variable["name"]: variable["value"] for variable in only.get("env", []) if "value" in variable
        }
        command = confined(
            self.image.root,
            only.get("command", self.image.command),
            environment,
            directory=self.image.directory,
            volumes=volumes,
            writable=not only["securityContext"]["readOnlyRootFilesystem"],
            identity=identity,
        )
        self._pods.append(Pod(command, spec, directory / "log"))
        return self._pods[-1]

    def kill_all(self) -> None:
        """End whatever still runs."""
        for pod in self._pods:
            pod.kill()

    def execute(self, spec: Manifest, *command: str) -> str:
        """Run a command in a container like that of a pod, as ``kubectl exec`` does. What it prints."""
        beside = copy.deepcopy(spec)
        container(beside)["command"] = list(command)
        pod = self.run(beside)
        assert pod.wait() == 0, pod.log
        return pod.log

    def _volume(self, volume: dict[str, Any], directory: Path, group: int) -> Path:
        match volume:
            case {"emptyDir": _}:
                directory.mkdir()
                directory.chmod(0o777)
                return directory
            case {"persistentVolumeClaim": {"claimName": name}}:
                claim = self.claim(name)
                claim.mkdir(parents=True, exist_ok=True)
                if IS_ROOT:
                    os.chown(claim, 0, group)
                claim.chmod(0o2775)
                return claim
            case {"configMap": {"name": name}}:
                return _mounted(directory, self._files["ConfigMap", name])
            case {"secret": {"secretName": name}}:
                return _mounted(directory, self._files["Secret", name])
            case {"projected": {"sources": sources}}:
                files: dict[str, str] = {}
                for source in sources:
                    content = self._files["Secret", source["secret"]["name"]]
                    files |= {item["path"]: content[item["key"]] for item in source["secret"]["items"]}
                return _mounted(directory, files)
        raise ValueError(f"the tests do not know this kind of volume: {volume}")


def _mounted(directory: Path, files: Mapping[str, str]) -> Path:
    """Files as the kubelet lays them: links to links, so that all of them change at once."""
    inner = directory / "..2026_01_02_03_04_05.0123456789"
    inner.mkdir(parents=True)
    (directory / "..data").symlink_to(inner.name)
    for name, content in files.items():
        (inner / name).write_text(content)
        (directory / name).symlink_to(f"..data/{name}")
    return directory


class Pod:
    """A container that runs."""

    def __init__(self, command: list[str], spec: Manifest, log: Path) -> None:
        self._spec = spec
        self._log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def passes(self, probe: str) -> bool:
        """What a probe finds now."""
        wanted = container(self._spec)[probe]
        connection = http.client.HTTPConnection(
            "127.0.0.1", wanted["httpGet"]["port"], timeout=wanted["timeoutSeconds"]
        )
        try:
            connection.request("GET", wanted["httpGet"]["path"])
            return 200 <= connection.getresponse().status < 400
        except OSError:
            return False
        finally:
            connection.close()

    def wait_until_ready(self) -> None:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            wait_until(lambda probe=probe: self._lives() and self.passes(probe), timeout=_START_TIMEOUT)

    def _lives(self) -> bool:
        assert self.process.poll() is None, f"the container ended with {self.process.returncode}:\n{self.log}"
        return True

    def wait(self) -> int:
        """The exit code of a container that ends by itself."""
        return self.process.wait(_START_TIMEOUT)

    def stop(self) -> int:
        """End it as Kubernetes does: SIGTERM, and SIGKILL when the grace period is over. The exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(self._spec["terminationGracePeriodSeconds"])
        finally:
            self.kill()

    def kill(self) -> None:
        """End all of its processes at once, as when a node loses its power."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
