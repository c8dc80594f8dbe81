"""The kit with a durable function that tells at once when it was started."""

import os
import socket
import struct
import time

from extension_kit import Event, Extension

extension = Extension("extension-benchmark")
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


@extension.listen_to("experiment.execution.*", path="/events")
def tell(event: Event) -> None:
    started = time.monotonic()  # the same clock in every process
    listener.sendto(struct.pack("d", started), ("127.0.0.1", int(os.environ["TOLD_PORT"])))
