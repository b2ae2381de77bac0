"""For packages that start workers of their own: a session's manager, and its backend.

A batch system, such as Slurm, is a `BatchSystem`: it says how a job is submitted, listed and
withdrawn.  `make_elastic` makes a backend of it that has as many jobs as there is work for, at an
`OwnManager`; how many, its `Fleet` decides.
"""

from __future__ import annotations

from fancypipe_remote._client.backend import RemoteBackend
from fancypipe_remote._client.batch import BatchJob, BatchSystem, Fleet, JobState
from fancypipe_remote._client.connect import make
from fancypipe_remote._client.elastic import ElasticBackend, make_elastic
from fancypipe_remote._client.own_manager import OwnManager

__all__ = [
    "BatchJob",
    "BatchSystem",
    "ElasticBackend",
    "Fleet",
    "JobState",
    "OwnManager",
    "RemoteBackend",
    "make",
    "make_elastic",
]
