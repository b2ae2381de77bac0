"""`fancypipe secret`: making, finding and sharing the secret.  It never prints one."""

from __future__ import annotations

import os
import sys

import click

from fancypipe_core import errors
from fancypipe_remote import _secret, _secret_file

__all__ = ["secret"]

_NAMES = {"help_option_names": ["-h", "-help", "--help"]}


@click.group(context_settings=_NAMES)
def secret() -> None:
    """Make, find and share the secret of a manager, its workers and its clients."""


@secret.command()
@click.option("-replace", "--replace", is_flag=True, help="Also if there is one already.")
def new(replace: bool) -> None:
    """Make a new secret in your file.

    Managers, workers and clients that run use the old one until they start again.
    """
    path = _user_file()
    if not _secret_file.create_user_file(path, replace=replace):
        raise errors.UsageError(
            f"{path}: there is a secret already; -replace makes another, and managers, workers "
            "and clients with the old one cannot connect to those with the new one"
        )
    click.echo(path)
    click.echo(
        "A new secret is in this file, for you only (mode 0600).  Machines with another home "
        "folder need a copy of it.",
        err=True,
    )


@secret.command()
def show_path() -> None:
    """Show where your file with the secret is, or would be."""
    path = _user_file()
    click.echo(path)
    if not os.path.lexists(path):
        click.echo(
            "It is not there yet: a manager makes it when it starts, and `fancypipe secret new` "
            "makes it now.",
            err=True,
        )


@secret.command()
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("-jobauth", "--jobauth", metavar="SECRET|@FILE|-", help="As for the manager.")
@click.option("-cluster", "--cluster", default="", metavar="NAME", help="As for the manager.")
def export_worker_key(file: str, jobauth: str | None, cluster: str) -> None:
    """Write a key that admits workers, and nobody else, to FILE.

    With `-jobauth=@FILE` a worker can then run on a machine that you trust less: from
    the key neither the secret nor a client's or manager's key can be had.
    """
    from fancypipe_remote import _keys

    found = _secret.find(jobauth)
    _secret.scrub(jobauth, sys.argv)
    for remark in found.remarks:
        click.echo(f"fancypipe: {remark}", err=True)
    _keys.export_worker_key(found, file, cluster)
    click.echo(file)


def _user_file() -> str:
    path = _secret_file.user_file()
    if path is None:
        raise errors.ConfigError("there is no home folder: set HOME or XDG_CONFIG_HOME")
    return path
