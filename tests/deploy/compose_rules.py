"""What compose.yaml must be like: the part of the Compose specification it uses, and our rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from jsonschema import Draft202012Validator

_TEXTS = {"type": "array", "items": {"type": "string"}}
_TIME = {"type": "string", "pattern": r"^\d+(ms|s|m|h)$"}
_SIZE = {"type": "string", "pattern": r"^\d+[kKmMgG]$"}
_COMMAND = {"oneOf": [{"type": "string"}, _TEXTS]}
# Written down from the specification; a key that is not here needs a line here first.
_SERVICE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["image"],
    "properties": {
        "image": {"type": "string"},
        "build": {
            "type": "object",
            "additionalProperties": False,
            "required": ["context"],
            "properties": {
                "context": {"type": "string"},
                "target": {"type": "string"},
                "args": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
        "command": _COMMAND,
        "entrypoint": _COMMAND,
        "user": {"type": "string"},
        "init": {"type": "boolean"},
        "read_only": {"type": "boolean"},
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
        "cap_add": _TEXTS,
        "cap_drop": _TEXTS,
        "security_opt": _TEXTS,
        "secrets": _TEXTS,
        "networks": _TEXTS,
        "tmpfs": _TEXTS,
        "volumes": _TEXTS,
        "ports": _TEXTS,
        "shm_size": _SIZE,
        "stop_signal": {"type": "string", "pattern": "^SIG[A-Z]+$"},
        "stop_grace_period": _TIME,
        # A number or a truth value would be read in another way than it looks.
        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
        "depends_on": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["condition"],
                "properties": {
                    "condition": {
                        "enum": [
                            "service_started",
                            "service_healthy",
                            "service_completed_successfully",
                        ]
                    }
                },
            },
        },
        "healthcheck": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "test": {
                    "type": "array",
                    "minItems": 2,
                    "prefixItems": [{"enum": ["CMD", "CMD-SHELL"]}],
                    "items": {"type": "string"},
                },
                "interval": _TIME,
                "timeout": _TIME,
                "start_period": _TIME,
                "retries": {"type": "integer", "minimum": 1},
                "disable": {"type": "boolean"},
            },
        },
        "logging": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "driver": {"type": "string"},
                "options": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
        "deploy": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "resources": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "limits": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {
                                "cpus": {"type": "string", "pattern": r"^\d+(\.\d+)?$"},
                                "memory": _SIZE,
                                "pids": {"type": "integer", "minimum": 1},
                            },
                        }
                    },
                }
            },
        },
    },
}
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["services"],
    "patternProperties": {"^x-": {}},
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "services": {"type": "object", "additionalProperties": _SERVICE},
        "networks": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"internal": {"type": "boolean"}},
            },
        },
        "volumes": {
            "type": "object",
            "additionalProperties": {"type": "object", "maxProperties": 0},
        },
        "secrets": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["file"],
                "properties": {"file": {"type": "string"}},
            },
        },
    },
}

_VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z0-9_]+)(?:(:[-?])([^}]*))?\}")


def variables(text: str) -> dict[str, str | None]:
    """Each variable of the text, with its default if it has one."""
    found: dict[str, str | None] = {}
    for name, kind, default in _VARIABLE.findall(text):
        found[name] = default if kind == ":-" else found.get(name)
    return found


def read(text: str, environment: dict[str, str]) -> dict[str, Any]:
    """The file as Compose sees it: variables put in, anchors resolved, `$$` one dollar.

    Raises:
        ValueError: a variable without a default has no value.
    """

    def value(match: re.Match[str]) -> str:
        name, kind, default = match.groups()
        given = environment.get(name, "")
        if not given and kind == ":-":
            return default
        if not given:
            raise ValueError(f"{name} has no value")
        return given

    read_ = yaml.safe_load(_VARIABLE.sub(value, text).replace("$$", "$"))
    assert isinstance(read_, dict)
    return read_


def _references(compose: dict[str, Any], name: str, service: dict[str, Any]) -> Iterator[str]:
    for kind in ("networks", "secrets"):
        for used in service.get(kind, []):
            if used not in compose[kind]:
                yield f"{name}: {kind} has no {used}"
    for used in service.get("depends_on", {}):
        if used not in compose["services"]:
            yield f"{name}: depends on {used}, which is no service"
    for mount in service.get("volumes", []):
        source = mount.split(":")[0]
        if not source.startswith("./") and source not in compose["volumes"]:
            yield f"{name}: volumes has no {source}"
        if source.startswith("./") and not mount.endswith(":ro"):
            yield f"{name}: {source} of the host can be written"
    if not service.get("networks"):
        yield f"{name}: is on the default network"


def _hardening(name: str, service: dict[str, Any]) -> Iterator[str]:
    if not service.get("read_only"):
        yield f"{name}: its root file system can be written"
    if service.get("cap_drop") != ["ALL"]:
        yield f"{name}: keeps capabilities"
    if service.get("cap_add") not in ([None] if name != "proxy" else [["NET_BIND_SERVICE"]]):
        yield f"{name}: is given capabilities"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield f"{name}: may gain privileges"
    if service.get("ports") and name != "proxy":
        yield f"{name}: publishes ports"
    if not service.get("user"):
        yield f"{name}: its user is left to the image"
    if "tumorsite-" in service["image"] and service.get("user") != "10001:10001":
        yield f"{name}: is not 10001:10001"


def _care(name: str, service: dict[str, Any]) -> Iterator[str]:
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    for what in ("cpus", "memory", "pids"):
        if what not in limits:
            yield f"{name}: has no limit of {what}"
    once = service.get("restart") == "no"
    health = service.get("healthcheck", {})
    if not once and (health.get("disable") or not health.get("test")):
        yield f"{name}: has no health check"
    if "latest" in service["image"] or ":" not in service["image"].rpartition("/")[2]:
        yield f"{name}: its image has no version"


def faults(compose: dict[str, Any]) -> list[str]:
    """Sentences about what is wrong; none when all is well."""
    found = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message}"
        for error in Draft202012Validator(SCHEMA).iter_errors(compose)
    ]
    if found:
        return found
    services = compose["services"]
    for name, service in services.items():
        found += _references(compose, name, service)
        found += _hardening(name, service)
        found += _care(name, service)
    for name in ("database", "broker"):
        for network in services[name]["networks"]:
            if not compose["networks"][network].get("internal"):
                found.append(f"{name}: its network {network} leads outside")
            if network in services["proxy"]["networks"]:
                found.append(f"{name}: the proxy can reach it over {network}")
    waiting = {"service_completed_successfully"}
    for name in ("web", "inference", "general", "beat"):
        if {services[name].get("depends_on", {}).get("prepare", {}).get("condition")} != waiting:
            found.append(f"{name}: does not wait for prepare")
    return found
