"""Checks the examples for Kubernetes and Compose: as far as a machine without either can.

    python3 check_yaml.py BINARY

Every object against the schema of its kind, no unknown fields allowed; references between objects (ports by name,
labels, volumes, networks, secrets); every PANNIER_ variable against what the binary reads; probes against the image.
"""

import pathlib
import re
import subprocess
import sys

import compose_spec
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).parent.parent.parent
KUBERNETES = "1.33"
HEALTHCHECK = ["/pannier", "healthcheck"]


def fail_if(wrong, what):
    if wrong:
        raise SystemExit(what)


def flags_of(binary):
    text = subprocess.run([binary, "serve", "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"PANNIER_[A-Z_]+", text)) | {"PANNIER_PASSWORD", "PANNIER_ADMIN_TOKEN"}


def check_image():
    """What the examples say of the image is what the Dockerfile says."""
    text = (ROOT / "Dockerfile").read_text()
    fail_if('CMD ["/pannier", "healthcheck"]' not in text, "the Dockerfile has another healthcheck")
    fail_if("USER 65532:65532" not in text, "the Dockerfile has another user")


def check_kubernetes(path, known):
    objects = list(yaml.safe_load_all(path.read_text()))
    for found in objects:
        kubernetes_validate.validate(found, KUBERNETES, strict=True)
    for deployment in (found for found in objects if found["kind"] in ("Deployment", "StatefulSet")):
        template = deployment["spec"]["template"]
        labels, spec = template["metadata"]["labels"], template["spec"]
        fail_if(deployment["spec"]["selector"]["matchLabels"].items() - labels.items(), "the selector finds no pod")
        ports = {}
        claims = {claim["metadata"]["name"] for claim in deployment["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"] for volume in spec.get("volumes", [])} | claims
        for container in spec.get("initContainers", []) + spec["containers"]:
            own = {port["name"]: port for port in container.get("ports", [])}
            ports.update(own)
            check_container(container, own, volumes, known)
            check_data(container, claims, deployment["spec"])
        if deployment["kind"] == "StatefulSet":
            services = {found["metadata"]["name"] for found in objects if found["kind"] == "Service"}
            fail_if(deployment["spec"]["serviceName"] not in services, "the set's service is not there")
        budgets = [found for found in objects if found["kind"] == "PodDisruptionBudget"]
        fail_if(len(budgets) != 1, "a deployment has one budget of disruptions")
        fail_if(budgets[0]["spec"]["selector"]["matchLabels"].items() - labels.items(), "the budget finds no pod")
        for service in (found for found in objects if found["kind"] == "Service"):
            fail_if(service["spec"]["selector"].items() - labels.items(), "the service finds no pod")
            for port in service["spec"]["ports"]:
                target = ports.get(port["targetPort"])
                fail_if(target is None, f"no container has a port {port['targetPort']}")
                fail_if(port.get("protocol", "TCP") != target.get("protocol", "TCP"), f"{port}: another protocol")
    return len(objects)


def check_container(container, ports, volumes, known):
    name = container["name"]
    security = container["securityContext"]
    fail_if(not security["readOnlyRootFilesystem"] or security["capabilities"]["drop"] != ["ALL"], f"{name}: privileges")
    fail_if("memory" not in container["resources"]["limits"], f"{name}: no limit of memory")
    for mount in container.get("volumeMounts", []):
        fail_if(mount["name"] not in volumes, f"{name}: no volume {mount['name']}")
    settings = {entry["name"]: entry.get("value") for entry in container.get("env", [])}
    check_settings(name, settings, known)
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(kind, {})
        if "httpGet" in probe:
            fail_if(probe["httpGet"]["port"] not in ports, f"{name}: {kind} asks a port that is not there")
            admin = settings.get("PANNIER_ADMIN", "127.0.0.1:7879")
            fail_if(name == "pannier" and admin.startswith("127."), f"{name}: the kubelet cannot ask on loopback")
            token = settings.get("PANNIER_ADMIN_TOKEN_FILE")
            fail_if(name == "pannier" and not token, f"{name}: it does not start with a wide admin port and no token")
        elif "exec" in probe:
            fail_if(probe["exec"]["command"] != HEALTHCHECK, f"{name}: {kind} is not the healthcheck")


def check_data(container, claims, spec):
    """A data directory lies in a claimed volume that it may write to, and has one server."""
    name = container["name"]
    settings = {entry["name"]: entry.get("value") for entry in container.get("env", [])}
    directory = settings.get("PANNIER_DATA_DIR")
    if directory is None:
        return
    mounts = [mount for mount in container["volumeMounts"] if directory.startswith(mount["mountPath"] + "/")]
    fail_if(not mounts, f"{name}: {directory} is in no volume")
    fail_if(mounts[0]["name"] not in claims or mounts[0].get("readOnly"), f"{name}: {directory} is not kept")
    fail_if(spec["replicas"] != 1, f"{name}: a data directory has one server")


def check_settings(name, settings, known):
    unknown = {key for key in settings if key.startswith("PANNIER_")} - known
    fail_if(unknown, f"{name}: the server knows no {unknown}")


def check_compose(path, known):
    text = path.read_text()
    document = yaml.safe_load(text)
    options = compose_spec.PyOptions()
    options.apply_merge = True
    options.from_yaml(text).validate()
    services = document["services"]
    for name, service in services.items():
        fail_if(set(service.get("networks", [])) - set(document.get("networks", {})), f"{name}: no such network")
        fail_if(set(service.get("secrets", [])) - set(document.get("secrets", {})), f"{name}: no such secret")
        fail_if(set(service.get("depends_on", [])) - set(services), f"{name}: depends on nothing that is there")
        shared = service.get("network_mode", "")
        fail_if(shared.startswith("service:") and shared[8:] not in services, f"{name}: shares no network")
        fail_if(not service["read_only"] or service["cap_drop"] != ["ALL"], f"{name}: privileges")
        # A helper of somebody else's, such as the one that prepares a volume.
        if "build" not in service:
            fail_if(":" not in service.get("image", ""), f"{name}: neither built here nor an image with its version")
            continue
        context = (path.parent / service["build"]).resolve()
        fail_if(not (context / "Dockerfile").is_file(), f"{name}: nothing to build in {context}")
        check_settings(name, service["environment"], known)
        directory = service["environment"].get("PANNIER_DATA_DIR", "")
        mounted = [volume.split(":") for volume in service.get("volumes", [])]
        kept = [parts for parts in mounted if parts[0] in document.get("volumes", {}) and directory.startswith(parts[1] + "/")]
        fail_if(directory and not kept, f"{name}: {directory} is in no volume that has a name")
        check = service.get("healthcheck", {}).get("test")
        fail_if(check not in (None, ["CMD", *HEALTHCHECK]), f"{name}: another healthcheck")
    return len(services)


def main():
    known = flags_of(sys.argv[1])
    check_image()
    for path in sorted((ROOT / "examples/kubernetes").glob("*.yaml")):
        print(f"{path.name}: {check_kubernetes(path, known)} objects, Kubernetes {KUBERNETES}")
    for path in sorted((ROOT / "examples").glob("*compose.yaml")):
        print(f"{path.name}: {check_compose(path, known)} services")


if __name__ == "__main__":
    main()
