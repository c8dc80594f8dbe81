from extension_kit import Event, Extension

extension = Extension("extension-oncall")


@extension.listen_to("experiment.execution.failed", "experiment.execution.errored")
def page(event: Event) -> None:
    run = event.experiment_execution
    print(f"{run.experiment_key}: {run.name} {run.state} ({run.reason})", flush=True)
