"""A pod that runs on this machine: its containers, their restarts and probes, and the status that follows from them."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.sandbox.container import Log, Process, http_probe
from harness.sandbox.network.fabric import Network
from harness.sandbox.objects import ZONE, labels_of, named_ports, record_event, set_condition
from harness.sandbox.ports import Ports
from harness.sandbox.resources import PODS, Obj
from harness.sandbox.store import Store, timestamp

BACK_OFF_S = (0.2, 1.0, 2.0, 5.0, 10.0)
"""Pause before the first, second, … restart of a crashed container; shorter than a real kubelet's 10 s … 5 min."""

STARTING_PROBE_S = 0.1
"""Probe period of a container that has not been ready yet, so that its start-up is not rounded up to its period."""

UNDECLARED_PORT = 8080
"""Container port of a container that declares none."""

IMAGES: Mapping[str, tuple[str, ...]] = {
    **{f"shop:{version}": ("python3", "-m", "harness.sandbox.shop", version) for version in ("good", "bad")},
    **{f"store:{version}": ("python3", "-m", "harness.sandbox.orders", version) for version in ("good", "lossy")},
}
"""Images that bring a command of their own."""

INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
"""What a container sees of the environment of the person who started the sandbox."""


@dataclass(frozen=True, slots=True)
class Host:
    """What all pods of the sandbox share."""

    store: Store
    network: Network
    ports: Ports
    directory: Path  # the containers' working directory
    records: Path  # directory of the records of running processes
    api_port: int  # of the API server


@dataclass(slots=True)
class Container:
    """One container of a pod, over all its restarts."""

    spec: Obj
    log: Log = field(default_factory=Log)
    process: Process | None = None
    ready: bool = False
    restarts: int = 0
    state: Obj = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Obj = field(default_factory=dict)

    def status(self) -> Obj:
        """Its entry among the pod's containerStatuses."""
        name, image = self.spec["name"], self.spec.get("image", "")
        return {
            "name": name,
            "image": image,
            "imageID": image,
            "containerID": f"process://{self.process.pid}" if self.process else "",
            "ready": self.ready,
            "started": "running" in self.state,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last_state,
        }


