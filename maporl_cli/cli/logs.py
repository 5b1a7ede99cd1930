"""`maporl logs`: what a training job or a run on this machine says."""

from __future__ import annotations

from typing import Annotated

import typer

from maporl_cli.cli.log_lines import line_printer
from maporl_cli.cli.options import Region
from maporl_cli.cli.output import say
from maporl_cli.cli.run_or_job import local_run, say_what_run_was_meant
from maporl_cli.core.errors import MissingError


def logs(
    job: Annotated[str, typer.Argument(metavar="JOB", help="A job's name, a run's name, or its directory.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until it has ended; Ctrl-C only ends the watching.")
    ] = False,
    rank: Annotated[
        int | None, typer.Option("--rank", metavar="R", min=0, help="Only what this rank says.")
    ] = None,
    region: Region = None,
) -> None:
    """Show what a training job or a run says; exits with its outcome."""
    run = local_run(job)
    if run is not None:
        from maporl_cli.monitoring import run_log

        goes_on = run_log.show_run(run, rank=rank, follow=follow, show=line_printer())
        error = None if goes_on else run_log.outcome(run)
    else:
        from maporl_cli.backends.sagemaker import jobs
        from maporl_cli.backends.sagemaker import logs as job_logs
        from maporl_cli.data.aws import aws_session

        read = job_logs.follow if follow else job_logs.show_all
        try:
            description = read(aws_session(region), job, rank=rank, show=line_printer(), say=say)
        except MissingError:
            say_what_run_was_meant(job)
            raise
        error = jobs.outcome(description)
    if error is not None:
        raise error
