"""What is compiled when the project is installed: see ``features.compiled``. All else is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import Extension, setup

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))

from features.compiled import COMPILED, WHOLE, build_of  # noqa: E402


def extensions():
    """The modules to build: none without Cython; one that the C compiler cannot build is left out (``optional``)."""
    try:
        from Cython.Build import cythonize
    except ImportError:
        return []
    # To the bit: no product is added unrounded, and no annotation makes a Python number one of C.
    how = {"extra_compile_args": ["-O2", "-g0", "-ffp-contract=off"], "optional": True}
    found = []
    for name in COMPILED:
        path = name.replace(".", "/") + (".py" if name in WHOLE else ".pyx")
        found.append(Extension(build_of(name, (ROOT / path).read_bytes()) if name in WHOLE else name, [path], **how))
    directives = {"language_level": 3, "annotation_typing": False}
    return cythonize(found, build_dir="build/cython", compiler_directives=directives, quiet=True)


setup(ext_modules=extensions())
