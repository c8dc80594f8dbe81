"""Metrics of extensions: the results of their ``metrics`` functions, for the page that Prometheus reads.

They are collected where deliveries are made, as the process that shows the page may have no database. The last
result of a function is shown until there is another, across restarts of the worker beside a server.
"""

import logging
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from extension_kit.events.hooks import Hook
from extension_kit.observability.metrics import is_installed
from extension_kit.observability.metrics_page import publish

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

logger = logging.getLogger("extension_kit.metrics")

_OWN_PREFIX = "extension_"  # of the kit's metrics


class ExtensionMetrics:
    """The ``metrics`` functions of a process that makes deliveries.

    Args:
        hooks: those of all extensions; others are left out.
    """

    def __init__(self, hooks: Iterable[Hook]) -> None:
        self.hooks = [hook for hook in hooks if hook.kind == "metrics"] if is_installed() else []
        self._texts: dict[Hook, bytes] = {}
        self._owners: dict[str, Hook] = {}
        self._failing: set[Hook] = set()
        self._publishing = threading.Lock()

    def collect(self, hook: Hook) -> None:
        """Call a function and publish all metrics; if it fails, its last ones. The first failure is logged.

        Args:
            hook: one of ``hooks``. Each has a thread of its own, as it may hang.
        """
        try:
            text = self._text(hook)
        except Exception:
            if hook not in self._failing:
                logger.exception("%s: %s failed, its last metrics are shown", hook.extension, hook)
            self._failing.add(hook)
            return
        self._failing.discard(hook)
        with self._publishing:
            self._texts[hook] = text
            publish(b"".join(self._texts[each] for each in self.hooks if each in self._texts))

    def _text(self, hook: Hook) -> bytes:
        from prometheus_client import generate_latest

        families = _Families(hook)
        for family in families.collect():
            if family.name.startswith(_OWN_PREFIX) or self._owners.setdefault(family.name, hook) is not hook:
                raise ValueError(f"another extension or the kit has a metric {family.name}: choose another name")
        return generate_latest(families)


class _Families:
    """Collector of the metrics that a function returns, for the library.

    Args:
        hook: the function.

    Raises:
        TypeError: it does not return metrics.
    """

    def __init__(self, hook: Hook) -> None:
        from prometheus_client.metrics_core import Metric

        answer = hook.call()
        if not isinstance(answer, list) or not all(isinstance(family, Metric) for family in answer):
            raise TypeError(f"{hook} returns a list of metrics of prometheus_client.core, not {answer!r:.80}")
        self._families: list[Metric] = answer

    def collect(self) -> Iterator["Metric"]:
        yield from self._families
