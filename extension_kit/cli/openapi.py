"""Command ``openapi``: the OpenAPI document of extensions, printed."""

import json

import click


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="FILE_OR_MODULE...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of YAML.")
def openapi(targets: tuple[str, ...], as_json: bool) -> None:
    """Print the OpenAPI document of the extensions in files, folders or modules, with their paths."""
    from extension_kit.loading import load_extensions
    from extension_kit.runtime.service import Service
    from extension_kit.settings.kit import Settings
    from extension_kit.web.index import openapi_document
    from extension_kit.web.openapi import to_yaml

    # Without a database: to describe an extension is not to run it.
    document = openapi_document(Service.of(load_extensions(targets), Settings.from_environment(), durable=False))
    click.echo(json.dumps(document, indent=2) if as_json else to_yaml(document).rstrip())
