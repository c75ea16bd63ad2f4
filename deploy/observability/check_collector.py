#!/usr/bin/env python3
"""Holds collector.yaml against what the collector's documentation says, and against what other files say of it.

The collector itself would do it better (`otelcol validate --config=…`), but its program is not at hand where this is checked.
So a setting has to be in the list below, with a value of its kind; pipelines name what is defined, and all of it; the ports
are those that services send to and Prometheus scrapes.

check_collector.py              exit code 1 and a line per broken promise
check_collector.py --self-test  breaks copies in every way that is looked for, and expects each to be named
"""

import re
import sys

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

import check

FILE = check.ROOT / "deploy/observability/collector.yaml"


def spelt(pattern):
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def percentage(value):
    return type(value) is int and 0 < value < 100


def switch(value):
    return type(value) is bool


def default(value):
    """`{}`: all of it as the collector has it."""
    return value == {}


def names(value):
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


ADDRESS = spelt(r"[\w.-]+:\d+")
DURATION = spelt(r"\d+(ms|s|m|h)")
# What is set, each looked up in the documentation of its component. The collector does not start over any other.
SETTINGS = {
    "receivers.otlp.protocols.grpc.endpoint": ADDRESS,
    "processors.memory_limiter.check_interval": DURATION,
    "processors.memory_limiter.limit_percentage": percentage,
    "processors.memory_limiter.spike_limit_percentage": percentage,
    "processors.batch": default,
    "exporters.prometheus.endpoint": ADDRESS,
    "exporters.prometheus.add_metric_suffixes": switch,
    "exporters.prometheus.metric_expiration": DURATION,
    "exporters.otlp.endpoint": spelt(r"\$\{env:[A-Z_]+\}"),
    "exporters.otlp.tls.insecure": switch,
    **{
        f"service.pipelines.{signal}.{section}": names
        for signal in ("metrics", "traces", "logs")
        for section in ("receivers", "processors", "exporters")
    },
}


