"""Takes CloudEvents from a stream of NATS JetStream: functions get them in order, and none is lost or handled twice."""

from extension_kit import Extension
from extension_kit.protocol import EventProtocol, Task

from .cloud_events import SOURCE, CloudEvent
from .consuming import Consumer
from .settings import JetStreamSettings

__all__ = ["CloudEvent", "JetStreamSettings", "extension"]

_CONSUMER = Consumer()

extension = Extension("extension-jetstream")
extension.add_protocol(
    EventProtocol(
        SOURCE,
        settings=JetStreamSettings,
        names=(f"{SOURCE}.*",),
        event=CloudEvent,
        tasks=(Task(1.0, _CONSUMER.consume),),
    )
)
extension.on_stop(_CONSUMER.stop)
extension.is_ready(_CONSUMER.problem)
