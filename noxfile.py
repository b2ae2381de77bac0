"""What can be checked of fancypipe, session by session: `nox -l` lists them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox
from nox.project import load_toml
from packaging.requirements import Requirement

CORE, THREADS, PROCS, REMOTE = PACKAGES = (
    "fancypipe_core",
    "fancypipe_threads",
    "fancypipe_procs",
    "fancypipe_remote",
)
ENGINES = ("fancypipe_dask", "fancypipe_ray", "fancypipe_slurm")  # each needs an engine of others
META = "fancypipe"  # holds no code, and needs the others
SUPPORTED = ["3.10", "3.11", "3.12", "3.13"]
# The next Python is tried where there is one; the supported ones must be there.
PYTHONS = SUPPORTED + [python for python in ["3.14"] if shutil.which(f"python{python}")]
REQUIREMENTS = Path("tests/requirements.txt")

# What each package needs to be installed alone, and the backends that are then there.
ALONE = {
    CORE: ([CORE], ["serial"]),
    THREADS: ([CORE, THREADS], ["serial", "threads"]),
    PROCS: ([CORE, PROCS], ["serial", "procs"]),
    REMOTE: ([CORE, REMOTE], ["serial", "remote"]),
    "fancypipe_slurm": ([CORE, REMOTE, "fancypipe_slurm"], ["serial", "remote", "slurm"]),
    "fancypipe_ray": ([CORE, "fancypipe_ray"], ["serial", "ray"]),
    "fancypipe_dask": ([CORE, "fancypipe_dask"], ["serial", "dask"]),
    META: ([*PACKAGES, META], ["serial", "threads", "procs", "remote"]),
}

nox.options.reuse_existing_virtualenvs = True


def install(session: nox.Session, *more: str) -> None:
    """Install the packages to edit, and what the tests need."""
    packages = [word for package in (*PACKAGES, *ENGINES) for word in ("-e", f"./{package}")]
    session.install(*packages, "-r", str(REQUIREMENTS), *more)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run all tests, or those given after `--`."""
    install(session)
    # That one runs a part of the tests on the other Pythons; here all run on all.
    session.run("pytest", "-n", "auto", "--ignore=tests/system/test_pythons.py", *session.posargs)


@nox.session
def quick(session: nox.Session) -> None:
    """Run the tests that need less than a minute: core, pool machine, repository."""
    install(session)
    session.run("pytest", "-n", "auto", "-m", "quick", *session.posargs)


@nox.session(default=False)
def cover(session: nox.Session) -> None:
    """Say which lines no test runs, those in processes that tests start counted in."""
    install(session, "coverage>=7.10")
    env = {"COVERAGE_FILE": str(Path(session.create_tmp()).resolve() / "coverage")}
    session.run("coverage", "erase", env=env)
    # Tests of what is imported see coverage itself: a failure does not end this.
    tests = ("pytest", "-n", "auto", *session.posargs)
    session.run("coverage", "run", "-m", *tests, env=env, success_codes=[0, 1])
    session.run("coverage", "combine", "--quiet", env=env)
    session.run("coverage", "report", env=env)


@nox.session(python=[SUPPORTED[0], SUPPORTED[-1]])
def types(session: nox.Session) -> None:
    """Check the types with the oldest and the newest Python."""
    install(session, "nox")
    session.run("mypy")
    session.run("mypy", "noxfile.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Check the style."""
    ruff = [line for line in REQUIREMENTS.read_text("utf-8").splitlines() if line[:4] == "ruff"]
    session.install(*(line.partition("#")[0].strip() for line in ruff))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def docs(session: nox.Session) -> None:
    """Run the tests that check what the documents say, and that they build as a site."""
    install(session)
    session.run("pytest", "tests/docs", *session.posargs)


@nox.session
@nox.parametrize("package", [nox.param(package, id=package) for package in ALONE])
def alone(session: nox.Session, package: str) -> None:
    """Build a package, install it with what it needs and nothing else, and use it."""
    needed, backends = ALONE[package]
    place = Path(session.create_tmp())
    built, clean = place / "built", place / "clean"
    shutil.rmtree(built, ignore_errors=True)
    session.install("build")
    for name in needed:
        # The wheel is made from the source distribution, so both are known to be whole.
        session.run("python", "-m", "build", "--outdir", str(built), name, silent=True)
    session.run("python", "-m", "venv", "--clear", str(clean))
    python = str(clean / ("Scripts" if os.name == "nt" else "bin") / "python")
    wheels = [str(wheel) for wheel in sorted(built.glob("*.whl"))]
    session.run(python, "-m", "pip", "install", "--quiet", *wheels, external=True)
    session.run(python, "-m", "pip", "check", external=True)
    session.run(python, "tests/meta/alone.py", *backends, external=True)


@nox.session(default=False)
def engines(session: nox.Session) -> None:
    """Kill workers during 2,000 tasks, and run the whole kit on dask and ray: 20 minutes."""
    install(session)
    session.run(
        *("pytest", "tests/engines/test_engines.py", "tests/engines/test_slurm.py"),
        env={"FANCYPIPE_TEST_NAPS": "2000"},
    )
    session.run(
        *("pytest", "tests/engines", "-m", "engines", "-s"),
        *("-o", "faulthandler_timeout=1800", *session.posargs),
    )


@nox.session(default=False)
def resume(session: nox.Session) -> None:
    """Kill the brain example ten times, and take it up again each time: a few minutes."""
    install(session)
    session.run("python", "-m", "tests.system.kills", *session.posargs)


@nox.session(python=SUPPORTED[0], default=False)
def minimums(session: nox.Session) -> None:
    """Run the tests with the oldest of everything that we say we can use."""
    requirements = {
        Requirement(text)
        for package in (*PACKAGES, *ENGINES)
        for text in load_toml(f"{package}/pyproject.toml")["project"]["dependencies"]
    }
    constraints = Path(session.create_tmp()) / "minimums.txt"
    constraints.write_text(
        "".join(
            f"{requirement.name}=={specifier.version}\n"
            for requirement in sorted(requirements, key=str)
            for specifier in requirement.specifier
            if specifier.operator == ">="
        ),
        encoding="utf-8",
    )
    install(session, "--constraint", str(constraints))
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Let peers with real keys lie to manager, worker and client, for an hour in all."""
    install(session)
    session.run(
        *(
            "pytest",
            "tests/remote/test_lies.py",
            "tests/remote/test_lying_parties.py",
            "-k",
            "fuzz",
        ),
        *("-o", "faulthandler_timeout=3600", *session.posargs),
        env={"FUZZ": "1200"},  # seconds for each of three
    )
