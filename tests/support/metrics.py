"""Metrics of served extensions, read from the health port as Prometheus reads them."""

import http.client

from prometheus_client.parser import text_string_to_metric_families

Sample = tuple[str, ...]


def scrape(port: int, beginning: str = "") -> dict[Sample, float]:
    """The samples whose names begin with a text: each by its name and its labels, as ``name=value``, sorted."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == 200, text
    finally:
        connection.close()
    return read_samples(text, beginning)


def read_samples(text: str, beginning: str = "") -> dict[Sample, float]:
    """The samples in the text of a page; none is there twice."""
    found: dict[Sample, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith(beginning):
                key = (sample.name, *sorted(f"{name}={value}" for name, value in sample.labels.items()))
                assert key not in found
                found[key] = sample.value
    return found
