"""Files under deploy/: linted and validated; what they call exists. No image is built here."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from perceiver_runtime.commands.main import build_parser
from perceiver_runtime.serving.http.metrics import Metrics

DEPLOY = Path(__file__).parent.parent / "deploy"
DOCKERFILES = sorted(DEPLOY.glob("*.Dockerfile"))
MANIFESTS = sorted(DEPLOY.glob("*.yaml"))
TRITON_METRICS = {  # docs/user_guide/metrics.md of Triton 24.12
    "nv_inference_pending_request_count",
    "nv_inference_request_success",
    "nv_inference_request_failure",
    "nv_inference_queue_duration_us",
    "nv_inference_compute_infer_duration_us",
}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def test_there_are_files() -> None:
    assert [path.name for path in DOCKERFILES] == ["serve.Dockerfile", "tensorrt.Dockerfile", "triton-python.Dockerfile"]
    assert {path.name for path in MANIFESTS} == {"alerts.yaml", "kserve.yaml", "kubernetes.yaml", "kubernetes-serve.yaml"}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_dockerfiles_are_clean(path: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not here")
    done = subprocess.run([hadolint, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
    broken = path.read_text().replace("USER ", "USER root\n# ").replace("WORKDIR /tmp", "WORKDIR tmp")
    assert subprocess.run([hadolint, "-"], input=broken, capture_output=True, text=True, check=False).stdout != ""


@pytest.mark.parametrize("name", ["kubernetes.yaml", "kubernetes-serve.yaml"])
def test_manifests_fit_the_schemas(name: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not here")
    for document in documents(name):
        validate.validate(document, validate.latest_version(), strict=True)
    with pytest.raises(validate.ValidationError):
        validate.validate({**documents(name)[0], "speck": {}}, validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", ["kubernetes.yaml", "kubernetes-serve.yaml"])
def test_pods_have_probes_and_resources(name: str) -> None:
    deployment, service = documents(name)[:2]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for probe, state in (("startupProbe", "ready"), ("readinessProbe", "ready"), ("livenessProbe", "live")):
        assert container[probe]["httpGet"]["path"] == f"/v2/health/{state}"
    assert container["resources"]["requests"]["cpu"]
    assert container["resources"]["limits"]["memory"]
    assert pod["terminationGracePeriodSeconds"] > 60  # what a request may take
    ports = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_autoscaling_follows_the_queue() -> None:
    scaler = next(each for each in documents("kubernetes.yaml") if each["kind"] == "HorizontalPodAutoscaler")
    (metric,) = scaler["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "nv_inference_pending_request_count"
    assert scaler["spec"]["scaleTargetRef"]["name"] == documents("kubernetes.yaml")[0]["metadata"]["name"]


def test_arguments_of_perceiver_serve_are_known() -> None:
    (container,) = documents("kubernetes-serve.yaml")[0]["spec"]["template"]["spec"]["containers"]
    entry = re.search(r"^ENTRYPOINT (\[.*\])$", (DEPLOY / "serve.Dockerfile").read_text(), re.MULTILINE)
    assert entry is not None
    parsed = build_parser().parse_args([*json.loads(entry[1])[1:], *container["args"]])
    assert (parsed.command, parsed.host, parsed.bundles) == ("serve", "0.0.0.0", ["/bundles/flow"])


def test_an_inference_service() -> None:
    (service,) = documents("kserve.yaml")
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert service["spec"]["predictor"]["model"]["modelFormat"]["name"] == "triton"
    assert service["spec"]["predictor"]["model"]["protocolVersion"] == "v2"


def test_alerts_are_of_metrics_that_exist() -> None:
    """Rules have what Prometheus wants of them, and name metrics of Triton and of perceiver serve alone."""
    metrics = Metrics({})
    metrics.count("m", 200, 1.0)
    own = set(re.findall(r"^(perceiver_\w+)", metrics.text(), re.MULTILINE))
    rules = [rule for group in documents("alerts.yaml")[0]["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) == 7
    for rule in rules:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", rule["for"])
        named = set(re.findall(r"\b(?:nv|perceiver)_\w+", rule["expr"]))
        assert named
        assert named <= own | TRITON_METRICS
        for opening, closing in ("()", "{}", "[]"):
            assert rule["expr"].count(opening) == rule["expr"].count(closing)


@pytest.mark.parametrize("path", [*DOCKERFILES, *MANIFESTS], ids=lambda path: path.name)
def test_no_registry_is_named(path: Path) -> None:
    """Where images come from is for whoever builds them to say."""
    images = re.findall(r"^(?:FROM|ARG BASE=?|\s*image:)(.*)$", path.read_text(), re.MULTILINE)
    assert not [image for image in images if re.search(r"[a-z0-9-]+\.[a-z]{2,}/", image)]
