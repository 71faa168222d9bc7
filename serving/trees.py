"""The trees of a bundle behind LightGBM's own interface, at a fraction of its cost per call."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from features.errors import BadBundle
from serving.bundle import UNUSED

Matrix = npt.NDArray[np.float64]

_FEW = 1_024  # model rows up to which starting threads costs more than it saves
_TRAIN = "Train again with this version, or serve with the version that trained it."


def load_alone() -> None:
    """Load LightGBM without the libraries that scoring has no use for, where the process has loaded none of them.

    For a server, which does nothing else: LightGBM does without them until the process ends. Where it cannot be loaded
    at all, whoever loads a model says so.
    """
    if not any(name in sys.modules for name in UNUSED):
        sys.modules.update(dict.fromkeys(UNUSED))  # type: ignore[arg-type]
        try:
            with suppress(ImportError, OSError):
                import lightgbm  # noqa: F401
        finally:
            for name in UNUSED:
                del sys.modules[name]


def expand(matrix: Matrix, counts: Sequence[int] | npt.NDArray[np.intp]) -> Matrix:
    """Repeat row r ``counts[r]`` times and append the interval's index 0, 1, ... as the last column."""
    times = np.asarray(counts, dtype=np.intp)
    total = int(times.sum())
    out = np.empty((total, matrix.shape[1] + 1), dtype=np.float64)
    out[:, :-1] = np.repeat(matrix, times, axis=0)
    out[:, -1] = np.arange(total) - np.repeat(np.cumsum(times) - times, times)
    return out


class Trees:
    """A LightGBM model behind its C API: what ``Booster.predict`` does, without its cost per call.

    Each row is computed on its own, so neither the number of rows nor of threads changes a bit. Safe in threads.
    Raises BadBundle when LightGBM refuses the text; a damaged text may end the process (see ``check_bundle``).
    """

    def __init__(self, model_text: str, columns: int) -> None:
        import lightgbm
        from lightgbm.basic import _LIB

        try:
            self._booster = lightgbm.Booster(model_str=model_text)
        except lightgbm.basic.LightGBMError as e:
            raise BadBundle(
                "bad_model", f"LightGBM refuses the model: {e}.", where="model.txt", remedy=_TRAIN
            ) from None
        trees = int(self._booster.num_model_per_iteration())
        found = int(self._booster.num_feature())
        if trees != 1 or found != columns:
            raise BadBundle(
                "bad_model",
                f"the model takes {found} columns for {trees} output(s), not {columns} for 1 as the spec says.",
                where="model.txt",
                remedy=_TRAIN,
            )
        self.columns = columns
        # A library object of our own, so that these prototypes do not reach LightGBM's.
        library = ctypes.CDLL(_LIB._name)
        self._predict = library.LGBM_BoosterPredictForMat
        self._predict.argtypes = [
            ctypes.c_void_p,  # booster
            ctypes.c_void_p,  # data
            ctypes.c_int,  # its type: float64
            ctypes.c_int32,  # rows
            ctypes.c_int32,  # columns
            ctypes.c_int,  # by rows
            ctypes.c_int,  # what to predict
            ctypes.c_int,  # first iteration
            ctypes.c_int,  # number of iterations
            ctypes.c_char_p,  # parameters
            ctypes.POINTER(ctypes.c_int64),  # number of results
            ctypes.c_void_p,  # results
        ]
        self._error = library.LGBM_GetLastError
        self._error.restype = ctypes.c_char_p

    def raw(self, matrix: Matrix) -> Matrix:
        """The trees' sum for each row: log-odds before the starting score; shape (rows,)."""
        return self._run(matrix, 1, np.empty(len(matrix), dtype=np.float64))

    def contributions(self, matrix: Matrix) -> Matrix:
        """Each column's part in ``raw`` (TreeSHAP, Lundberg et al. 2020), then the expected value."""
        return self._run(matrix, 3, np.empty((len(matrix), self.columns + 1), dtype=np.float64))

    def _run(self, matrix: Matrix, kind: int, out: Matrix) -> Matrix:
        rows, columns = matrix.shape
        if columns != self.columns or matrix.dtype != np.float64 or not matrix.flags.c_contiguous:
            raise ValueError(f"not a C-contiguous float64 matrix of {self.columns} columns")
        if rows == 0:
            return out
        threads = b"num_threads=1 verbosity=-1" if rows <= _FEW else b"verbosity=-1"
        count = ctypes.c_int64()
        failed = self._predict(
            self._booster._handle,
            matrix.ctypes.data,
            1,
            rows,
            columns,
            1,
            kind,
            0,
            -1,
            threads,
            ctypes.byref(count),
            out.ctypes.data,
        )
        if failed or count.value != out.size:
            raise RuntimeError(f"LightGBM could not predict: {self._error().decode(errors='replace')}")
        return out