class PodRun:
    """The life of one pod on its node, from its binding to its removal from the store."""

    def __init__(self, host: Host, pod: Obj, ip: str) -> None:
        before = {status["name"]: status for status in pod["status"].get("containerStatuses") or ()}
        self.containers = [_container(spec, before.get(spec["name"])) for spec in pod["spec"]["containers"]]
        self.ip = ip
        self.ended = asyncio.Event()
        self._host = host
        self._pod = pod
        self._ports: dict[int, int] = {}  # container port -> real port
        self._ending = asyncio.Event()
        self._silent = False
        self._phase = "Pending"
        self._kill_timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Run until every container has ended for good, or the pod is deleted; a deleted pod leaves the store."""
        meta = self._pod["metadata"]
        egress_port = await self._host.network.attach(self.ip, meta["namespace"])
        try:
            self._publish("Pending")
            async with asyncio.TaskGroup() as group:
                codes = [group.create_task(self._run_container(item, egress_port)) for item in self.containers]
            self._publish("Failed" if any(code.result() for code in codes) else "Succeeded")
        finally:
            if self._kill_timer is not None:
                self._kill_timer.cancel()
            self._host.network.detach(self.ip)
            for container in self.containers:
                container.log.end()
            self.ended.set()
        if self._ending.is_set() and not self._silent:
            self._host.store.remove(PODS, meta["name"], meta["namespace"], meta["uid"])

    def end(self, grace_s: float) -> None:
        """Ask all containers to end; those that have not after `grace_s` are killed. May be called again, for less."""
        if not self._ending.is_set():
            self._ending.set()
            self._event("Killing", "Stopping the containers")
            for container in self.containers:
                if container.process is not None:
                    container.process.terminate()
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        self._kill_timer = asyncio.get_running_loop().call_later(grace_s, self.kill)

    def kill(self) -> None:
        """End all containers now."""
        self._ending.set()
        for container in self.containers:
            if container.process is not None:
                container.process.kill()

    def lose_power(self) -> None:
        """End all containers now, and tell nobody: what the store says of the pod stays as it is."""
        self._silent = True
        self.kill()

    def tell_again(self) -> None:
        """Publish how the pod is: while its node was not heard, somebody else may have said something else of it."""
        if not self.ended.is_set():
            self._publish(self._phase)

    async def _run_container(self, container: Container, egress_port: int) -> int:
        while not self._ending.is_set():
            code = await self._run_once(container, egress_port)
            policy = self._pod["spec"]["restartPolicy"]
            if self._ending.is_set() or policy == "Never" or (policy == "OnFailure" and code == 0):
                return code
            pause_s = BACK_OFF_S[min(container.restarts, len(BACK_OFF_S) - 1)]
            container.restarts += 1
            container.last_state = container.state
            container.state = {"waiting": {"reason": "CrashLoopBackOff", "message": f"back-off {pause_s:g}s"}}
            self._publish("Running")
            self._event("BackOff", f"Back-off restarting container {container.spec['name']}", warn=True)
            try:
                async with asyncio.timeout(pause_s):
                    await self._ending.wait()
            except TimeoutError:
                continue
        return 0

    async def _run_once(self, container: Container, egress_port: int) -> int:
        command = _command(container.spec)
        if not command:
            message = f"no image {container.spec.get('image')!r} and no command"
            container.state = {"waiting": {"reason": "ErrImagePull", "message": message}}
            self._publish("Pending")
            self._event("Failed", message, warn=True)
            await self._ending.wait()
            return 0
        meta = self._pod["metadata"]
        record = self._host.records / f"{meta['namespace']}.{meta['name']}.{container.spec['name']}"
        env = self._environment(container.spec, egress_port)
        process = await Process.start(command, env, record=record, log=container.log, directory=self._host.directory)
        container.process = process
        if self._ending.is_set():  # deleted while it started
            process.kill()
        began = timestamp()
        container.state = {"running": {"startedAt": began}}
        container.ready = "readinessProbe" not in container.spec
        self._publish("Running")
        self._event("Started", f"Started container {container.spec['name']}")
        probes = self._probes(container, process)
        code = await process.wait()
        for probe in probes:
            probe.cancel()
        container.process, container.ready = None, False
        container.state = {"terminated": _terminated(code, began)}
        self._publish("Running")
        return code

    def _environment(self, spec: Obj, egress_port: int) -> dict[str, str]:
        meta = self._pod["metadata"]
        declared = [port["containerPort"] for port in spec.get("ports") or ()] or [UNDECLARED_PORT]
        self._ports |= {port: self._host.ports.take() for port in declared}
        self._host.network.set_ports(self.ip, dict(self._ports))
        proxy = f"http://127.0.0.1:{egress_port}"
        given = {item["name"]: self._value(item) for item in spec.get("env") or ()}
        return (
            {name: os.environ[name] for name in INHERITED if name in os.environ}
            | {"PYTHONUNBUFFERED": "1", "HOSTNAME": meta["name"], "http_proxy": proxy, "HTTP_PROXY": proxy}
            # The API server is reached directly, by plain HTTP: no network policy cuts it off.
            | {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
            | {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self._host.api_port)}
            | given
            | {"PORT": str(self._ports[declared[0]]), "POD_NAME": meta["name"], "POD_IP": self.ip}
            | {"NODE_NAME": self._pod["spec"]["nodeName"], "ZONE": labels_of(self._pod).get(ZONE, "")}
        )

    def _value(self, item: Obj) -> str:
        """The value of an environment variable, also one that asks for a field of the pod."""
        path = ((item.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath")
        if path is None:
            return str(item.get("value", ""))
        known = {"status.podIP": self.ip, "status.hostIP": "127.0.0.1"}
        labelled = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
        if labelled is not None:
            return str((self._pod["metadata"].get(labelled[1]) or {}).get(labelled[2], ""))
        section, _, key = path.partition(".")
        return str(known.get(path, (self._pod.get(section) or {}).get(key, "")))

    def _probes(self, container: Container, process: Process) -> list[asyncio.Task[None]]:
        probes, spec = [], container.spec
        if "readinessProbe" in spec:
            probes.append(self._probe_readiness(container, spec["readinessProbe"]))
        if "livenessProbe" in spec:
            probes.append(self._probe_liveness(container, spec["livenessProbe"], process))
        return [asyncio.create_task(probe) for probe in probes]

    async def _probe_readiness(self, container: Container, probe: Obj) -> None:
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        good = bad = 0
        started = False
        while True:
            failure = await self._probe(container, probe)
            good, bad = (good + 1, 0) if failure is None else (0, bad + 1)
            ready = good >= probe["successThreshold"] or (container.ready and bad < probe["failureThreshold"])
            if ready != container.ready:
                container.ready = started = ready
                self._publish("Running")
                if failure is not None:
                    self._event("Unhealthy", f"Readiness probe failed: {failure}", warn=True)
            await asyncio.sleep(max(STARTING_PROBE_S, probe["periodSeconds"] if started else 0))

    async def _probe_liveness(self, container: Container, probe: Obj, process: Process) -> None:
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        bad = 0
        while bad < probe["failureThreshold"]:
            await asyncio.sleep(max(STARTING_PROBE_S, probe["periodSeconds"]))
            failure = await self._probe(container, probe)
            bad = 0 if failure is None else bad + 1
            if failure is not None:
                self._event("Unhealthy", f"Liveness probe failed: {failure}", warn=True)
        self._event("Killing", f"Container {container.spec['name']} failed liveness probe, will be restarted")
        process.terminate()
        await asyncio.sleep(self._pod["spec"]["terminationGracePeriodSeconds"])
        process.kill()

    async def _probe(self, container: Container, probe: Obj) -> str | None:
        request = probe.get("httpGet")
        if request is None:
            return "the sandbox knows httpGet probes only"
        port = named_ports({"containers": [container.spec]}).get(request["port"], request["port"])
        real_port = self._ports.get(port)
        if real_port is None:
            return f"the container has no port {request['port']!r}"
        return await http_probe(real_port, request["path"], probe["timeoutSeconds"])

    def _publish(self, phase: str) -> None:
        self._phase = phase
        meta = self._pod["metadata"]
        present = self._host.store.find(PODS, meta["name"], meta["namespace"])
        if self._silent or present is None or present["metadata"]["uid"] != meta["uid"]:
            return
        finished = phase in ("Succeeded", "Failed")
        ready = not finished and all(container.ready for container in self.containers)
        statuses = [container.status() for container in self.containers]

        def change(pod: Obj) -> None:
            pod["status"] |= {"phase": phase, "hostIP": "127.0.0.1", "podIP": self.ip, "podIPs": [{"ip": self.ip}]}
            pod["status"].setdefault("startTime", timestamp())
            pod["status"]["containerStatuses"] = statuses
            set_condition(pod, "PodScheduled", "True")  # also of a pod that came with its node
            reason = "PodCompleted" if finished else "" if ready else "ContainersNotReady"
            set_condition(pod, "Ready", str(ready), reason)

        self._host.store.update(PODS, meta["name"], meta["namespace"], change)

    def _event(self, reason: str, message: str, *, warn: bool = False) -> None:
        if not self._silent:
            record_event(self._host.store, self._pod, reason, message, component="kubelet", warn=warn)


def _container(spec: Obj, before: Obj | None) -> Container:
    """The container; when it ran `before`, and its node went down under it, this is a restart."""
    if before is None:
        return Container(spec)
    lost = {"terminated": {"exitCode": 255, "reason": "Unknown", "finishedAt": timestamp()}}
    return Container(spec, restarts=before["restartCount"] + 1, last_state=lost)


def _command(spec: Obj) -> list[str]:
    command = [*(spec.get("command") or IMAGES.get(spec.get("image", ""), ())), *(spec.get("args") or ())]
    return [sys.executable, *command[1:]] if command[:1] == ["python3"] else command


def _terminated(code: int, began: str) -> Obj:
    signalled = {"signal": -code} if code < 0 else {}
    reason = "Completed" if code == 0 else "Error"
    # As a shell and a container runtime do: a process that a signal ended has the exit code 128 + signal.
    code = 128 - code if code < 0 else code
    return {"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": timestamp(), **signalled}
