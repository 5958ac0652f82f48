"""Random numbers without a state: a function from 64-bit words to values of a distribution.

Only additions, multiplications, divisions and square roots in a fixed order, each of which IEEE 754 defines exactly:
the values are the same on every machine.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from embsnap.kernels.compiler import primitive

__all__ = ["NORMAL_CDF_2", "logarithm", "normal_quantile", "unit"]

NORMAL_CDF_2 = 0.9772498680518208
"""Probability that a standard normal value is at most 2."""

_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_MANTISSA, _EXPONENT_BITS = np.uint64((1 << 52) - 1), np.uint64(52)
_ONE_BITS = np.uint64(1023 << 52)


@primitive
def unit(word: Any) -> Any:
    """The 52 upper bits of a uint64 as a float64 in the open interval (0, 1), symmetric about 1/2."""
    return (np.float64(word >> np.uint64(12)) + 0.5) * (1.0 / (1 << 52))


@primitive
def _horner(x: Any, coefficients: Any) -> Any:
    total = coefficients[0]
    for i in range(1, len(coefficients)):
        total = total * x + coefficients[i]
    return total


@primitive
def logarithm(x: Any) -> Any:
    """Natural logarithm of a positive, normal float64, to within 1 ulp.

    Source: fdlibm's `e_log.c`, without its special cases.
    """
    bits = np.float64(x).view(np.uint64)
    exponent = np.int64(bits >> _EXPONENT_BITS) - 1023
    fraction = np.uint64((bits & _MANTISSA) | _ONE_BITS).view(np.float64)
    if fraction > 1.4142135623730951:
        fraction, exponent = fraction * 0.5, exponent + 1
    f = fraction - 1.0
    s = f / (2.0 + f)
    z = s * s
    r = z * _horner(
        z,
        (
            1.479819860511658591e-01,
            1.531383769920937332e-01,
            1.818357216161805012e-01,
            2.222219843214978396e-01,
            2.857142874366239149e-01,
            3.999999999940941908e-01,
            6.666666666666735130e-01,
        ),
    )
    half = 0.5 * f * f
    return exponent * _LN2_HIGH - ((half - (s * (half + r) + exponent * _LN2_LOW)) - f)


@primitive
def normal_quantile(p: Any) -> Any:
    """The value below which a standard normal one falls with probability `p`, a float64 in (0, 1).

    Relative error about 1e-16. Source: Wichura, "Algorithm AS 241: the percentage points of the normal distribution"
    (1988), routine PPND16.
    """
    q = p - 0.5
    if abs(q) <= 0.425:
        return q * _central(0.180625 - q * q)
    tail = sqrt(-logarithm(p if q < 0.0 else 1.0 - p))
    value = _near_tail(tail - 1.6) if tail <= 5.0 else _far_tail(tail - 5.0)
    return -value if q < 0.0 else value


@primitive
def _central(r: Any) -> Any:
    numerator = _horner(
        r,
        (
            2.5090809287301226727e3,
            3.3430575583588128105e4,
            6.7265770927008700853e4,
            4.5921953931549871457e4,
            1.3731693765509461125e4,
            1.9715909503065514427e3,
            1.3314166789178437745e2,
            3.3871328727963666080e0,
        ),
    )
    denominator = _horner(
        r,
        (
            5.2264952788528545610e3,
            2.8729085735721942674e4,
            3.9307895800092710610e4,
            2.1213794301586595867e4,
            5.3941960214247511077e3,
            6.8718700749205790830e2,
            4.2313330701600911252e1,
            1.0,
        ),
    )
    return numerator / denominator


@primitive
def _near_tail(r: Any) -> Any:
    numerator = _horner(
        r,
        (
            7.74545014278341407640e-4,
            2.27238449892691845833e-2,
            2.41780725177450611770e-1,
            1.27045825245236838258e0,
            3.64784832476320460504e0,
            5.76949722146069140550e0,
            4.63033784615654529590e0,
            1.42343711074968357734e0,
        ),
    )
    denominator = _horner(
        r,
        (
            1.05075007164441684324e-9,
            5.47593808499534494600e-4,
            1.51986665636164571966e-2,
            1.48103976427480074590e-1,
            6.89767334985100004550e-1,
            1.67638483018380384940e0,
            2.05319162663775882187e0,
            1.0,
        ),
    )
    return numerator / denominator


@primitive
def _far_tail(r: Any) -> Any:
    numerator = _horner(
        r,
        (
            2.01033439929228813265e-7,
            2.71155556874348757815e-5,
            1.24266094738807843860e-3,
            2.65321895265761230930e-2,
            2.96560571828504891230e-1,
            1.78482653991729133580e0,
            5.46378491116411436990e0,
            6.65790464350110377720e0,
        ),
    )
    denominator = _horner(
        r,
        (
            2.04426310338993978564e-15,
            1.42151175831644588870e-7,
            1.84631831751005468180e-5,
            7.86869131145613259100e-4,
            1.48753612908506148525e-2,
            1.36929880922735805310e-1,
            5.99832206555887937690e-1,
            1.0,
        ),
    )
    return numerator / denominator
