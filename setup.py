"""What the wheel carries beside the package: the workflow and what it reads, which `probesteer init` lays out."""

import shutil
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithLayout(build_py):
    """The package, and in its folder `layout` what `tool.probesteer.layout` of pyproject.toml names."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # the checkout is the layout
        folder = Path(self.build_lib) / "probesteer/layout"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["probesteer"]["layout"]:
            source = Path(name)
            unwanted = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(source, folder / name, ignore=unwanted) if source.is_dir() else shutil.copy2(source, folder / name)


setup(cmdclass={"build_py": WithLayout})
