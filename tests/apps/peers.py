"""A protocol that tells clients which certificate it has seen of them."""

from dataclasses import dataclass

from flask import Blueprint, Response, jsonify, request

from extension_kit import Extension
from extension_kit.protocol import EventProtocol, Kit, Routes, peer_certificate


@dataclass(frozen=True)
class PeersSettings:
    pass


def routes(kit: Kit, settings: PeersSettings) -> Routes:
    peers = Blueprint("peers", __name__)

    @peers.get("/peers/me")
    def me() -> Response:
        variables = {name: value for name, value in request.environ.items() if name.startswith("SSL_")}
        return jsonify(certificate=peer_certificate(request.environ), variables=variables)

    return Routes(peers, paths=("/peers",), answer_error=lambda error: Response(str(error), 500))


extension = Extension("extension-peers")
extension.add_protocol(EventProtocol("peers", PeersSettings, routes))


@extension.listen_to("killswitch.engaged", immediate=True)
def page(event: object) -> None:
    pass
