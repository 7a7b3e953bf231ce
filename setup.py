"""Installs the package with its configuration files; requirements stand in ``Requirements/``."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def requirements(name: str) -> list[str]:
    """The lines of one list, without comments."""
    lines = (ROOT / "Requirements" / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def version() -> str:
    """``__version__``, read without importing the package."""
    text = (ROOT / "torchDVC" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise SystemExit("torchDVC/__init__.py: no __version__")
    return found[1]


setup(
    name="torchDVC",
    version=version(),
    description="The Learned Codec Protocol: create, train, test and use practical learned video codecs",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["torchDVC", "torchDVC.*"]),
    package_data={"torchDVC": ["configs/**/*", "pretrained/*.safetensors", "report/page/*"]},
    exclude_package_data={"torchDVC": ["configs/keys.json"]},
    install_requires=requirements("requirements.txt"),
    extras_require={name: requirements(f"{name}.txt") for name in ("test", "dev", "benchmarks")},
    entry_points={
        "console_scripts": [
            "torchdvc-train = torchDVC.trainer:program",
            "torchdvc-test = torchDVC.tester:program",
            "torchdvc-codec = torchDVC.codec:program",
        ]
    },
)