def leaves(node, path=()):
    """Every setting with its value."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaves(value, (*path, str(key)))
    else:
        yield ".".join(path), node


def problems(text):
    """A line per broken promise."""
    try:
        config = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        return [f"is not YAML: {' '.join(str(error).split())}"]
    settings = dict(leaves(config))
    found = []
    for path, value in settings.items():
        if path not in SETTINGS:
            found.append(f"there is no setting {path}")
        elif not SETTINGS[path](value):
            found.append(f"{path} is {value!r}")
    found.extend(f"{path} is missing" for path in SETTINGS if path not in settings)
    # What comes now asks for values that are there.
    return found or [*pipelines(config), *promises(settings)]


def pipelines(config):
    used = set()
    for signal, pipeline in config["service"]["pipelines"].items():
        for section, ids in pipeline.items():
            if not ids:
                yield f"the pipeline {signal} has no {section}"
            for name in ids:
                used.add((section, name))
                if name not in config[section]:
                    yield f"the pipeline {signal} names {name}, which is not among the {section}"
                if ids.count(name) > 1:
                    yield f"the pipeline {signal} names {name} twice among its {section}"
        # The limiter refuses while a sender still knows of it; behind the batches nobody would be told.
        if pipeline["processors"] != ["memory_limiter", "batch"]:
            yield f"the processors of {signal} are {pipeline['processors']}"
        # It takes metrics only, and nothing else makes them of use to Prometheus.
        if ("prometheus" in pipeline["exporters"]) != (signal == "metrics"):
            yield f"the exporters of {signal} are {pipeline['exporters']}"
    for section in ("receivers", "processors", "exporters"):
        for name in config[section]:
            if (section, name) not in used:
                yield f"no pipeline uses {name} of the {section}"


def promises(settings):
    def said(file, pattern):
        match = re.search(pattern, (check.ROOT / file).read_text())
        return match[1] if match else None

    def port(path):
        return settings[path].rpartition(":")[2]

    sent_to = said("helm/syncline/values.yaml", r"\botelPort: (\d+)")
    if port("receivers.otlp.protocols.grpc.endpoint") != sent_to:
        yield f"the services of the Helm chart send to port {sent_to}"
    scraped = said("docs/dashboards.md", r'targets: \["collector:(\d+)"\]')
    if port("exporters.prometheus.endpoint") != scraped:
        yield f"Prometheus scrapes port {scraped}, by docs/dashboards.md"
    if not settings["exporters.prometheus.add_metric_suffixes"]:
        yield "without suffixes, metrics are not called as in docs/metrics.md"
    if settings["exporters.prometheus.metric_expiration"] != "5m":
        yield "docs/dashboards.md says that what nobody sends disappears after five minutes"
    if not said("libs/runtime/src/telemetry.rs", r'KeyValue::new\("(service\.instance\.id)"'):
        yield "services do not send service.instance.id, of which the label instance is made"
    if not said("docs/dashboards.md", r"(honor_labels: true)"):
        yield "docs/dashboards.md scrapes without honor_labels, which renames the label instance"


# What a self-test breaks: how (what is replaced, by what), and what must be said of it.
BROKEN = [
    ("receivers:\n", "receivers\n", "is not YAML"),
    ("exporters:\n", "receivers: {}\nexporters:\n", "is not YAML"),
    ("receivers:\n", "receiver:\n", "there is no setting receiver.otlp"),
    ("metric_expiration", "metrics_expiration", "there is no setting exporters.prometheus.metrics_expiration"),
    ("    tls:", "    resource_to_telemetry_conversion: {enabled: false}\n    tls:", "there is no setting exporters.otlp.resource_to"),
    ("limit_percentage: 75", "limit_percentage: 175", "processors.memory_limiter.limit_percentage is 175"),
    ("check_interval: 1s", "check_interval: 1", "processors.memory_limiter.check_interval is 1"),
    ("batch: {}", "batch:", "processors.batch is None"),
    ("add_metric_suffixes: true", 'add_metric_suffixes: "yes"', "exporters.prometheus.add_metric_suffixes is 'yes'"),
    ("${env:OTLP_BACKEND}", "$OTLP_BACKEND", "exporters.otlp.endpoint is '$OTLP_BACKEND'"),
    ("    logs:", "    log:", "service.pipelines.logs.receivers is missing"),
    ("    traces: {receivers: [otlp]", "    traces: {receivers: otlp", "service.pipelines.traces.receivers is 'otlp'"),
    ("    traces: {receivers: [otlp]", "    traces: {receivers: []", "the pipeline traces has no receivers"),
    ("    logs: {receivers: [otlp]", "    logs: {receivers: [otlp/logs]", "the pipeline logs names otlp/logs, which is not among the receivers"),
    ("    logs: {receivers: [otlp]", "    logs: {receivers: [otlp, otlp]", "the pipeline logs names otlp twice"),
    ("[memory_limiter, batch], exporters: [prometheus]", "[batch, memory_limiter], exporters: [prometheus]", "the processors of metrics are"),
    ("exporters: [prometheus]", "exporters: [otlp]", "no pipeline uses prometheus of the exporters"),
    ("exporters: [prometheus]", "exporters: [otlp]", "the exporters of metrics are"),
    (":4317\"}", ":4318\"}", "the services of the Helm chart send to port 4317"),
    (":8889\"", ":8888\"", "Prometheus scrapes port 8889"),
    ("add_metric_suffixes: true", "add_metric_suffixes: false", "without suffixes"),
    ("metric_expiration: 5m", "metric_expiration: 30s", "disappears after five minutes"),
]


def self_test(text):
    """How many ways to break it were not seen."""
    unseen = 0
    for old, new, fragment in BROKEN:
        assert text.count(old) == 1, f"{old} is not once in it"
        said = problems(text.replace(old, new))
        if not any(fragment in line for line in said):
            unseen += 1
            print(f"{old!r} as {new!r}: not named, but {said}", file=sys.stderr)
    return unseen


def main():
    if sys.argv[1:] not in ([], ["--self-test"]):
        raise SystemExit(__doc__)
    text = FILE.read_text()
    found = problems(text)
    for problem in found:
        print(f"{FILE.name}: {problem}", file=sys.stderr)
    if found:
        return 1
    if sys.argv[1:]:
        if self_test(text):
            return 1
        print(f"{len(BROKEN)} ways to break the collector's configuration are all named")
    else:
        print("the collector's configuration has only what there is, and its three pipelines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
