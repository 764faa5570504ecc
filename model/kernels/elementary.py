"""exp, sigmoid, softplus and erf in float32 for numba loops, written so that LLVM vectorizes a loop that uses them.

A loop that calls a function of libm is not vectorized. The functions here are polynomials on a reduced range of the
argument, with a relative error of about 2e-7. Do not compile them with the flag ``reassoc``: they round by adding a
large constant, which relies on the order of the additions. Their callers may have that flag, because flags belong to
single instructions and are kept when a function is inlined.
"""

from __future__ import annotations

import numpy as np

from mdaf.model.kernels.numba_jit import exact

LOG2_E = np.float32(1.4426950408889634)
LN_2 = np.float32(0.6931471805599453)

_ONE = np.float32(1.0)
_TWO = np.float32(2.0)
_ZERO = np.float32(0.0)
_SMALLEST_POWER = np.float32(-126.0)
_LARGEST_POWER = np.float32(127.0)
# 1.5 * 2^23: adding it leaves the nearest integer in the low bits of the float's representation.
_ROUNDING = np.float32(12582912.0)
_MANTISSA_BITS = np.int32(23)

# 2^f = 1 + f * (E1 + f * (E2 + ...)) on [-1/2, 1/2]. The fit minimizes the largest relative error, which is 9e-8.
_E1 = np.float32(0.6931469776074226)
_E2 = np.float32(0.24022242086531154)
_E3 = np.float32(0.055507337270202184)
_E4 = np.float32(0.009671512580145928)
_E5 = np.float32(0.0013264732654601381)

# log(1 + u) = 2 artanh(s) with s = u / (2 + u) <= 1/3: its series up to s^13. The rest of the series is below 1e-8.
_L3 = np.float32(1 / 3)
_L5 = np.float32(1 / 5)
_L7 = np.float32(1 / 7)
_L9 = np.float32(1 / 9)
_L11 = np.float32(1 / 11)
_L13 = np.float32(1 / 13)


@exact
def exp2(v):
    """2^v, limited to the range from 2^-126 to 2^127; exactly 1 at 0."""
    v = min(max(v, _SMALLEST_POWER), _LARGEST_POWER)
    shifted = np.float32(v + _ROUNDING)
    f = np.float32(v - np.float32(shifted - _ROUNDING))
    power = np.float32(_ONE + f * (_E1 + f * (_E2 + f * (_E3 + f * (_E4 + f * _E5)))))
    power_bits = power.view(np.int32)
    shifted_bits = shifted.view(np.int32)
    bits = np.int32(power_bits + np.int32(shifted_bits << _MANTISSA_BITS))
    return bits.view(np.float32)


@exact
def sigmoid(v):
    """1 / (1 + e^-v)."""
    return np.float32(_ONE / (_ONE + exp2(np.float32(-v * LOG2_E))))


@exact
def softplus(v):
    """log(1 + e^v), accurate in relative terms also where the result is tiny."""
    magnitude = v if v > _ZERO else np.float32(-v)
    u = exp2(np.float32(-magnitude * LOG2_E))
    s = np.float32(u / (_TWO + u))
    q = np.float32(s * s)
    tail = np.float32(_ONE + q * (_L3 + q * (_L5 + q * (_L7 + q * (_L9 + q * (_L11 + q * _L13))))))
    positive = v if v > _ZERO else _ZERO
    return np.float32(positive + _TWO * s * tail)


# erf(z) = 1 - (a1 t + ... + a5 t^5) e^(-z^2) with t = 1 / (1 + p z), z >= 0, to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
_P = np.float32(0.3275911)
_T1 = np.float32(0.254829592)
_T2 = np.float32(-0.284496736)
_T3 = np.float32(1.421413741)
_T4 = np.float32(-1.453152027)
_T5 = np.float32(1.061405429)
_ROOT_HALF = np.float32(0.7071067811865476)


@exact
def bell_and_erf(v):
    """e^(-v^2 / 2) and erf(v / sqrt(2)), with an absolute error of 2e-7. GELU and its derivative are made of them."""
    z = np.float32(v * _ROOT_HALF)
    magnitude = z if z > _ZERO else np.float32(-z)
    bell = exp2(np.float32(np.float32(-z * z) * LOG2_E))
    t = np.float32(_ONE / (_ONE + _P * magnitude))
    tail = np.float32(t * (_T1 + t * (_T2 + t * (_T3 + t * (_T4 + t * _T5)))) * bell)
    erf = np.float32(_ONE - tail)
    return bell, erf if z > _ZERO else np.float32(-erf)
