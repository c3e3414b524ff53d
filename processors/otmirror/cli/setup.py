"""`otmirror setup`: install what the mirror runs on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from rich.console import Console

from otmirror.embedded import bundle, install, java, victoriametrics


def setup() -> None:
    """Install NiFi, VictoriaMetrics and the processors' packages; what is there already is left alone."""
    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    # Before the threads: both NiFi and Maven need it, and its installation uses pip as the packages do.
    java.java_home()
    with ThreadPoolExecutor(2) as pool:
        # The build of VictoriaMetrics is the longest; NiFi waits for the network, and so do the packages.
        tasks = [
            pool.submit(task, say) for task in (victoriametrics.install, install.install, bundle.bundle_dependencies)
        ]
        for task in tasks:
            task.result()
    console.print("NiFi, VictoriaMetrics and the processors' packages are installed.")
