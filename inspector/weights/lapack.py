"""Gram matrices and their eigenvalues in place: no second copy, and other threads go on meanwhile.

numpy copies the matrix first and scipy's wrappers hold the interpreter's lock; both call the same
routines as here (dsyrk, dsyevd), which scipy offers to compiled code.
"""

import ctypes

import numpy as np
from jaxtyping import Float
from numba.extending import get_cython_function_address

CHARACTER, INTEGER, REAL = ctypes.c_char_p, ctypes.POINTER(ctypes.c_int), ctypes.c_void_p
_dsyrk = ctypes.CFUNCTYPE(
    *(None, CHARACTER, CHARACTER, INTEGER, INTEGER, ctypes.POINTER(ctypes.c_double), REAL),
    *(INTEGER, ctypes.POINTER(ctypes.c_double), REAL, INTEGER),
)(get_cython_function_address("scipy.linalg.cython_blas", "dsyrk"))
_dsyevd = ctypes.CFUNCTYPE(
    *(None, CHARACTER, CHARACTER, INTEGER, REAL, INTEGER, REAL, REAL, INTEGER, INTEGER),
    *(INTEGER, INTEGER),
)(get_cython_function_address("scipy.linalg.cython_lapack", "dsyevd"))


def add_gram(total: Float[np.ndarray, "side side"], block: Float[np.ndarray, "rows side"]) -> None:
    """Add blockᵀ block to `total`, of which only one triangle is kept; both C-ordered float64."""
    rows, side = block.shape
    _check(total)
    _check(block)
    one, side_, rows_ = ctypes.c_double(1.0), ctypes.c_int(side), ctypes.c_int(rows)
    # to Fortran a C-ordered block is its own transpose
    _dsyrk(
        b"L",
        b"N",
        ctypes.byref(side_),
        ctypes.byref(rows_),
        ctypes.byref(one),
        block.ctypes.data,
        ctypes.byref(side_),
        ctypes.byref(one),
        total.ctypes.data,
        ctypes.byref(side_),
    )


def eigenvalues(total: Float[np.ndarray, "side side"]) -> Float[np.ndarray, " side"]:
    """Eigenvalues, ascending, of the triangle that `add_gram` keeps; `total` is used up.

    Raises LinAlgError when they are not found, as can happen with values that are not finite.
    """
    _check(total)
    side = ctypes.c_int(len(total))
    values = np.empty(len(total))
    wanted, wanted_whole = np.empty(1), ctypes.c_int()
    _solve(total, side, values, wanted, -1, wanted_whole, -1)
    work = np.empty(int(wanted[0]))
    info = _solve(total, side, values, work, len(work), ctypes.c_int(), 1)
    if info:
        raise np.linalg.LinAlgError(f"dsyevd ended with {info}")
    return values


def _solve(
    total: np.ndarray,
    side: ctypes.c_int,
    values: np.ndarray,
    work: np.ndarray,
    size: int,
    whole: ctypes.c_int,
    whole_size: int,
) -> int:
    info = ctypes.c_int()
    _dsyevd(
        b"N",
        b"L",
        ctypes.byref(side),
        total.ctypes.data,
        ctypes.byref(side),
        values.ctypes.data,
        work.ctypes.data,
        ctypes.byref(ctypes.c_int(size)),
        ctypes.byref(whole),
        ctypes.byref(ctypes.c_int(whole_size)),
        ctypes.byref(info),
    )
    return info.value


def _check(array: np.ndarray) -> None:
    if array.dtype != np.float64 or not array.flags.c_contiguous:
        raise TypeError(f"not a C-ordered float64 array: {array.dtype}, {array.strides}")
