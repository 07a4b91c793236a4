"""Pin what each environment installs, with hashes: ``make lock`` (needs uv).

The serving environment holds its own extra alone, not the client's base dependencies.
"""

import subprocess
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = {
    "serve": ("serve",),
    "train": ("client", "train", "tensorflow"),
    "dev": ("client", "serve", "train", "tensorflow", "dev", "fuzz"),
}


def requirements(extras: dict[str, list[str]], names: tuple[str, ...]) -> list[str]:
    """List the requirements of some extras, following an extra that names another of this project."""
    found = []
    for name in names:
        for requirement in extras[name]:
            nested = requirement.removeprefix("cxr-covid[").removesuffix("]")
            found += requirements(extras, (nested,)) if nested != requirement else [requirement]
    return found


def main() -> None:
    """Write one lock file an environment."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"] | {"client": project["dependencies"]}
    for environment, names in ENVIRONMENTS.items():
        command = ["uv", "pip", "compile", "-", "--quiet", "--universal", "--python-version", "3.11"]
        command += ["--generate-hashes", "--no-header", "--output-file", str(HERE / f"{environment}.txt")]
        subprocess.run(command, input="\n".join(requirements(extras, names)), text=True, check=True)


if __name__ == "__main__":
    main()
